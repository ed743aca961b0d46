"""The way in and the way out of a run: pictures are read ahead, results leave in the order the pictures came.

In: what a caller gave; out: pictures or what is wrong with them, one at a time. Must not know tensors.
"""

from bigain_cli.reader.given import Images, sources_of
from bigain_cli.reader.order import InOrder

__all__ = ["Images", "InOrder", "sources_of"]
