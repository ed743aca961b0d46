"""A forward pass that is ended once a block has finished, where nothing but the block's output is wanted.

In: a block and the pass; out: the output. Must not know what it is wanted for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class _BlockFinished(BaseException):
    """The block has finished; it is no error, so that no handler of errors on the way reports it."""


def run_up_to(block: nn.Module, forward: Callable[[], Any]) -> Any:
    """Run `forward` until a block has finished, and return the block's output; None if it never ran."""

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        outputs.append(output)
        raise _BlockFinished

    outputs: list[Any] = []
    handle = block.register_forward_hook(stop)
    try:
        forward()
    except _BlockFinished:
        return outputs[0]
    finally:
        handle.remove()
    return None  # the hooks of a compiled network are ignored
