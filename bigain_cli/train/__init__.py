"""Train a small diffusion backbone on labelled pictures, and write it as a folder that loads like any other.

In: pictures in memory and a recipe; out: a folder, and progress as a stream. Must not know the command.
"""
