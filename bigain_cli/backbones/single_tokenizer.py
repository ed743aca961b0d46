"""Where the tokenizer of a single-file checkpoint comes from: a folder beside it, or the hub's CLIP tokenizer."""

from __future__ import annotations

from pathlib import Path

from bigain_cli.errors import ModelError

HUB = "openai/clip-vit-large-patch14"  # Stable Diffusion 1 and 2 were trained with the same 49408 pieces
FILES = ["vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]


def tokenizer_folder(name: str, path: Path) -> Path:
    """Return the folder `tokenizer` beside a checkpoint, else the hub's from the cache, else downloaded."""
    beside = path.resolve().parent / "tokenizer"
    if beside.is_dir():
        return beside
    from huggingface_hub import snapshot_download

    try:
        cached = Path(snapshot_download(HUB, local_files_only=True, allow_patterns=FILES))
        if any((cached / file).is_file() for file in ("vocab.json", "tokenizer.json")):
            return cached
    except Exception as problem:  # noqa: BLE001 — whatever the cache lacks, the download below says it better
        del problem
    try:
        return Path(snapshot_download(HUB, allow_patterns=FILES))
    except Exception as problem:
        raise ModelError(
            f"model {name}",
            f"a single file holds no tokenizer; {HUB} is not in the local cache, and the download failed",
            f"Put its vocab.json and merges.txt, or any Stable Diffusion's tokenizer folder, at {beside}",
        ) from problem
