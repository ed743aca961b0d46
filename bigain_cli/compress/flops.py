"""The operations of a whole forward pass, predicted from shapes. Runs nothing."""

from __future__ import annotations

from typing import Any

from bigain_cli.compress.networks import kind_of
from bigain_cli.compress.plan import Grid


def forward_flops(root: Any, latent: Grid, context: int) -> int:
    """Return the operations of one uncompressed forward pass of one sample, with so many text tokens."""
    return kind_of(root).flops(root, latent, context)


def flops_before_block(root: Any, latent: Grid, context: int, block: Any) -> int:
    """Return those of them that run before a block."""
    return kind_of(root).flops_before_block(root, latent, context, block)


def flops_before_text(root: Any, latent: Grid) -> int:
    """Return those of them that run before the network reads any text: the same for all labels."""
    return kind_of(root).flops_before_text(root, latent)
