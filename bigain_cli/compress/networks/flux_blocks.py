"""The two kinds of blocks of FLUX and Chroma; what is merged keeps its destination's rotary position."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bigain_cli.compress.block_compression import BlockCompression
from bigain_cli.compress.networks.joint_attention import JointAttention, check_processor, start_block
from bigain_cli.compress.networks.rotary import RotaryTables, remaining, table_of
from bigain_cli.compress.operation_counts import attention_products, child, linears
from bigain_cli.compress.plan import Plan
from bigain_cli.compress.site import RemovableHook, Tokens

ARGUMENTS = ("hidden_states", "encoder_hidden_states", "attention_mask", "image_rotary_emb")
PROCESSORS = ("FluxAttnProcessor",)


class DoubleBlock:
    """The image's tokens have weights of their own; the text is another argument."""

    text_in_front = False
    takes_bias = True

    def attention(self, block: Any) -> Any:
        """Return the joint attention."""
        return block.attn

    def parts(self, block: Any) -> tuple[nn.Module, ...]:
        """Return the attention and the image's MLP."""
        return block.attn, block.ff

    def has_cross_attention(self, block: Any) -> bool:
        """Say no: text and image meet in one attention."""
        return False

    def check(self, block: Any, name: str, pools: bool) -> None:
        """Accept the stock attention."""
        check_processor(block.attn, name, PROCESSORS)

    def attach(self, block: Any, compression: BlockCompression) -> list[RemovableHook]:
        """Put hooks on the attention and the image's MLP."""
        hooks = _attach_attention(block, compression, restores=True)
        if compression.term is not None and compression.term.mlp:
            hooks.append(block.ff.register_forward_pre_hook(compression.merge_input, with_kwargs=True))
            hooks.append(block.ff.register_forward_hook(compression.restore_output))
        return hooks

    def flops(self, block: Any, tokens: Tokens, context: int) -> int:
        """Return the operations of one block."""
        a = block.attn
        total = linears([block.norm1, block.norm1_context], 1)
        total += linears([a.add_q_proj, a.add_k_proj, a.add_v_proj, a.to_add_out, block.ff_context], context)
        total += linears([a.to_q, a.to_out], tokens.queries) + linears([a.to_k, a.to_v], tokens.keys)
        total += linears([block.ff], tokens.mlp)
        return total + attention_products(tokens.queries + context, tokens.keys + context, a.inner_dim)

    def flops_before_plan(self, block: Any, n: int, context: int, mlp: bool) -> int:
        """Return the operations of the first norms."""
        return linears([block.norm1, block.norm1_context], 1)


class SingleBlock:
    """Text and image are one sequence, and the MLP runs beside the attention."""

    text_in_front = True
    takes_bias = True

    def attention(self, block: Any) -> Any:
        """Return the attention."""
        return block.attn

    def parts(self, block: Any) -> tuple[nn.Module, ...]:
        """Return the attention and both ends of the MLP."""
        return block.attn, block.proj_mlp, block.proj_out

    def has_cross_attention(self, block: Any) -> bool:
        """Say no: text and image meet in one attention."""
        return False

    def check(self, block: Any, name: str, pools: bool) -> None:
        """Accept the stock attention."""
        check_processor(block.attn, name, PROCESSORS)

    def attach(self, block: Any, compression: BlockCompression) -> list[RemovableHook]:
        """Put hooks on the attention; with the MLP, its output stays merged up to their common projection."""
        mlp = compression.term is not None and compression.term.mlp
        hooks = _attach_attention(block, compression, restores=not mlp)
        if mlp:
            hooks.append(block.proj_mlp.register_forward_pre_hook(compression.merge_input, with_kwargs=True))
            hooks.append(block.proj_out.register_forward_hook(compression.restore_output))
        return hooks

    def flops(self, block: Any, tokens: Tokens, context: int) -> int:
        """Return the operations of one block."""
        a, queries, keys = block.attn, tokens.queries + context, tokens.keys + context
        total = linears([child(block, "norm")], 1) + linears([block.proj_mlp, block.proj_out], tokens.mlp + context)
        return (
            total
            + linears([a.to_q], queries)
            + linears([a.to_k, a.to_v], keys)
            + attention_products(queries, keys, a.inner_dim)
        )

    def flops_before_plan(self, block: Any, n: int, context: int, mlp: bool) -> int:
        """Return the operations of the norm, and of the MLP's first layer, which runs before the attention."""
        return linears([child(block, "norm")], 1) + (0 if mlp else linears([block.proj_mlp], n + context))


DOUBLE_BLOCK, SINGLE_BLOCK = DoubleBlock(), SingleBlock()


class _RotaryAttention(JointAttention):
    """Rotates the tokens that remain by their own positions, and shortens the mask."""

    def __init__(self, compression: BlockCompression) -> None:
        super().__init__(compression, ARGUMENTS)
        self.tables = RotaryTables()

    def place(self, tokens: Tensor, arguments: dict[str, Any], queries: Plan | None, keys: Plan | None) -> None:
        """Take over the rotation, and the mask."""
        apart = arguments.get("encoder_hidden_states")
        image = self.compression.grid(tokens).n
        text = tokens.shape[1] - image if apart is None else apart.shape[1]
        remain = [remaining(text, image, plan, tokens.device) for plan in (queries, keys)]
        rope, tables = arguments.get("image_rotary_emb"), self.tables
        tables.clear()
        if rope is not None:
            first = 0 if apart is None else text  # where the text has its own norms, they rotate it
            tables.queries, tables.keys = (table_of(rope, each[:, first:]) for each in remain)
            tables.text = table_of(rope, remain[0][:1, :text])
            arguments["image_rotary_emb"] = None
        mask, bias = arguments.get("attention_mask"), None if queries is None else queries.bias(tokens)
        mask = None if mask is None else _shortened(mask, *remain)
        if bias is not None:  # [b 1 m]
            bias = torch.nn.functional.pad(bias, (text, 0))[:, None]  # [b 1 1 s]
            mask = bias if mask is None else _added(bias, mask)
        arguments["attention_mask"] = mask

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Release the tokens and the tables."""
        super().leave(module, args, output)
        self.tables.clear()


def _added(bias: Tensor, mask: Tensor) -> Tensor:
    """Join what is added to the logits with a mask."""
    mask = mask[:, None, None] if mask.ndim == 2 else mask
    return bias.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else bias + mask


def _attach_attention(block: Any, compression: BlockCompression, restores: bool) -> list[RemovableHook]:
    attention = _RotaryAttention(compression)
    return [
        block.register_forward_pre_hook(start_block(compression)),
        *attention.attach(block.attn, restores),
        *attention.tables.attach(block.attn),
        block.register_forward_hook(compression.end),
    ]


def _shortened(mask: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """Return the mask of the tokens that remain."""  # [b 1 s s], or [… 1 s] and [b s] for all queries
    b = mask.shape[0]
    columns = keys.expand(b, -1)
    if mask.ndim == 2:
        return mask.gather(1, columns)
    mask = mask.gather(3, columns[:, None, None].expand(-1, mask.shape[1], mask.shape[2], -1))
    if mask.shape[2] == 1:
        return mask
    return mask.gather(2, queries.expand(b, -1)[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3]))
