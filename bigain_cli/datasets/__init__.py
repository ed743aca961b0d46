"""Labelled images: a folder, a file or a known dataset's name in, classes and cases out. Must not know networks."""

from bigain_cli.datasets.folders import open_image_folder as open_image_folder
