"""Prompts to embeddings with several text encoders: each is loaded only if a prompt needs it, and leaves afterwards.

In: a model's folder and what is read of each of its encoders; out: the tensors of each prompt, from the cache on disk
where they are kept. One prompt at a time, so that a prompt's embedding depends on nothing else. Must not know networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bigain_cli.backbones.diffusers_folder import DiffusersFolder, quiet
from bigain_cli.backbones.embedding_cache import EmbeddingCache
from bigain_cli.backbones.load_errors import load_errors, run_errors
from bigain_cli.errors import UsageError
from bigain_cli.version import __version__

MOST_KEPT = 64  # prompts of earlier calls, the most recent ones, in case they come again: T5 makes 4 MB of each
Tensors = Mapping[str, Tensor]  # of one prompt, without an axis for prompts


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a model: what it is, how many tokens it reads, and what is taken of its output."""

    part: str  # its folder
    kind: str  # its class, as module:attribute
    tokenizer: str  # the class of its tokenizer
    read: Callable[[Any, Tensor], Tensors]  # from its output and the mask of tokens
    tokens: int | None = None  # None: as many as the tokenizer says
    masked: bool = False  # whether it is told which tokens are filling
    cuts: bool = False  # whether a longer prompt is cut, because another encoder reads more of it
    clean: Callable[[str], str] = str  # of a prompt, as in training

    @property
    def about(self) -> str:
        """Return all that its tensors depend on but its files, as text."""
        return f"{self.kind} {self.read.__name__} {self.tokens} {self.masked} {self.cuts} {self.clean.__name__}"


class PromptEmbedder:
    """Embeds prompts, encoder by encoder: at most one is in memory, and beside the network only while it embeds."""

    def __init__(self, parts: DiffusersFolder, encoders: Sequence[TextEncoder]) -> None:
        self._parts, self._encoders = parts, encoders
        self._loaded: tuple[str, Any, Any] | None = None  # a part, its tokenizer and its encoder
        self._kept: dict[tuple[str, str], Tensors] = {}  # on the CPU
        self._recent: list[str] = []  # the prompts of these, the last ones at the end
        self._caches: dict[str, EmbeddingCache] = {}
        self._beside_network = False
        self.dtype = parts.dtype

    def embed(self, prompts: Sequence[str]) -> list[dict[str, Tensors]]:
        """Return each prompt's tensors by part; the empty prompt is embedded with the first, since it is often next."""
        wanted, found = dict.fromkeys((*prompts, "")), dict[tuple[str, str], Tensors]()
        for encoder in self._encoders:
            for prompt in wanted:
                place = encoder.part, prompt
                kept = self._kept.get(place)
                found[place] = self._tensors(encoder, prompt) if kept is None else _moved(kept, self._parts.device)
        before = [prompt for prompt in self._recent if prompt not in wanted]
        self._recent = [*before[-MOST_KEPT:], *wanted]
        staying = {"", *self._recent}
        self._kept = {place: value for place, value in self._kept.items() if place[1] in staying}
        self._kept |= {place: _moved(value, torch.device("cpu")) for place, value in found.items()}
        if self._beside_network:
            self.leave()
        return [{encoder.part: found[encoder.part, prompt] for encoder in self._encoders} for prompt in prompts]

    def make_room(self) -> None:
        """Free the encoder that is in memory, now and after every prompt: the network comes."""
        self._beside_network = True
        self.leave()

    def leave(self) -> None:
        """Free the encoder that is in memory."""
        self._loaded = None
        if self._parts.device.type == "cuda":
            torch.cuda.empty_cache()

    def to(self, dtype: torch.dtype) -> None:
        """Embed in another dtype from now on."""
        if dtype != self.dtype:
            self.dtype, self._kept, self._caches = dtype, {}, {}
            self.leave()

    def _tensors(self, encoder: TextEncoder, prompt: str) -> Tensors:
        """Return a prompt's tensors, from the cache or from the encoder."""
        device, text = self._parts.device, encoder.clean(prompt)
        cache = self._cache(encoder)
        if (kept := cache.read(text)) is not None:
            return _moved(kept, device)
        found = self._run(encoder, text)
        cache.write(text, found)
        return found

    @torch.inference_mode()
    def _run(self, encoder: TextEncoder, text: str) -> Tensors:
        tokenizer, network = self._load(encoder)
        most = encoder.tokens or tokenizer.model_max_length
        with load_errors(f"{self._parts.name}/{encoder.part}"), quiet():
            row = tokenizer(text, padding="max_length", max_length=most, truncation=encoder.cuts)
        if len(row.input_ids) > most:
            why = f"{len(row.input_ids)} tokens; this text encoder reads {most}"
            raise UsageError(f"prompt {text!r}", why, "Shorten it.")
        device = self._parts.device
        ids, mask = (torch.tensor([values], device=device) for values in (row.input_ids, row.attention_mask))
        with run_errors(f"{self._parts.name}/{encoder.part}"):
            output = network(ids, attention_mask=mask if encoder.masked else None, output_hidden_states=True)
        found = encoder.read(output, mask)
        return {
            name: tensor[0].to(self.dtype if tensor.is_floating_point() else tensor.dtype).clone()
            for name, tensor in found.items()
        }

    def _load(self, encoder: TextEncoder) -> tuple[Any, Any]:
        """Return a tokenizer and its encoder, in place of those in memory."""
        if self._loaded is None or self._loaded[0] != encoder.part:
            self.leave()
            tokenizer, network = self._parts.text_encoder(encoder.part, encoder.kind, encoder.tokenizer, self.dtype)
            self._loaded = encoder.part, tokenizer, network
        return self._loaded[1], self._loaded[2]

    def _cache(self, encoder: TextEncoder) -> EmbeddingCache:
        if encoder.part not in self._caches:
            self._caches[encoder.part] = EmbeddingCache(self._parts.embeddings, lambda: self._key(encoder))
        return self._caches[encoder.part]

    def _key(self, encoder: TextEncoder) -> str:
        """Return what a prompt's bits depend on, besides the prompt."""
        import transformers

        weights = self._parts.identity_of_text(encoder.part)
        code = f"bigain {__version__} torch {torch.__version__} transformers {transformers.__version__}"
        return f"{weights} {encoder.about} {self.dtype} {self._parts.device.type} {code}"


def penultimate(output: Any, mask: Tensor) -> Tensors:
    """Return the tokens of the last layer but one, and the pooled projection if the first output is one."""
    tokens = {"tokens": output.hidden_states[-2]}
    return {**tokens, "pooled": output[0]} if output[0].ndim == 2 else tokens


def pooled(output: Any, mask: Tensor) -> Tensors:
    """Return the pooled output."""
    return {"pooled": output.pooler_output}


def last(output: Any, mask: Tensor) -> Tensors:
    """Return the tokens of the last layer."""
    return {"tokens": output[0]}


def last_masked(output: Any, mask: Tensor) -> Tensors:
    """Return the tokens of the last layer, and which of them are the prompt's."""
    return {"tokens": output[0], "mask": mask}


def lower_stripped(text: str) -> str:
    """Return a prompt in small letters, without spaces around it."""
    return text.lower().strip()


def _moved(tensors: Tensors, device: torch.device) -> Tensors:
    return {name: tensor.to(device) for name, tensor in tensors.items()}
