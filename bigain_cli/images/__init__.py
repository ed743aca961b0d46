"""Find images and read them: paths, folders, globs, lists and stdin in; (id, upright RGB image) out, one at a time.

Whatever is wrong with one input is an `InputError` of that input and never stops the others. Must not know tensors.
"""

from bigain_cli.images.decoding import digest, read
from bigain_cli.images.sources import SUFFIXES, Source, find, listed
from bigain_cli.images.views import fitted, view_of

__all__ = ["SUFFIXES", "Source", "digest", "find", "fitted", "listed", "read", "view_of"]
