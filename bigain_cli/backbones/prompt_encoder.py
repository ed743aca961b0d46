"""Prompts to text embeddings: kept ones where the folder has them, else by its tokenizer and its text encoder.

The two are loaded when a prompt needs them. Must not know networks other than the text encoder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bigain_cli.backbones.diffusers_folder import DiffusersFolder, quiet
from bigain_cli.backbones.embedding_cache import EmbeddingCache
from bigain_cli.backbones.load_errors import load_errors, run_errors
from bigain_cli.errors import UsageError
from bigain_cli.version import __version__

PROMPT_BATCH = 32
MANY = 4 * PROMPT_BATCH  # prompts of a run from which on their embeddings are kept on disk


class PromptEncoder:
    """The text side of a model, on the model's device and in its dtype."""

    def __init__(self, parts: DiffusersFolder) -> None:
        """Load the text encoder, unless the folder has kept embeddings that are as good."""
        self._parts, self._dtype = parts, parts.dtype
        self._cache = EmbeddingCache(parts.embeddings, self._key)
        exact = parts.device.type == "cpu" and parts.dtype == torch.float32  # as they were computed
        self._known = parts.known_prompts() if exact else {}
        if not self._known:
            _ = self._text

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return text embeddings, computed a few at a time if they are not all known."""  # [k n d]
        if all(prompt in self._known for prompt in prompts):
            return torch.stack([self._known[prompt] for prompt in prompts])
        batches = [list(prompts[start : start + PROMPT_BATCH]) for start in range(0, len(prompts), PROMPT_BATCH)]
        return torch.cat([self._batch(texts, keep=len(prompts) >= MANY) for texts in batches])

    def _batch(self, texts: list[str], keep: bool) -> Tensor:
        """Return embeddings of a few prompts, from the cache or the text encoder.

        They are kept as a batch, so that a kept embedding has the bits of one that is computed.
        """  # [k n d]
        device, name = self._parts.device, json.dumps(texts)
        if keep and (kept := self._cache.read(name)) is not None:
            return kept["rows"].to(device)
        tokenizer, encoder = self._text
        most = tokenizer.model_max_length
        with load_errors(f"{self._parts.name}/tokenizer"), quiet():
            ids = tokenizer(texts, padding="max_length", max_length=most).input_ids
        _refuse_long(texts, ids, most)
        with run_errors(f"{self._parts.name}/text_encoder"):
            rows: Tensor = encoder(torch.tensor(ids, device=encoder.device))[0].to(device, self._dtype)
        if keep:
            self._cache.write(name, {"rows": rows.detach()})
        return rows

    def to(self, dtype: torch.dtype) -> None:
        """Compute in another dtype from now on."""
        self._dtype, self._known = dtype, {}
        self._cache = EmbeddingCache(self._parts.embeddings, self._key)
        self._text[1].to(dtype)

    @property
    def text_encoder(self) -> Any:
        """The text encoder, which is loaded if it is not yet."""
        return self._text[1]

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, which is loaded with the text encoder."""
        return self._text[0]

    def _key(self) -> str:
        """Return what embeddings depend on, besides their texts."""
        import transformers

        weights, code = self._parts.identity_of_text("text_encoder"), f"{__version__} {torch.__version__}"
        return f"{weights} last {self._dtype} {self._parts.device.type} {code} {transformers.__version__}"

    @cached_property
    def _text(self) -> tuple[Any, Any]:
        return self._parts.text()


def _refuse_long(texts: Sequence[str], ids: Sequence[Sequence[int]], most: int) -> None:
    """Refuse a prompt that the text encoder would cut off."""
    for text, row in zip(texts, ids, strict=True):
        if len(row) > most:
            raise UsageError(f"prompt {text!r}", f"{len(row)} tokens; this text encoder reads {most}", "Shorten it.")
