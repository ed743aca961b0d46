"""An attention that is no part of a transformer block, as between the ResNet blocks of a U-Net.

Its input is a feature map, which it flattens and normalises itself: the hooks act on its projections.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bigain_cli.compress.block_compression import BlockCompression
from bigain_cli.compress.operation_counts import attention_flops
from bigain_cli.compress.site import RemovableHook, Tokens


class PlainAttention:
    """The kind of block."""

    text_in_front = False
    takes_bias = False  # it makes its own mask

    def attention(self, block: Any) -> Any:
        """Return the attention itself."""
        return block

    def parts(self, block: Any) -> tuple[nn.Module, ...]:
        """Return the projections."""
        return (block.to_q, block.to_k, block.to_v, block.to_out[-1])

    def has_cross_attention(self, block: Any) -> bool:
        """Say no."""
        return False

    def check(self, block: Any, name: str, pools: bool) -> None:
        """Accept any: what enters the projections is what is changed."""

    def attach(self, block: Any, compression: BlockCompression) -> list[RemovableHook]:
        """Put hooks on the attention and on its projections."""
        hooks = _ProjectionHooks(block, compression)
        handles: list[RemovableHook] = [
            block.register_forward_pre_hook(hooks.start_attention, with_kwargs=True),
            block.register_forward_hook(compression.end),
        ]
        if compression.merging is not None:
            handles.append(block.to_q.register_forward_pre_hook(compression.merge_input, with_kwargs=True))
            handles.append(block.to_out[-1].register_forward_hook(compression.restore_output))
        for projection in (block.to_k, block.to_v):
            hook = compression.merge_input if compression.pooling is None else hooks.pool_input
            handles.append(projection.register_forward_pre_hook(hook, with_kwargs=True))
        return handles

    def flops(self, block: Any, tokens: Tokens, context: int) -> int:
        """Return the operations of the attention."""
        return attention_flops(block, tokens.queries, tokens.keys)

    def flops_before_plan(self, block: Any, n: int, context: int, mlp: bool) -> int:
        """Return 0: its input is compared."""
        return 0


PLAIN_ATTENTION = PlainAttention()


class _ProjectionHooks:
    """What needs the attention's own names."""

    def __init__(self, block: Any, compression: BlockCompression) -> None:
        self._keys, self._compression = block.to_k, compression
        self._pooled: Tensor | None = None

    def start_attention(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the positions of the input, by which they are compared."""  # [b c h w]
        if self._compression.active:
            features = args[0] if args else kwargs["hidden_states"]
            self._compression.start(features.flatten(2).transpose(1, 2))

    def pool_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Pool the tokens that keys and values are made from; keys come first."""
        if not self._compression.active:
            return None
        if module is self._keys:
            self._pooled = self._compression.pool(args[0])[0]
            return (self._pooled,), kwargs
        pooled, self._pooled = self._pooled, None
        return (pooled,), kwargs
