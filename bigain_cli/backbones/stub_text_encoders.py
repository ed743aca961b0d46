"""Text encoders without weights: every prompt has the same embedding, of the size that a network expects.

They take the place of real ones where only a network's time matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class StubOutput(NamedTuple):
    """What a text encoder of transformers returns, as far as backbones read it; the first entry is its main output."""

    first: Tensor
    hidden_states: tuple[Tensor, Tensor]
    pooler_output: Tensor


class StubTokenizer:
    """A tokenizer that makes all texts equal, of the greatest length."""

    def __init__(self, length: int) -> None:
        self.model_max_length = length

    def __call__(self, texts: str | list[str], padding: str, max_length: int, truncation: bool = False) -> Any:
        """Return token ids, all 0, and a mask that hides none."""
        ids, mask = [0] * max_length, [1] * max_length
        if isinstance(texts, str):
            return SimpleNamespace(input_ids=ids, attention_mask=mask)
        return SimpleNamespace(input_ids=[ids] * len(texts), attention_mask=[mask] * len(texts))


class StubTextEncoder(nn.Module):
    """A text encoder whose output is random, and the same for every text."""

    def __init__(
        self, width: int, device: torch.device, dtype: torch.dtype = torch.float32, projected: int = 0
    ) -> None:
        """Take the width of its tokens, and that of its projection if this is its main output."""
        super().__init__()
        self.width, self.projected, self.device, self.dtype = width, projected, device, dtype

    def forward(
        self, ids: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = False
    ) -> StubOutput:
        """Return embeddings."""  # [k n] -> [k n d]
        rows = self._random(ids.shape[1], self.width).expand(len(ids), -1, -1)
        pooled = self._random(1, self.projected or self.width).expand(len(ids), -1)
        return StubOutput(pooled if self.projected else rows, (rows, rows), pooled)

    def _random(self, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(*shape, generator=generator).to(self.device, self.dtype)


def width_of(config: Mapping[str, Any]) -> int:
    """Return the width of a text encoder's tokens from its configuration: of CLIP, of T5, or of an encoder inside."""
    inner = config.get("encoder")
    if isinstance(inner, Mapping):
        return width_of(inner)
    return int(config["d_model"] if "d_model" in config else config["hidden_size"])
