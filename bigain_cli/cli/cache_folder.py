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
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    older = os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(os.environ.get("HF_HUB_CACHE") or older)))
