"""From pixels to a latent's shape, and how many pictures a batch holds. Must not know schedulers."""

from __future__ import annotations

from bigain_cli.backbones.base import Backbone
from bigain_cli.errors import UsageError
from bigain_cli.residuals import steady
from bigain_cli.sampler.wish import written

# A batch has the same size however many pictures are wanted, and a shorter one is filled up: the last bits of a
# picture depend on the size of its batch, though not on what else is in it. So the sizes are modest.
PLACES_AT_ONCE = {"cpu": 4096, "cuda": 16384, "mps": 8192}
MOST_AT_ONCE = {"cpu": 4, "cuda": 32, "mps": 8}


def latent_shape(backbone: Backbone, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return the shape of latents for a picture's width and height, or the model's own."""
    channels, height, width = backbone.latent_shape
    scale = backbone.scale
    own = (width * scale, height * scale)
    if size is None or size == own:
        return backbone.latent_shape
    what = f"--size {written(size)}"
    if not backbone.elastic:
        hint = f"Leave out --size, or make the picture of {written(own)} larger afterwards."
        raise UsageError(what, f"{backbone.name} knows its places at {written(own)} only", hint)
    if any(side % scale for side in size):
        fits = (max(1, round(size[0] / scale)) * scale, max(1, round(size[1] / scale)) * scale)
        raise UsageError(what, f"{backbone.name} draws in steps of {scale} pixels", f"Nearest: --size {written(fits)}.")
    return channels, size[1] // scale, size[0] // scale


def pixels(backbone: Backbone, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the width and height of a latent's picture."""
    return shape[2] * backbone.scale, shape[1] * backbone.scale


def pictures_at_once(backbone: Backbone, shape: tuple[int, int, int], asked: int | None) -> int:
    """Return the size of a batch: a function of device, model and size, never of how many pictures are wanted."""
    if asked is not None:
        return steady(asked)
    kind = backbone.device.type
    return steady(max(1, min(MOST_AT_ONCE[kind], PLACES_AT_ONCE[kind] // (shape[1] * shape[2]))))
