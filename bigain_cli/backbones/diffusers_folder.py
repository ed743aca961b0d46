"""A diffusers folder, part by part: configurations, networks, tokenizer and text encoder.

Reads only safetensors, refuses missing weights, runs no remote code, never uses the internet. Must not know families.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from bigain_cli.backbones.model_card import CARD_FILE, TRAINING_FOLDER, ModelCard
from bigain_cli.errors import ModelError
from bigain_cli.json_text import read_json

SAMPLES, SAMPLE_BYTES = 64, 4096  # of a weight file, for the identity
FETCH_AGAIN = "Fetch or save the model again."


@dataclass(frozen=True)
class DiffusersFolder:
    """A model's folder, and the dtype and device to load its parts with."""

    name: str
    folder: Path
    device: torch.device
    dtype: torch.dtype

    @cached_property
    def index(self) -> dict[str, Any]:
        """Return model_index.json, or nothing if the folder has none."""
        path = self.folder / "model_index.json"
        return self._json(path) if path.exists() else {}

    @cached_property
    def card(self) -> ModelCard:
        """Return the model's card."""
        return ModelCard.read(self.folder)

    def has(self, part: str) -> bool:
        """Tell whether the folder has this part."""
        return (self.folder / part).is_dir()

    def config(self, part: str) -> dict[str, Any]:
        """Return a part's configuration."""
        return self._json(self.folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json"))

    def network(self, part: str, kind: Any, dtype: torch.dtype | None = None) -> Any:
        """Load a network with all its weights, ready for inference."""
        variant = self._variant(part)
        with self._load_errors(part), quiet():
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

    def text(self) -> tuple[Any, Any]:
        """Load the tokenizer and the CLIP text encoder."""
        from transformers import CLIPTextModel, CLIPTokenizer

        declared = self.index.get("text_encoder", [None, "CLIPTextModel"])[1]
        if declared != "CLIPTextModel" or self.has("text_encoder_2"):
            hint = "Stable Diffusion 1.x and 2.x have a CLIPTextModel."
            raise ModelError(self.name, f"text encoder {declared} is not supported", hint)
        for part in ("tokenizer", "text_encoder"):
            if not self.has(part):
                hint = "A text-conditioned model needs it; save the whole pipeline."
                raise ModelError(f"{self.name}/{part}", "no such folder", hint)
        with self._load_errors("tokenizer"), quiet():
            tokenizer = CLIPTokenizer.from_pretrained(self.folder / "tokenizer", local_files_only=True)
        encoder = self.network("text_encoder", CLIPTextModel)
        tokenizer.model_max_length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
        return tokenizer, encoder

    @property
    def identity(self) -> str:
        """Return a digest of the configurations and of evenly spaced samples of all weights."""
        digest = hashlib.blake2b(digest_size=8)
        parts = (path for path in self.folder.glob("*/*") if path.parent.name != TRAINING_FOLDER)
        for path in sorted([*self.folder.glob("*.json"), *parts]):
            if path == self.folder / CARD_FILE:
                digest.update(ModelCard.text_for_identity(path.read_text(encoding="utf-8")).encode())
            elif path.suffix == ".json":
                digest.update(path.read_bytes())
            elif path.suffix == ".safetensors":
                add_samples(digest, path)
        return digest.hexdigest()

    def _variant(self, part: str) -> str | None:
        """Choose between plain weights and, if there is nothing else, the fp16 variant; refuse pickles."""
        names = [path.name for path in (self.folder / part).glob("*.safetensors*")]
        if any(".fp16." not in name and ".non_ema." not in name for name in names):
            return None
        if names:
            return "fp16"
        pickles = sorted(path.name for path in (self.folder / part).glob("*.bin"))
        why = f"only pickled weights ({pickles[0]})" if pickles else "no .safetensors weights in it"
        raise ModelError(f"{self.name}/{part}", why, "Save the model again with safe_serialization=True.")

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            content = read_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError as problem:
            hint = "A diffusers folder has one; save the whole pipeline."
            raise ModelError(str(path), "no such file", hint) from problem
        except (OSError, ValueError) as problem:
            raise ModelError(str(path), f"unreadable ({problem})", FETCH_AGAIN) from problem
        if not isinstance(content, dict):
            raise ModelError(str(path), "not a JSON object", FETCH_AGAIN)
        return content

    @contextmanager
    def _load_errors(self, part: str) -> Iterator[None]:
        """Turn the errors of loading a part into a `ModelError`."""
        try:
            yield
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as problem:
            reason = " ".join(str(problem).split())[:300]
            raise ModelError(f"{self.name}/{part}", f"cannot be loaded ({reason})", FETCH_AGAIN) from problem


def add_samples(digest: Any, path: Path) -> None:
    """Add a file's name, size and evenly spaced pieces to a digest: two sets of weights differ almost everywhere."""
    size = path.stat().st_size
    digest.update(f"{path.name} {size}".encode())
    with path.open("rb") as file:
        for number in range(SAMPLES):
            file.seek(size * number // SAMPLES)
            digest.update(file.read(SAMPLE_BYTES))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence diffusers and transformers; what matters is raised as an error."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    levels = diffusers_logging.get_verbosity(), transformers_logging.get_verbosity()
    diffusers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(levels[0])
        transformers_logging.set_verbosity(levels[1])
        transformers_logging.enable_progress_bar()
