"""Prompts to text embeddings: kept ones where the folder has them, else by its tokenizer and its text encoder.

The two are loaded when a prompt needs them. Must not know networks other than the text encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bigain_cli.backbones.diffusers_folder import DiffusersFolder, quiet
from bigain_cli.backbones.load_errors import load_errors, run_errors
from bigain_cli.errors import UsageError

PROMPT_BATCH = 32


class PromptEncoder:
    """The text side of a model, on the model's device and in its dtype."""

    def __init__(self, parts: DiffusersFolder) -> None:
        """Load the text encoder, unless the folder has kept embeddings that are as good."""
        self._parts, self._dtype = parts, parts.dtype
        exact = parts.device.type == "cpu" and parts.dtype == torch.float32  # as they were computed
        self._known = parts.known_prompts() if exact else {}
        if not self._known:
            _ = self._text

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return text embeddings, computed a few at a time if they are not all known."""  # [k n d]
        if all(prompt in self._known for prompt in prompts):
            return torch.stack([self._known[prompt] for prompt in prompts])
        (tokenizer, encoder), device = self._text, self._parts.device
        most, rows = tokenizer.model_max_length, []
        for start in range(0, len(prompts), PROMPT_BATCH):
            texts = list(prompts[start : start + PROMPT_BATCH])
            with load_errors(f"{self._parts.name}/tokenizer"), quiet():
                ids = tokenizer(texts, padding="max_length", max_length=most).input_ids
            _refuse_long(texts, ids, most)
            with run_errors(f"{self._parts.name}/text_encoder"):
                rows.append(encoder(torch.tensor(ids, device=encoder.device))[0].to(device, self._dtype))
        return torch.cat(rows)

    def to(self, dtype: torch.dtype) -> None:
        """Compute in another dtype from now on."""
        self._dtype, self._known = dtype, {}
        self._text[1].to(dtype)

    @property
    def text_encoder(self) -> Any:
        """The text encoder, which is loaded if it is not yet."""
        return self._text[1]

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, which is loaded with the text encoder."""
        return self._text[0]

    @cached_property
    def _text(self) -> tuple[Any, Any]:
        return self._parts.text()


def _refuse_long(texts: Sequence[str], ids: Sequence[Sequence[int]], most: int) -> None:
    """Refuse a prompt that the text encoder would cut off."""
    for text, row in zip(texts, ids, strict=True):
        if len(row) > most:
            raise UsageError(f"prompt {text!r}", f"{len(row)} tokens; this text encoder reads {most}", "Shorten it.")
