"""Labelled images on a disk: a folder of class folders or a safetensors file in, classes and sources out.

Opens no image. Must not know networks.
"""

from bigain_cli.datasets.folders import ImageFolder, open_image_folder

__all__ = ["ImageFolder", "open_image_folder"]
