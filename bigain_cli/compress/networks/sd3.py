"""Stable Diffusion 3 and 3.5: blocks with joint attention and, in 3.5 medium, a second one among the image's tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from bigain_cli.compress.block_compression import BlockCompression
from bigain_cli.compress.networks.joint_attention import JointAttention, check_processor, start_block
from bigain_cli.compress.networks.patched_latents import PatchedLatents
from bigain_cli.compress.operation_counts import attention_products, child, convolutions, linears
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.site import BlockPlace, RemovableHook, Tokens

ARGUMENTS = ("hidden_states", "encoder_hidden_states", "attention_mask")
PARTS = {"transformer_blocks", "pos_embed", "context_embedder", "time_text_embed"}


class JointBlock:
    """diffusers' JointTransformerBlock: image and text enter the attention as two arguments."""

    text_in_front = False
    takes_bias = False  # its processor reads no mask

    def attention(self, block: Any) -> Any:
        """Return the joint attention."""
        return block.attn

    def parts(self, block: Any) -> tuple[nn.Module, ...]:
        """Return the attentions and the image's MLP."""
        return tuple(part for part in (block.attn, block.attn2, block.ff) if part is not None)

    def has_cross_attention(self, block: Any) -> bool:
        """Say no: text and image meet in one attention."""
        return False

    def check(self, block: Any, name: str, pools: bool) -> None:
        """Accept the stock attention."""
        check_processor(block.attn, name, ("JointAttnProcessor2_0",))

    def attach(self, block: Any, compression: BlockCompression) -> list[RemovableHook]:
        """Put hooks on both attentions, and on the image's MLP."""
        hooks: list[RemovableHook] = [
            block.register_forward_pre_hook(start_block(compression)),
            block.register_forward_hook(compression.end),
        ]
        for attention in (block.attn, block.attn2):
            if attention is not None:
                hooks += JointAttention(compression, ARGUMENTS).attach(attention)
        if compression.term is not None and compression.term.mlp:
            hooks.append(block.ff.register_forward_pre_hook(compression.merge_input, with_kwargs=True))
            hooks.append(block.ff.register_forward_hook(compression.restore_output))
        return hooks

    def flops(self, block: Any, tokens: Tokens, context: int) -> int:
        """Return the operations of one block."""
        attention = block.attn
        total = linears([block.norm1, block.norm1_context], 1) + linears([block.ff], tokens.mlp)
        total += linears([child(block, "ff_context")], context)
        total += linears([attention.add_q_proj, attention.add_k_proj, attention.add_v_proj], context)
        total += linears([child(attention, "to_add_out")], context)
        total += _attention(attention, tokens, context)
        return total + (_attention(block.attn2, tokens, 0) if block.attn2 is not None else 0)

    def flops_before_plan(self, block: Any, n: int, context: int, mlp: bool) -> int:
        """Return the operations of the first norms."""
        return linears([block.norm1, block.norm1_context], 1)


class StableDiffusion3(PatchedLatents):
    """The kind of network."""

    unit_time = False
    text_tokens = 333  # 77 of CLIP, 256 of T5
    default_blocks: frozenset[int] | None = None
    block = JointBlock()

    def recognises(self, root: Any) -> bool:
        """Say whether it has the parts of SD3, and its blocks."""
        return set(root._modules) >= PARTS and type(root.transformer_blocks[0]).__name__ == "JointTransformerBlock"

    def blocks(self, root: Any) -> Iterator[BlockPlace]:
        """Yield the blocks."""
        for block in root.transformer_blocks:
            yield BlockPlace(block, self.block, root.config.patch_size, None)

    def chain(self, root: Any) -> Iterator[tuple[Any, JointBlock]]:
        """Yield the blocks with their kind."""
        return ((block, self.block) for block in root.transformer_blocks)

    def flops_before_blocks(self, root: Any, latent: Grid, context: int) -> int:
        """Return the operations that embed patches, time and text."""
        patches = convolutions(root.pos_embed, self.root_grid(root, latent))
        return patches + linears([root.time_text_embed], 1) + linears([root.context_embedder], context)

    def flops_behind_blocks(self, root: Any, latent: Grid) -> int:
        """Return the operations of the last norm and of the output."""
        return linears([root.norm_out], 1) + linears([root.proj_out], self.root_grid(root, latent).n)


def _attention(attention: Any, tokens: Tokens, context: int) -> int:
    """Return the operations of the image's projections and of the products with all keys."""
    in_and_out = linears([attention.to_q, attention.to_out], tokens.queries)
    in_keys = linears([attention.to_k, attention.to_v], tokens.keys)
    products = attention_products(tokens.queries + context, tokens.keys + context, attention.inner_dim)
    return in_and_out + in_keys + products
