"""Embeddings of a closed vocabulary's prompts, kept in a model's folder: with them no text encoder need be loaded.

They are a cache, written once from the folder's own text encoder; the file names the text encoder and the tokenizer it
was made from by a digest, and where these have changed it counts for nothing. Must not know networks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bigain_cli.json_text import read_json

EMBEDDINGS_FILE = "prompts.safetensors"
PARTS = ("text_encoder", "tokenizer")


def read_embeddings(folder: Path) -> dict[str, Tensor]:
    """Return the embedding of each prompt in the file; nothing if there is none for this text encoder."""  # [n d]
    path = folder / EMBEDDINGS_FILE
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("made_from") != _digest(folder):
                return {}
            return dict(zip(read_json(about["prompts"]), file.get_tensor("embeddings"), strict=True))
    except (OSError, ValueError, KeyError, SafetensorError):
        return {}


def write_embeddings(folder: Path, embeddings: Mapping[str, Tensor]) -> Path:
    """Write a file of embeddings, which were computed by this folder's text encoder on a CPU in float32."""  # [n d]
    from torch import stack

    about = {"prompts": json.dumps(list(embeddings), ensure_ascii=False), "made_from": _digest(folder)}
    save_file({"embeddings": stack(list(embeddings.values()))}, folder / EMBEDDINGS_FILE, about)
    return folder / EMBEDDINGS_FILE


def _digest(folder: Path) -> str:
    """Return a digest of the text encoder and the tokenizer."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for part in PARTS for path in (folder / part).glob("*")):
        digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()
