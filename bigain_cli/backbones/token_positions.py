"""The positions of tokens that rotary embeddings are made of, as FLUX and its children count them."""

from __future__ import annotations

import torch
from torch import Tensor


def text_positions(tokens: int, like: Tensor) -> Tensor:
    """Return no position for each text token."""  # [n 3]
    return like.new_zeros(tokens, 3)


def image_positions(height: int, width: int, like: Tensor) -> Tensor:
    """Return the row and the column of each image token, after a zero."""  # [h·w 3]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).to(like)
