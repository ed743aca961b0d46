"""The positions of tokens that rotary embeddings are made of, as FLUX and its children count them.

They are made once for each size: every pass gets the same tensors, so that nothing is copied to a GPU in a pass, and
what reads a grid from them reads it once.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

MOST_KEPT = 16  # sizes


def text_positions(tokens: int, like: Tensor) -> Tensor:
    """Return no position for each text token."""  # [n 3]
    return like.new_zeros(tokens, 3)


def image_positions(height: int, width: int, like: Tensor) -> Tensor:
    """Return the row and the column of each image token, after a zero."""  # [h·w 3]
    return _image_positions(height, width, like.device, like.dtype)


@lru_cache(MOST_KEPT)
@torch.inference_mode(False)
def _image_positions(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).to(device, dtype)
