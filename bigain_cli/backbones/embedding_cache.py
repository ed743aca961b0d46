"""Embeddings of prompts on disk, by the text encoder's weights and the text: with them no text encoder is loaded.

What is wrong with the folder, or with a file in it, costs time and nothing else. Must not know text encoders.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, uint8


class EmbeddingCache:
    """A folder of files, one for each prompt of each text encoder; without a folder, nothing is kept."""

    def __init__(self, folder: Path | None, key: Callable[[], str]) -> None:
        """Take the folder, and what tells an encoder's embeddings from those of another: it is asked for if needed."""
        self._folder, self._make_key = folder, key

    def read(self, text: str) -> Mapping[str, Tensor] | None:
        """Return a prompt's tensors, or None if they are not kept."""
        if self._folder is None:
            return None
        path = self._path(self._folder, text)
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("key") != self._key or about.get("text") != text:
                    return None
                kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — not a dict
                return kept if about.get("content") == _digest(kept) else None
        except (OSError, ValueError, SafetensorError):
            return None

    def write(self, text: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep a prompt's tensors, unless they hold what is no number; the file appears whole."""
        if self._folder is None or not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            return
        path = self._path(self._folder, text)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with contextlib.suppress(OSError, SafetensorError, ValueError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
                save_file(on_cpu, part, {"key": self._key, "text": text, "content": _digest(on_cpu)})
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    @cached_property
    def _key(self) -> str:
        return self._make_key()

    def _path(self, folder: Path, text: str) -> Path:
        name = hashlib.blake2b(f"{self._key}\n{text}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return folder / name[:2] / f"{name}.safetensors"


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of the names and the numbers: a file may have changed since it was written."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()
