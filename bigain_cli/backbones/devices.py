"""What happens when float16 has too little range: a warning, and a wider dtype from then on."""

from __future__ import annotations

import warnings

import torch

from bigain_cli.backbones.base import Backbone


class PrecisionWarning(UserWarning):
    """float16 overflowed, and the run continues in another dtype."""


def leave_float16(backbone: Backbone) -> None:
    """Make the backbone compute in a dtype with more range."""
    finer = backbone.device.type != "cuda" or not torch.cuda.is_bf16_supported()
    wider = torch.float32 if finer else torch.bfloat16
    warnings.warn(f"float16 overflowed; continuing in {wider}", PrecisionWarning, stacklevel=3)
    backbone.to(wider)
