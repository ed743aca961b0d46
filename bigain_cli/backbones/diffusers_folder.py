"""A diffusers folder, part by part: configurations, networks, tokenizer and text encoder.

Reads only safetensors, refuses missing weights, runs no remote code, never uses the internet. Must not know families.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bigain_cli.backbones.file_digests import FileDigests
from bigain_cli.backbones.folder_checks import (
    FETCH_AGAIN,
    check_network,
    check_tokenizer,
    files_of,
    fit_length,
    fit_pieces,
    fit_tokenizer,
    plain_weights,
    read_object,
)
from bigain_cli.backbones.load_errors import load_errors
from bigain_cli.backbones.model_card import CARD_FILE, ModelCard
from bigain_cli.backbones.model_locations import TOKENIZERS
from bigain_cli.backbones.prompt_embeddings import EMBEDDINGS_FILE, read_embeddings
from bigain_cli.errors import ModelError
from bigain_cli.registry import attribute

PARTS = ("scheduler", *TOKENIZERS, *TOKENIZERS.values(), "transformer", "unet", "vae")
PART_FILES = (".json", ".safetensors", ".txt", ".model")


@dataclass(frozen=True)
class DiffusersFolder:
    """A model's folder, and the dtype and device to load its parts with."""

    name: str
    folder: Path
    device: torch.device
    dtype: torch.dtype
    digests: FileDigests = field(default=FileDigests(), kw_only=True)
    embeddings: Path | None = field(default=None, kw_only=True)  # a folder that keeps those of prompts

    @cached_property
    def index(self) -> dict[str, Any]:
        """Return model_index.json, or nothing if the folder has none."""
        path = self.folder / "model_index.json"
        return read_object(path) if path.exists() else {}

    def declared(self, part: str, default: str) -> str:
        """Return the class of a part that model_index.json names."""
        entry = self.index.get(part, [None, default])
        if not isinstance(entry, list) or len(entry) != 2:
            raise ModelError(f"{self.name}/model_index.json", f"its entry {part} is not [library, class]", FETCH_AGAIN)
        return str(entry[1])

    @cached_property
    def card(self) -> ModelCard:
        """Return the model's card."""
        return ModelCard.read(self.folder)

    def has(self, part: str) -> bool:
        """Tell whether the folder has this part."""
        return (self.folder / part).is_dir()

    def config(self, part: str) -> dict[str, Any]:
        """Return a part's configuration."""
        return read_object(self.folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json"))

    def network(self, part: str, kind: Any, dtype: torch.dtype | None = None) -> Any:
        """Load a network with all its weights, ready for inference."""
        variant = self._variant(part)
        check_network(f"{self.name}/{part}", self.folder / part)
        with self._load_errors(part), quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of diffusers about its own code
            model, info = kind.from_pretrained(
                self.folder / part,
                torch_dtype=dtype or self.dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                variant=variant,
            )
        if missing := info["missing_keys"]:
            why = f"{len(missing)} weights are missing ({min(missing)}, …)"
            raise ModelError(f"{self.name}/{part}", why, FETCH_AGAIN)
        return model.to(self.device).eval().requires_grad_(False)

    def check(self, *parts: str) -> None:
        """Refuse networks that will be loaded later, and are not there or not what they are named to be."""
        for part in parts:
            if not self.has(part):
                raise ModelError(
                    f"{self.name}/{part}", "no such folder", "The model needs it; save the whole pipeline."
                )
            self._variant(part)
            check_network(f"{self.name}/{part}", self.folder / part)
            if tokenizer := TOKENIZERS.get(part):
                if not self.has(tokenizer):
                    raise ModelError(f"{self.name}/{tokenizer}", "no such folder", "Its text encoder needs it.")
                check_tokenizer(f"{self.name}/{tokenizer}", self.folder / tokenizer)

    def text(self) -> tuple[Any, Any]:
        """Load the tokenizer and the CLIP text encoder."""
        from transformers import CLIPTextModel, CLIPTokenizer

        declared = self.declared("text_encoder", "CLIPTextModel")
        if declared != "CLIPTextModel" or self.has("text_encoder_2"):
            hint = "Stable Diffusion 1.x and 2.x have a CLIPTextModel."
            raise ModelError(self.name, f"text encoder {declared} is not supported", hint)
        for part in ("tokenizer", "text_encoder"):
            if not self.has(part):
                hint = "A text-conditioned model needs it; save the whole pipeline."
                raise ModelError(f"{self.name}/{part}", "no such folder", hint)
        check_tokenizer(f"{self.name}/tokenizer", self.folder / "tokenizer")
        with self._load_errors("tokenizer"), quiet():
            tokenizer = CLIPTokenizer.from_pretrained(self.folder / "tokenizer", local_files_only=True)
        encoder = self.network("text_encoder", CLIPTextModel)
        with self._load_errors("tokenizer"):
            fit_tokenizer(self.name, tokenizer, encoder.config)
        return tokenizer, encoder

    def text_encoder(self, part: str, kind: str, tokenizer_kind: str, dtype: torch.dtype) -> tuple[Any, Any]:
        """Load one of several text encoders and its tokenizer, whose classes are named as module:attribute."""
        tokenizer_part = TOKENIZERS[part]
        check_tokenizer(f"{self.name}/{tokenizer_part}", self.folder / tokenizer_part)
        with self._load_errors(tokenizer_part), quiet():
            tokenizer = attribute(tokenizer_kind).from_pretrained(self.folder / tokenizer_part, local_files_only=True)
        encoder = self.network(part, attribute(kind), dtype)
        fit_pieces(f"{self.name}/{tokenizer_part}", tokenizer, encoder.config)
        if positions := encoder.config.to_dict().get("max_position_embeddings"):  # T5 has none
            fit_length(f"{self.name}/{tokenizer_part}", tokenizer, positions)
        return tokenizer, encoder

    def identity_of_text(self, part: str) -> str:
        """Return a digest of every byte of a text encoder and of its tokenizer."""
        parts = [each for each in (part, TOKENIZERS[part]) if self.has(each)]
        return self.digests.combined((path.name, path) for each in parts for path in self._files(each))

    def known_prompts(self) -> dict[str, torch.Tensor]:
        """Return the embeddings of prompts that are kept beside the text encoder, computed on a CPU in float32."""
        return read_embeddings(self.folder)

    @property
    def identity(self) -> str:
        """Return a digest of every byte of the weights, the tokenizer and the configurations."""
        files = [(f"{part}/{path.name}", path) for part in PARTS if self.has(part) for path in self._files(part)]
        for path in (self.folder / "model_index.json", self.folder / EMBEDDINGS_FILE):
            if path.exists():
                files.append((path.name, path))
        card = self.folder / CARD_FILE
        text = ModelCard.text_for_identity(card.read_text(encoding="utf-8")) if card.exists() else ""
        return self.digests.combined(files, text)

    def _files(self, part: str) -> list[Path]:
        return [path for path in files_of(self.folder / part) if path.suffix in PART_FILES]

    def _variant(self, part: str) -> str | None:
        """Choose between plain weights and, if there is nothing else, the fp16 variant; refuse pickles."""
        names = [path.name for path in (self.folder / part).glob("*.safetensors*")]
        if plain_weights(names):
            return None
        if names:
            return "fp16"
        pickles = sorted(path.name for path in (self.folder / part).glob("*.bin"))
        why = f"only pickled weights ({pickles[0]})" if pickles else "no .safetensors weights in it"
        raise ModelError(f"{self.name}/{part}", why, "Save the model again with safe_serialization=True.")

    @contextmanager
    def _load_errors(self, part: str) -> Iterator[None]:
        """Turn the errors of loading a part into a `ModelError`."""
        with load_errors(f"{self.name}/{part}"):
            yield


@contextmanager
def quiet() -> Iterator[None]:
    """Silence diffusers, and transformers if it is in use; what matters is raised as an error."""
    from diffusers.utils import logging as diffusers_logging

    with ExitStack() as silenced:
        silenced.enter_context(_critical(diffusers_logging))
        if sys.modules.get("transformers"):
            from transformers.utils import logging as transformers_logging

            silenced.enter_context(_critical(transformers_logging))
            transformers_logging.disable_progress_bar()
            silenced.callback(transformers_logging.enable_progress_bar)
        yield


@contextmanager
def _critical(library: Any) -> Iterator[None]:
    """Let a library report what is critical, and nothing else."""
    level = library.get_verbosity()
    library.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        library.set_verbosity(level)
