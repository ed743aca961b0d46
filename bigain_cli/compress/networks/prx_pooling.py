"""PRX's attention with pooled image keys: queries from all of the image's tokens, keys and values from fewer.

diffusers' processor takes all three from one product with one weight, so hooks cannot give them different lengths: this
one takes the weight's parts. The stock processor comes back when the compression ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

Pooled = tuple[Tensor, Tensor | None]  # tokens [b k c], rotary positions [b 1 k d/2 2 2]


class ReplacedProcessor:
    """A processor in the place of another one, until it is removed."""

    def __init__(self, attention: Any, processor: Any) -> None:
        self._attention, self._stock = attention, attention.processor
        attention.processor = processor

    def remove(self) -> None:
        """Put the stock processor back."""
        self._attention.processor = self._stock


class PooledKeys:
    """The processor; `take_pooled` returns what the hook on the attention has pooled."""

    def __init__(self, stock: Any, take_pooled: Callable[[], Pooled | None]) -> None:
        self._stock, self._take_pooled = stock, take_pooled

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Tensor | None = None,
    ) -> Tensor:
        """Attend from the image to its pooled tokens and to the text."""
        pooled = self._take_pooled()
        if pooled is None:
            return self._stock(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        tokens, positions = pooled
        query = _rotated(attn.norm_q(_heads(_project(attn, hidden_states, 0, 1), attn)), image_rotary_emb)
        key, value = (_heads(part, attn) for part in _project(attn, tokens, 1, 3).chunk(2, -1))
        text_key, text_value = (_heads(part, attn) for part in attn.txt_kv_proj(encoder_hidden_states).chunk(2, -1))
        key = torch.cat([attn.norm_added_k(text_key), _rotated(attn.norm_k(key), positions)], 2)
        value = torch.cat([text_value, value], 2)
        mask = None if attention_mask is None else _joint_mask(attention_mask, key.shape[2])
        output = self._attend(query, key, value, mask)
        for layer in attn.to_out:
            output = layer(output)
        return output

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Run the attention kernel that was chosen in diffusers."""  # [b heads n d] -> [b n heads·d]
        from diffusers.models.attention_dispatch import dispatch_attention_fn

        by_token = (part.transpose(1, 2) for part in (query, key, value))
        output = dispatch_attention_fn(
            *by_token,
            attn_mask=mask,
            backend=self._stock._attention_backend,
            parallel_config=self._stock._parallel_config,
        )
        return output.flatten(2)


def _project(attn: Any, x: Tensor, first: int, last: int) -> Tensor:
    """Multiply by some thirds of the projection of Q, K and V."""
    layer, width = attn.img_qkv_proj, attn.inner_dim
    part = slice(first * width, last * width)
    return linear(x, layer.weight[part], None if layer.bias is None else layer.bias[part])


def _heads(x: Tensor, attn: Any) -> Tensor:
    return x.unflatten(-1, (attn.heads, attn.head_dim)).transpose(1, 2)  # [b n c] -> [b heads n d]


def _rotated(x: Tensor, table: Tensor | None) -> Tensor:
    """Rotate pairs of neighbouring channels."""  # [b heads n d], [b 1 n d/2 2 2]
    if table is None:
        return x
    pairs, table = x.float().unflatten(-1, (-1, 1, 2)), table.to(x.device)
    return (table[..., 0] * pairs[..., 0] + table[..., 1] * pairs[..., 1]).flatten(-2).type_as(x)


def _joint_mask(text: Tensor, keys: int) -> Tensor:
    """Return the text's mask, continued over the image's keys, all of which are seen."""  # [b t] -> [b 1 1 keys]
    return torch.nn.functional.pad(text.bool(), (0, keys - text.shape[1]), value=True)[:, None, None]
