"""Labelled images: a folder, a file or a known dataset's name in, classes and cases out. Must not know networks."""
