"""Two-tower models, CLIP and SigLIP of transformers: how well each text fits an image, from a vector of each.

In: a hub id or a folder; out: vectors of texts and images on the CPU, and the scale of their products. Must not know
labels. Weights are safetensors only, and no code of a model's is run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from bigain_cli.backbones.devices import choose_device
from bigain_cli.backbones.diffusers_folder import quiet
from bigain_cli.backbones.file_digests import FileDigests
from bigain_cli.backbones.folder_checks import read_object
from bigain_cli.backbones.load_errors import load_errors, reason_of, run_errors
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.shortlist.canonical_text import CANONICAL

TEXT_BATCH = 64
FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
SUPPORTED = "CLIP, SigLIP and SigLIP 2 in transformers' layout are supported."


@dataclass(frozen=True)
class TowersFolder:
    """A model's folder and its kind, before anything of it is in memory."""

    name: str
    folder: Path
    kind: str

    def identity(self, cache: Path | None) -> str:
        """Return a digest of the weights and the configuration."""
        files = sorted(path for pattern in FILES for path in self.folder.glob(pattern))
        return FileDigests(cache).combined((path.name, path) for path in files)


@dataclass(frozen=True)
class TwoTowers:
    """A model in memory."""

    name: str
    network: Any
    tokenizer: Any
    processor: Any
    clean: Callable[[str], str]
    tokens: int  # that it reads, and that every text is filled up to
    device: torch.device

    @property
    def scale(self) -> float:
        """Return what products of vectors are multiplied by."""
        return float(self.network.logit_scale.detach().exp())

    @torch.inference_mode()
    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        """Return a vector of length one for each text."""  # [n d]
        parts = [self.token_ids(texts[start : start + TEXT_BATCH]) for start in range(0, len(texts), TEXT_BATCH)]
        with run_errors(self.name):
            return torch.cat([self._normalised(self.network.get_text_features(input_ids=ids)) for ids in parts])

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Return the tokens of texts, written as in training and filled up as in training."""  # [n tokens]
        with run_errors(f"{self.name}'s tokenizer"), quiet():
            ids = self.tokenizer([self.clean(text) for text in texts], padding="max_length", max_length=self.tokens)
        for text, row in zip(texts, ids.input_ids, strict=True):
            if len(row) > self.tokens:
                why = f"{len(row)} tokens; {self.name} reads {self.tokens}"
                raise UsageError(f"prompt {text!r}", why, "Shorten it.")
        return torch.tensor(ids.input_ids, device=self.device)

    @torch.inference_mode()
    def image_vector(self, image: Image) -> Tensor:
        """Return an image's vector of length one; by itself, so that no other image changes a bit."""  # [d]
        with run_errors(self.name):
            inputs = self.processor(images=image, return_tensors="pt").to(self.device)
            return self._normalised(self.network.get_image_features(**inputs))[0]

    def _normalised(self, output: Any) -> Tensor:
        vectors = output if isinstance(output, Tensor) else output.pooler_output
        return torch.nn.functional.normalize(vectors.double(), dim=-1).cpu()


def find_towers(name: str) -> TowersFolder:
    """Return a model's folder, which is downloaded if it is a hub id; refuse what is no two-tower model."""
    path = Path(os.path.expanduser(name))
    folder = path if path.is_dir() else _downloaded(name)
    kind = str(read_object(folder / "config.json").get("model_type"))
    if kind not in CANONICAL:
        raise ModelError(f"--shortlist {name}", f"its kind is {kind!r}", SUPPORTED)
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"--shortlist {name}", "no safetensors weights in it", "Only safetensors weights are read.")
    return TowersFolder(name, folder, kind)


def load_towers(towers: TowersFolder, device: str = "auto") -> TwoTowers:
    """Load a model in float32."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    place = choose_device(device)
    with load_errors(f"--shortlist {towers.name}"), quiet():
        folder = str(towers.folder)
        network = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval().to(place)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        processor = AutoImageProcessor.from_pretrained(folder)
    tokens = int(network.config.text_config.max_position_embeddings)
    return TwoTowers(towers.name, network, tokenizer, processor, CANONICAL[towers.kind], tokens, place)


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=FILES))
        if any(folder.glob("*.safetensors")):  # else the download was interrupted
            return folder
    except Exception as problem:  # noqa: BLE001 — the download below gives a better reason
        del problem
    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except Exception as problem:
        hint = "Check the name and the network, or give a folder saved with save_pretrained()."
        raise ModelError(f"--shortlist {name}", f"cannot be downloaded ({reason_of(problem)})", hint) from problem
