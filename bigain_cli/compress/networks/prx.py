"""PRX: image tokens attend to themselves and to the text, which no block changes; one projection for Q, K and V."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from bigain_cli.compress.block_compression import BlockCompression
from bigain_cli.compress.networks.joint_attention import JointAttention, check_processor, start_block
from bigain_cli.compress.networks.patched_latents import PatchedLatents
from bigain_cli.compress.networks.prx_pooling import PooledKeys, ReplacedProcessor
from bigain_cli.compress.operation_counts import attention_products, child, linears
from bigain_cli.compress.plan import Grid, Plan, take
from bigain_cli.compress.site import BlockPlace, RemovableHook, Tokens
from bigain_cli.errors import ModelError

ARGUMENTS = ("hidden_states", "encoder_hidden_states", "attention_mask", "image_rotary_emb")
PARTS = {"blocks", "img_in", "txt_in", "pe_embedder", "final_layer"}
DEFAULT = Grid(64, 64)  # 512 pixels


class PrxBlock:
    """The kind of block; its MLP is three layers of the block itself."""

    text_in_front = False
    takes_bias = False  # its processor reads a mask of the text only

    def attention(self, block: Any) -> Any:
        """Return the attention."""
        return block.attention

    def parts(self, block: Any) -> tuple[nn.Module, ...]:
        """Return the attention and the MLP."""
        return block.attention, block.gate_proj, block.up_proj, block.down_proj

    def has_cross_attention(self, block: Any) -> bool:
        """Say no: text and image meet in one attention."""
        return False

    def check(self, block: Any, name: str, pools: bool) -> None:
        """Accept the stock attention; to pool, its projection must be a plain layer, of which parts can be used."""
        check_processor(block.attention, name, ("PRXAttnProcessor2_0",))
        if pools and type(block.attention.img_qkv_proj) is not nn.Linear:
            why = f"its projection is a {type(block.attention.img_qkv_proj).__name__}, so keys cannot be pooled"
            raise ModelError(f"block {name}", why, "Merge tokens instead, such as lgtm:0.5.")

    def attach(self, block: Any, compression: BlockCompression) -> list[RemovableHook]:
        """Put hooks on the attention and the MLP."""
        hooks: list[RemovableHook] = [
            block.register_forward_pre_hook(start_block(compression)),
            *_PrxAttention(compression, ARGUMENTS).attach(block.attention),
        ]
        if compression.term is not None and compression.term.mlp:
            for layer in (block.gate_proj, block.up_proj):
                hooks.append(layer.register_forward_pre_hook(compression.merge_input, with_kwargs=True))
            hooks.append(block.down_proj.register_forward_hook(compression.restore_output))
        return [*hooks, block.register_forward_hook(compression.end)]

    def flops(self, block: Any, tokens: Tokens, context: int) -> int:
        """Return the operations of one block."""
        a = block.attention
        queries = linears([a.img_qkv_proj], tokens.queries) // 3 + linears([a.to_out], tokens.queries)
        keys = linears([a.img_qkv_proj], tokens.keys) * 2 // 3 + linears([a.txt_kv_proj], context)
        mlp = linears([block.gate_proj, block.up_proj, block.down_proj], tokens.mlp)
        products = attention_products(tokens.queries, tokens.keys + context, a.inner_dim)
        return linears([block.modulation], 1) + queries + keys + products + mlp

    def flops_before_plan(self, block: Any, n: int, context: int, mlp: bool) -> int:
        """Return the operations of the modulation."""
        return linears([block.modulation], 1)


class Prx(PatchedLatents):
    """The kind of network."""

    unit_time = True
    text_tokens = 256
    default_blocks: frozenset[int] | None = None
    block = PrxBlock()

    def recognises(self, root: Any) -> bool:
        """Say whether it has the parts of PRX."""
        return set(root._modules) >= PARTS

    def blocks(self, root: Any) -> Iterator[BlockPlace]:
        """Yield the blocks."""
        for block in root.blocks:
            yield BlockPlace(block, self.block, root.config.patch_size, None)

    def configured_latent(self, root: Any) -> Grid:
        """Return a usual size: a network has positions for any, and a network of pixels has large patches."""
        return DEFAULT if root.config.patch_size <= 2 else Grid(512, 512)

    def chain(self, root: Any) -> Iterator[tuple[Any, PrxBlock]]:
        """Yield the blocks with their kind."""
        return ((block, self.block) for block in root.blocks)

    def flops_before_blocks(self, root: Any, latent: Grid, context: int) -> int:
        """Return the operations that embed patches, text, time and resolution."""
        patches = linears([root.img_in], self.root_grid(root, latent).n)
        once = [root.time_in, child(root, "resolution_embedder")]
        return patches + linears([root.txt_in], context) + linears(once, 1)

    def flops_behind_blocks(self, root: Any, latent: Grid) -> int:
        """Return the operations of the last layer."""
        last = root.final_layer
        return linears([last.linear], self.root_grid(root, latent).n) + linears([last.adaLN_modulation], 1)


class _PrxAttention(JointAttention):
    """Gathers the positions of the tokens that remain; pools by a processor, since Q, K and V are one projection."""

    _positions: Tensor | None = None

    def attach_pooling(self, attention: Any) -> list[RemovableHook]:
        """Replace the processor."""
        return [ReplacedProcessor(attention, PooledKeys(attention.processor, self.take_pooled))]

    def take_pooled(self) -> tuple[Tensor, Tensor | None] | None:
        """Return the pooled tokens and their rotary positions, if there are any."""
        return None if self._pooled is None else (self._pooled, self._positions)

    def place(self, tokens: Tensor, arguments: dict[str, Any], queries: Plan | None, keys: Plan | None) -> None:
        """Take the rows of the table of positions."""
        rope = arguments.get("image_rotary_emb")  # [b 1 n d/2 2 2]
        if rope is None:
            return
        if self._pooled is not None:
            self._positions = _rows(rope, keys)
        arguments["image_rotary_emb"] = _rows(rope, queries)

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Release the tokens and the positions."""
        super().leave(module, args, output)
        self._positions = None


def _rows(rope: Tensor, plan: Plan | None) -> Tensor:
    """Return a table's rows of the tokens that remain."""
    if plan is None:
        return rope
    samples = plan.samples(rope.device)
    b = max(len(samples), len(rope))
    rows = take(rope[:, 0].flatten(2).expand(b, -1, -1), samples.expand(b, -1))
    return rows.unflatten(2, rope.shape[3:])[:, None]
