"""Labelled images on a disk: a folder of class folders or a safetensors file in, classes and sources out.

Opens no image. Must not know networks.
"""

from bigain_cli.datasets.folders import Album, open_album

__all__ = ["Album", "open_album"]
