"""Find images and read them: paths, folders, globs, URLs, stdin in; (id, upright RGB image) out, one at a time.

Whatever is wrong with one input is an `InputError` and never stops the others. Must not know tensors.
"""

from bigain_cli.images.decoding import digest, read
from bigain_cli.images.file_digests import is_replaced, replaced_files, sha256_of
from bigain_cli.images.formats import suffix_of
from bigain_cli.images.opening import held
from bigain_cli.images.prefetch import ImageReader, LoadedImage, load_image, read_or_error
from bigain_cli.images.rgb import center_crop, crop_and_resize
from bigain_cli.images.sources import (
    SUFFIXES,
    Images,
    OneImage,
    Source,
    find,
    is_one,
    look_ahead,
    read_paths,
    source_of_id,
    sources_of,
)

__all__ = [
    "SUFFIXES",
    "ImageReader",
    "Images",
    "LoadedImage",
    "OneImage",
    "Source",
    "center_crop",
    "crop_and_resize",
    "digest",
    "find",
    "held",
    "is_one",
    "is_replaced",
    "load_image",
    "look_ahead",
    "read",
    "read_or_error",
    "read_paths",
    "replaced_files",
    "sha256_of",
    "source_of_id",
    "sources_of",
    "suffix_of",
]
