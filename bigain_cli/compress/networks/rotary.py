"""Rotary positions (RoPE) of tokens of which some are merged or pooled, by hooks on the norms of queries and keys.

diffusers' processor of FLUX rotates all rows of a batch by one table. Here each row keeps its own tokens, so the
attention gets no table, and what its norms return is rotated: the same numbers, in the same order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bigain_cli.compress.plan import Plan
from bigain_cli.compress.site import RemovableHook

Table = tuple[Tensor, Tensor]  # cosines and sines, [b s 1 d] each


class RotaryTables:
    """Rotates the queries and the keys of one attention; `None` rotates nothing."""

    def __init__(self) -> None:
        self.queries: Table | None = None
        self.keys: Table | None = None
        self.text: Table | None = None  # where the text has norms of its own

    def attach(self, attention: Any) -> list[RemovableHook]:
        """Put hooks on the attention's norms."""
        hooks: list[RemovableHook] = []
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            norm = attention._modules.get(name)
            if norm is not None:
                hooks.append(norm.register_forward_hook(getattr(self, f"rotate_{name}")))
        return hooks

    def rotate_norm_q(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Rotate queries."""
        return _rotate(output, self.queries)

    def rotate_norm_k(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Rotate keys."""
        return _rotate(output, self.keys)

    def rotate_norm_added_q(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Rotate the text's queries."""
        return _rotate(output, self.text)

    rotate_norm_added_k = rotate_norm_added_q

    def clear(self) -> None:
        """Rotate nothing from now on."""
        self.queries = self.keys = self.text = None


def table_of(rope: Table, positions: Tensor) -> Table:
    """Return the rows of a table, [s d] each, at some positions."""  # [b s']
    cos, sin = (part.to(positions.device)[positions][:, :, None] for part in rope)
    return cos, sin


def remaining(text: int, image: int, plan: Plan | None, device: torch.device) -> Tensor:
    """Return which of the text's and the image's tokens remain under a plan: the text's first, all of them."""  # [b s]
    if plan is None:
        return torch.arange(text + image, device=device)[None]
    samples = plan.samples(device)
    return torch.cat([torch.arange(text, device=device).expand(samples.shape[0], -1), samples + text], 1)


def _rotate(x: Tensor, table: Table | None) -> Tensor:
    """Rotate pairs of neighbouring channels."""  # [b s heads d]
    if table is None:
        return x
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-odd, even], -1).flatten(-2)
    return (x.float() * table[0] + turned.float() * table[1]).to(x.dtype)
