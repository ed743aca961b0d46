"""How many images are generated at once. Must not know schedulers."""

from __future__ import annotations

from bigain_cli.backbones.base import Backbone
from bigain_cli.classification.denoising import steady

# A batch has the same size however many images there are, and a shorter one is filled up: the last bits of an image
# depend on the size of its batch, though not on what else is in it. So the sizes are modest.
PLACES_AT_ONCE = {"cpu": 4096, "cuda": 16384, "mps": 8192}
MOST_AT_ONCE = {"cpu": 4, "cuda": 32, "mps": 8}


def images_at_once(backbone: Backbone, shape: tuple[int, int, int], given: int | None) -> int:
    """Return the size of a batch: a function of device, model and size, never of how many images there are."""
    if given is not None:
        return steady(given)
    kind = backbone.device.type
    return steady(max(1, min(MOST_AT_ONCE[kind], PLACES_AT_ONCE[kind] // (shape[1] * shape[2]))))
