"""Attention in which image and text attend to each other: merging before it, pooling in front of its key projections.

Shared by the kinds of blocks; none of them hands the attention a copy of its code. Must not know kinds of blocks.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bigain_cli.compress.block_compression import BlockCompression
from bigain_cli.compress.plan import Plan
from bigain_cli.compress.site import RemovableHook
from bigain_cli.errors import ModelError


class JointAttention:
    """The hooks of one attention: `arguments` are the names of its forward's arguments, in order."""

    def __init__(self, compression: BlockCompression, arguments: tuple[str, ...]) -> None:
        self.compression, self._names = compression, arguments
        self._pooled: Tensor | None = None

    def attach(self, attention: Any, restores: bool = True) -> list[RemovableHook]:
        """Put hooks on the attention; without `restores`, the rest of the block works on the merged tokens, too."""
        compression = self.compression
        hooks: list[RemovableHook] = [attention.register_forward_pre_hook(self.enter, with_kwargs=True)]
        if compression.merging is not None and restores:
            hooks.append(attention.register_forward_hook(compression.restore_output))
        hooks.append(attention.register_forward_hook(self.leave))
        return hooks + (self.attach_pooling(attention) if compression.pooling is not None else [])

    def attach_pooling(self, attention: Any) -> list[RemovableHook]:
        """Put hooks on the projections of keys and values."""
        return [part.register_forward_pre_hook(self.use_pooled) for part in (attention.to_k, attention.to_v)]

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Merge the tokens that enter; keep the pooled ones for the keys and values."""
        compression = self.compression
        if not compression.active:
            return None
        arguments = kwargs | dict(zip(self._names, args, strict=False))
        tokens = arguments["hidden_states"]  # [b s c]
        merged, pooled = None, None
        if compression.pooling is not None:
            self._pooled, pooled = compression.pool(tokens)
        if compression.merging is not None:
            merged = compression.plan(tokens)
            arguments["hidden_states"] = compression.merge(tokens)
        self.place(tokens, arguments, merged, merged if pooled is None else pooled)
        return (), arguments

    def place(self, tokens: Tensor, arguments: dict[str, Any], queries: Plan | None, keys: Plan | None) -> None:
        """Change the other arguments to suit the tokens that remain; here there is nothing to change."""

    def use_pooled(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """Make keys or values from the pooled tokens."""
        return None if self._pooled is None else (self._pooled,)

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Release the tokens."""
        self._pooled = None


def start_block(compression: BlockCompression) -> Any:
    """Return a hook for a block whose tokens are compared where they enter the attention: after the modulated norm."""

    def start(module: nn.Module, args: tuple[Any, ...]) -> None:
        if compression.active:
            compression.start()

    return start


def check_processor(attention: Any, name: str, known: tuple[str, ...]) -> None:
    """Refuse an attention that runs through code with other inputs, such as an image prompt's."""
    processor = type(attention.processor).__name__
    if processor not in known:
        hint = f"Only {' and '.join(known)} can be compressed."
        raise ModelError(f"block {name}", f"its attention runs through {processor}", hint)
