"""From pixels to a latent's shape, and from a schedule to the steps that can be taken. Must not know torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bigain_cli.errors import UsageError
from bigain_cli.generation.options import written

if TYPE_CHECKING:
    from bigain_cli.backbones.base import Backbone


def latent_shape(backbone: Backbone, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return the shape of latents for an image's width and height, or the model's own."""
    channels, height, width = backbone.latent_shape
    scale = backbone.scale
    own = (width * scale, height * scale)
    if size is None or size == own:
        return backbone.latent_shape
    what = f"--size {written(size)}"
    if not backbone.elastic:
        hint = f"Leave out --size, or enlarge the image of {written(own)} afterwards."
        raise UsageError(what, f"{backbone.name} knows its places at {written(own)} only", hint)
    if any(side % scale for side in size):
        fits = (max(1, round(size[0] / scale)) * scale, max(1, round(size[1] / scale)) * scale)
        raise UsageError(
            what, f"{backbone.name} generates in steps of {scale} pixels", f"Nearest: --size {written(fits)}."
        )
    return channels, size[1] // scale, size[0] // scale


def pixels(backbone: Backbone, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the width and height of a latent's image."""
    return shape[2] * backbone.scale, shape[1] * backbone.scale


def check_steps(backbone: Backbone, steps: int) -> None:
    """Refuse more steps than a schedule has."""
    if steps > backbone.length:
        raise UsageError(f"--steps {steps}", f"this model's schedule has {backbone.length}", "Take fewer.")
