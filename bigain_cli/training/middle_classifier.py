"""A linear classifier of noisy images on a U-Net's middle block, which helps to train the part that late labels share.

To tell labels apart by their errors, a network must first see what is in the image; this teaches it that directly, and
is left out of the finished model. Must not know losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class MiddleClassifier(nn.Module):
    """The middle block's mean over positions, normalised, to the logits of the classes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, middle: Tensor) -> Tensor:
        """Return the logits."""  # [b c h w] -> [b k]
        logits: Tensor = self.linear(self.norm(middle.float().mean(dim=(2, 3))))
        return logits


class _MiddleReached(Exception):
    """The middle block has finished."""


@contextmanager
def middle_of(network: Any) -> Iterator[list[Tensor]]:
    """Collect the outputs of the middle block."""
    outputs: list[Tensor] = []
    handle = network.mid_block.register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def run_to_middle(network: Any, forward: Callable[[], Any]) -> Tensor:
    """Run `forward` up to the middle block, and return its output."""

    def stop(module: nn.Module, args: Any, output: Tensor) -> None:
        reached.append(output)
        raise _MiddleReached

    reached: list[Tensor] = []
    handle = network.mid_block.register_forward_hook(stop)
    try:
        forward()
    except _MiddleReached:
        return reached[0]
    finally:
        handle.remove()
    raise AssertionError("the network finished without its middle block")
