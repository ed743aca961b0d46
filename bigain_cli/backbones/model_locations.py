"""From a model's name to where its weights lie: embedded, a folder, a file, or a hub's local cache.

Torch-free, so that `--dry-run`, `list` and usage errors answer at once. Must not know what is in the weights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bigain_cli.errors import ModelError, did_you_mean
from bigain_cli.registry import MODELS, Model

WANTED = ("model_index.json", "*/config.json", "scheduler/*", "tokenizer/*")
WEIGHTS = tuple(f"{part}/*.safetensors*" for part in ("unet", "transformer", "vae", "text_encoder"))
UNWANTED = ("*fp16*", "*non_ema*", "safety_checker/*", "*flax*", "*openvino*")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
LOCAL = "Give a folder saved with save_pretrained(): -m path/to/folder; or another hub id: -m owner/name."


@dataclass(frozen=True)
class ModelLocation:
    """A model as the user named it, and what that name turned out to be."""

    name: str
    kind: Literal["form", "folder", "file", "hub"]
    where: str


def resolve(name: str) -> ModelLocation:
    """Find out what a model name means; a model's path wins over an alias, an alias over a hub id."""
    path = Path(name).expanduser()
    if path.is_dir() and (name not in MODELS or _is_model(path)):
        return ModelLocation(name, "folder", str(path))
    if path.is_file():
        if path.suffix == ".safetensors":
            return ModelLocation(name, "file", str(path))
        raise ModelError(
            f"model {name}", "not a .safetensors file", "Only safetensors weights are read; pickles can run code."
        )
    if name in MODELS:
        return _of_alias(name, MODELS[name])
    if _looks_like_path(name):
        raise ModelError(
            f"model {name}",
            "no such folder or file",
            "Give a diffusers folder, a .safetensors file, an alias or a hub id.",
        )
    if HUB_ID.fullmatch(name):
        return ModelLocation(name, "hub", name)
    raise ModelError(
        f"model {name}",
        "neither a known alias, a path, nor a hub id (owner/name)",
        did_you_mean(name, MODELS),
    )


def folder_of(model: Model) -> Path:
    """Return where a model of this package lies."""
    return Path(__file__).parents[1] / model.folder


def _of_alias(name: str, model: Model) -> ModelLocation:
    if model.closed_form:
        return ModelLocation(name, "form", model.closed_form)
    if model.folder:
        return ModelLocation(name, "folder", str(folder_of(model)))
    return ModelLocation(name, "hub", model.hub)


def _is_model(folder: Path) -> bool:
    return any((folder / part).exists() for part in ("model_index.json", "unet", "transformer"))


def present(reference: ModelLocation, cache: Path) -> bool:
    """Tell whether a model can be loaded without a download."""
    if reference.kind != "hub":
        return True
    snapshots = cache / f"models--{reference.where.replace('/', '--')}" / "snapshots"
    return any(_complete(snapshot) for snapshot in snapshots.glob("*"))


def fetch(reference: ModelLocation) -> Path:
    """Return the hub model's folder in the local cache, downloading what is missing."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(reference.where, local_files_only=True, allow_patterns=[*WANTED, *WEIGHTS]))
        if _complete(folder):
            return folder
    except Exception as problem:  # noqa: BLE001 — whatever the cache lacks, the download below says it better
        del problem
    for unwanted in (UNWANTED, ()):  # a model may come in half precision only
        try:
            folder = Path(
                snapshot_download(reference.where, allow_patterns=[*WANTED, *WEIGHTS], ignore_patterns=list(unwanted))
            )
        except Exception as problem:
            raise _unreachable(reference, problem) from problem
        if _complete(folder):
            return folder
    why = f"{reference.where} has no complete set of safetensors weights in diffusers' layout"
    raise ModelError(f"model {reference.name}", why, LOCAL)


def _complete(folder: Path) -> bool:
    """Tell whether every network of the snapshot has its weights."""
    configs = [
        path.parent
        for part in ("unet", "transformer", "vae", "text_encoder")
        for path in folder.glob(f"{part}/config.json")
    ]
    return (
        (folder / "model_index.json").is_file()
        and bool(configs)
        and all(any(part.glob("*.safetensors")) for part in configs)
    )


def _unreachable(reference: ModelLocation, problem: Exception) -> ModelError:
    named = reference.where if reference.name == reference.where else f"{reference.name} ({reference.where})"
    hint = LOCAL
    if "stable-diffusion-2" in reference.where:
        moved = "Stable Diffusion 2.x left its first hub address (stabilityai) in November 2025; copies have other ids."
        hint = f"{moved} {LOCAL}"
    return ModelError(f"model {named}", f"not in the local cache, and the download failed: {_reason(problem)}", hint)


def _reason(problem: Exception) -> str:
    """Say in one line why a download failed."""
    from huggingface_hub import errors

    reasons = (
        (errors.GatedRepoError, "the hub wants you to log in and accept the model's terms first"),
        (errors.RepositoryNotFoundError, "the hub has no such model, or it is private"),
        (errors.OfflineModeIsEnabled, "offline mode is on (HF_HUB_OFFLINE)"),
        (errors.LocalEntryNotFoundError, "the hub cannot be reached (no network?)"),
    )
    for kind, reason in reasons:
        if isinstance(problem, kind) or isinstance(problem.__cause__, kind):
            return reason
    return " ".join(str(problem).split())[:200] or type(problem).__name__


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.endswith((".safetensors", "/")) or name.count("/") > 1
