"""What happens when float16 has too little range: a warning, and a wider dtype from then on."""

from __future__ import annotations

import warnings

import torch

from bigain_cli.backbones.base import Backbone
from bigain_cli.classification.denoising import steady


class PrecisionWarning(UserWarning):
    """float16 overflowed, and the run continues in another dtype."""


def leave_float16(backbone: Backbone) -> None:
    """Make the backbone compute in a dtype with more range."""
    finer = backbone.device.type != "cuda" or not torch.cuda.is_bf16_supported()
    wider = torch.float32 if finer else torch.bfloat16
    warnings.warn(f"float16 overflowed; continuing in {wider}", PrecisionWarning, stacklevel=3)
    backbone.to(wider)


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
