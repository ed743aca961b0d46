"""The folders for what is kept between runs. Must not make them, nor import anything that takes time."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> str:
    """Return the folder, as the XDG base directories say."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else "~/.cache", "bigain")


def hub_cache() -> Path:
    """Return the folder of downloaded models, by the rules of `huggingface_hub`, without importing it."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
