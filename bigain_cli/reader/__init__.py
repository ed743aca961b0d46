"""Results leave a run in the order in which their images came."""

from bigain_cli.reader.order import InOrder

__all__ = ["InOrder"]
