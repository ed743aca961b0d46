"""The folder for what is kept between runs. Must not make it, nor import anything that takes time."""

from __future__ import annotations

import os


def cache_folder() -> str:
    """Return the folder, as the XDG base directories say."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else "~/.cache", "bigain")
