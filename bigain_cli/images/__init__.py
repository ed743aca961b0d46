"""Find images and read them: paths, folders, globs, lists and stdin in; (id, upright RGB image) out, one at a time.

Whatever is wrong with one input is an `InputError` of that input and never stops the others. Must not know tensors.
"""

from bigain_cli.images.decoding import digest, read
from bigain_cli.images.prefetch import ImageReader, LoadedImage, load_image, prepare
from bigain_cli.images.rgb import fitted, view_of
from bigain_cli.images.sources import SUFFIXES, Images, OneImage, Source, find, listed, sources_of

__all__ = [
    "SUFFIXES",
    "ImageReader",
    "Images",
    "LoadedImage",
    "OneImage",
    "Source",
    "digest",
    "find",
    "fitted",
    "listed",
    "load_image",
    "prepare",
    "read",
    "sources_of",
    "view_of",
]
