"""A linear classifier of noisy images on the last block before late labels, or on a U-Net's middle block.

It helps to train the part that all labels share.

To tell labels apart by their errors, a network must first see what is in the image; this teaches it that directly, and
is left out of the finished model. Must not know losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class MiddleClassifier(nn.Module):
    """A block's mean over positions, normalised, to the logits of the classes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, output: Tensor) -> Tensor:
        """Return the logits for a U-Net's grid of channels or a transformer's tokens."""  # [b c h w], [b n c] -> [b k]
        mean = output.float().mean(dim=(2, 3) if output.ndim == 4 else 1)
        logits: Tensor = self.linear(self.norm(mean))
        return logits


@contextmanager
def outputs_of(block: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the outputs of a block."""
    outputs: list[Tensor] = []
    handle = block.register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
