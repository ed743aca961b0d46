"""From prompts to images with the network that classifies. Options are read without torch; the rest is loaded later."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bigain_cli.generation.options import GenerationOptions

if TYPE_CHECKING:
    from bigain_cli.generation.generator import GeneratedImage, Generation, GenerationProgress, generate

__all__ = ["GeneratedImage", "Generation", "GenerationOptions", "GenerationProgress", "generate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module("bigain_cli.generation.generator"), name)
