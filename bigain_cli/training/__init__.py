"""Train a small diffusion backbone on labelled images, and write it as a folder that loads like any other.

In: images and a recipe; out: a folder, and progress as a stream. Must not know the command.
"""
