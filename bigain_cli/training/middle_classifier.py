"""A linear classifier of noisy images on the last block before late labels, or on a U-Net's middle block.

It helps to train the part that all labels share.

To tell labels apart by their errors, a network must first see what is in the image; this teaches it that directly, and
is left out of the finished model. Must not know losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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


class _BlockFinished(Exception):
    """The block has finished."""


@contextmanager
def outputs_of(block: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the outputs of a block."""
    outputs: list[Tensor] = []
    handle = block.register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def run_up_to(block: nn.Module, forward: Callable[[], Any]) -> Tensor:
    """Run `forward` until a block has finished, and return the block's output."""

    def stop(module: nn.Module, args: Any, output: Tensor) -> None:
        reached.append(output)
        raise _BlockFinished

    reached: list[Tensor] = []
    handle = block.register_forward_hook(stop)
    try:
        forward()
    except _BlockFinished:
        return reached[0]
    finally:
        handle.remove()
    raise AssertionError("the network finished without that block")
