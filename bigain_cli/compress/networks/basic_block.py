"""diffusers' BasicTransformerBlock, of U-Nets, DiT and PixArt: self-attention, cross-attention, MLP.

Keys are pooled by handing the attention pooled tokens as its encoder's, so that its stock processor stays.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from bigain_cli.compress.block_compression import BlockCompression
from bigain_cli.compress.operation_counts import attention_flops, linears
from bigain_cli.compress.site import RemovableHook, Tokens
from bigain_cli.errors import ModelError

ATTENTION_ARGUMENTS = ("hidden_states", "encoder_hidden_states", "attention_mask")
NOT_PER_TOKEN = ("attn1", "attn2", "ff", "fuser")


class BasicBlock:
    """The kind of block."""

    text_in_front = False
    takes_bias = True

    def attention(self, block: Any) -> Any:
        """Return the self-attention."""
        return block.attn1

    def parts(self, block: Any) -> tuple[nn.Module, ...]:
        """Return the attentions and the MLP."""
        return tuple(part for part in (block.attn1, block.attn2, block.ff) if part is not None)

    def has_cross_attention(self, block: Any) -> bool:
        """Say whether there is a second attention."""
        return block.attn2 is not None

    def check(self, block: Any, name: str, pools: bool) -> None:
        """Accept any: what goes in is what is changed."""

    def attach(self, block: Any, compression: BlockCompression) -> list[RemovableHook]:
        """Put hooks on the block and on the parts that work on fewer tokens."""
        hooks, term = _BasicHooks(block, compression), compression.term
        handles: list[RemovableHook] = [
            block.register_forward_pre_hook(hooks.start_block, with_kwargs=True),
            block.register_forward_hook(compression.end),
            block.attn1.register_forward_pre_hook(hooks.compress_attention, with_kwargs=True),
        ]
        parts = [block.attn1] if term else []
        for part in (block.attn2 if term and term.cross else None, block.ff if term and term.mlp else None):
            if part is not None:
                handles.append(part.register_forward_pre_hook(compression.merge_input, with_kwargs=True))
                parts.append(part)
        return handles + [part.register_forward_hook(compression.restore_output) for part in parts]

    def flops(self, block: Any, tokens: Tokens, context: int) -> int:
        """Return the operations of one block."""
        total = attention_flops(block.attn1, tokens.queries, tokens.keys) + linears([block.ff], tokens.mlp)
        if block.attn2 is not None:
            keys = context if block.attn2.is_cross_attention else tokens.cross
            total += attention_flops(block.attn2, tokens.cross, keys)
        rest = [child for name, child in block.named_children() if name not in NOT_PER_TOKEN]
        return total + linears(rest, 1)

    def flops_before_plan(self, block: Any, n: int, context: int, mlp: bool) -> int:
        """Return the operations of the first norm, which may embed time and class."""
        return linears([block.norm1], 1)


BASIC_BLOCK = BasicBlock()


def has_self_attention(block: Any) -> bool:
    """Say whether a block's first attention is not one to the text."""
    return "attn1" in block._modules and not getattr(block, "only_cross_attention", False)


class _BasicHooks:
    """What needs the block's own names."""

    def __init__(self, block: Any, compression: BlockCompression) -> None:
        self._compression = compression
        # norm1 may also apply time and class (adaLN): then tokens are compared after it
        self._modulated = getattr(block, "norm_type", "layer_norm") != "layer_norm"

    def start_block(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the block's input, by which tokens are compared, unless they are compared after norm1."""
        if self._compression.active:
            self._compression.start(None if self._modulated else args[0] if args else kwargs["hidden_states"])

    def compress_attention(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Merge the queries, pool the keys and values."""
        compression = self._compression
        if not compression.active:
            return None
        arguments = kwargs | dict(zip(ATTENTION_ARGUMENTS, args, strict=False))
        x = arguments["hidden_states"]  # [b n c]
        if arguments.get("attention_mask") is not None:
            hint = "Masks cannot be compressed yet."
            raise ModelError(f"block {compression.name}", "its self-attention is masked", hint)
        if compression.pooling is not None:
            arguments["encoder_hidden_states"] = compression.pool(x)[0]
        if compression.merging is not None:
            plan = compression.plan(x)
            arguments["hidden_states"], arguments["attention_mask"] = plan.query(x), plan.bias(x)
        return (), arguments
