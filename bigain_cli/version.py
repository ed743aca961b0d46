"""The version of bigain."""

__version__ = "0.1.0"
