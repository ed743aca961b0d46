"""Numbers about an image's size that a network is told beside the time, made once: no pass copies them to a GPU."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

MOST_KEPT = 64


def size_rows(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Return the same numbers for each row of another tensor, on its device and in its dtype."""  # [b n]
    return _kept(values, like.device, like.dtype).expand(len(like), -1)


@lru_cache(MOST_KEPT)
@torch.inference_mode(False)
def _kept(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, device=device, dtype=dtype)
