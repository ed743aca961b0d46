"""From a model's name to the place of its weights: in the package, a folder, a file, or a hub's local cache.

Must not import torch, so that `--dry-run`, `list` and usage errors answer at once; must not know what weights hold.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bigain_cli.backbones.folder_checks import has_weights, is_tokenizer
from bigain_cli.errors import ModelError, one_line
from bigain_cli.near_names import did_you_mean
from bigain_cli.registry import MODELS, Model

TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
NETWORKS = ("unet", "transformer", "vae", *TEXT_ENCODERS)
TOKENIZERS = {part: part.replace("text_encoder", "tokenizer") for part in TEXT_ENCODERS}
CONFIGS = ("model_index.json", "*/config.json", "scheduler/*", *(f"{part}/*" for part in TOKENIZERS.values()))
PATTERNS = [*CONFIGS, *(f"{part}/*.safetensors*" for part in NETWORKS)]
UNUSED = ["*fp16*", "*non_ema*", "safety_checker/*", "*flax*", "*openvino*"]
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
LOCAL = "Give a folder saved with save_pretrained(): -m path/to/folder; or another hub id: -m owner/name."


@dataclass(frozen=True)
class ModelLocation:
    """A model as the user named it, and the place that this name means."""

    name: str
    kind: Literal["form", "folder", "file", "hub"]  # form: a model in closed form, without weights
    where: str


def resolve(name: str) -> ModelLocation:
    """Find out what a model name means; a model's path wins over an alias, an alias over a hub id."""
    path, what = _path_of(name), f"model {name}"
    signs = ("model_index.json", "unet", "transformer")
    if os.path.isdir(path) and (name not in MODELS or any((path / sign).exists() for sign in signs)):
        return ModelLocation(name, "folder", str(path))
    if os.path.isfile(path):
        if path.suffix == ".safetensors":
            return ModelLocation(name, "file", str(path))
        raise ModelError(what, "not a .safetensors file", "Only safetensors weights are read; pickles can run code.")
    if model := MODELS.get(name):
        if model.closed_form:
            return ModelLocation(name, "form", model.closed_form)
        if model.folder:
            return ModelLocation(name, "folder", str(model_folder(model)))
        return ModelLocation(name, "hub", model.hub)
    if name.startswith((".", "/", "~")) or name.endswith((".safetensors", "/")) or name.count("/") > 1:
        hint = "Give a diffusers folder, a .safetensors file, an alias or a hub id."
        raise ModelError(what, "no such folder or file", hint)
    if HUB_ID.fullmatch(name):
        return ModelLocation(name, "hub", name)
    why = "neither a known alias, a path, nor a hub id (owner/name)"
    raise ModelError(what, why, did_you_mean(name, MODELS))


def _path_of(name: str) -> Path:
    """Return the path that a name may be; a home of nobody, and what no path can hold, stays as it is."""
    try:
        return Path(os.path.expanduser(name))
    except ValueError:
        return Path(name)


def model_folder(model: Model) -> Path:
    """Return the folder of a model whose weights are in this package."""
    return Path(__file__).parents[1] / model.folder


def is_present(location: ModelLocation, cache: Path) -> bool:
    """Tell whether a model can be loaded without a download."""
    return location.kind != "hub" or cached_snapshot(location, cache) is not None


def cached_snapshot(location: ModelLocation, cache: Path) -> Path | None:
    """Return the folder of a hub model in a cache of downloads, if all of it is there."""
    snapshots = cache / f"models--{location.where.replace('/', '--')}" / "snapshots"
    return next(filter(_is_complete, sorted(snapshots.glob("*"))), None)


def download_size(location: ModelLocation) -> int | None:
    """Return how many bytes of a hub model would be downloaded; None if the hub does not say."""
    from huggingface_hub import snapshot_download

    try:
        files: Any = snapshot_download(location.where, allow_patterns=PATTERNS, ignore_patterns=UNUSED, dry_run=True)
    except Exception as problem:  # noqa: BLE001 — the download itself gives a better reason
        del problem
        return None
    return sum(file.file_size for file in files if file.will_download)


def fetch(location: ModelLocation) -> Path:
    """Return the hub model's folder in the local cache, downloading what is missing."""
    from huggingface_hub import snapshot_download

    for local in (True, False):
        for unused in (UNUSED, []):  # a model may be published in half precision only
            patterns: dict[str, Any] = {"allow_patterns": PATTERNS, "ignore_patterns": unused}
            try:
                folder = Path(snapshot_download(location.where, local_files_only=local, **patterns))
            except Exception as problem:
                if local:  # the download gives a better reason
                    continue
                raise _unreachable(location, problem) from problem
            if _is_complete(folder):
                return folder
    why = f"{location.where} has no complete set of safetensors weights in diffusers' layout"
    raise ModelError(f"model {location.name}", why, LOCAL)


def _is_complete(folder: Path) -> bool:
    """Tell whether every network of the snapshot has its weights, and a text encoder its tokenizer's vocabulary."""
    networks = [folder / part for part in NETWORKS if (folder / part / "config.json").exists()]
    complete = all(map(has_weights, networks))
    texts = [tokenizer for part, tokenizer in TOKENIZERS.items() if (folder / part).is_dir()]
    readable = all(is_tokenizer(folder / tokenizer) for tokenizer in texts)
    return (folder / "model_index.json").is_file() and bool(networks) and complete and readable


def _unreachable(location: ModelLocation, problem: Exception) -> ModelError:
    """Return the error for a failed download."""
    named = location.where if location.name == location.where else f"{location.name} ({location.where})"
    hint = LOCAL
    if "stable-diffusion-2" in location.where:
        moved = "Stable Diffusion 2.x left its first hub address (stabilityai) in November 2025; copies have other ids."
        hint = f"{moved} {LOCAL}"
    if MODELS.get(location.name, Model("")).gated or _is_gated(problem):
        terms = f"Accept its terms at https://huggingface.co/{location.where}, make a token in your settings there"
        hint = f"{terms}, and log in with it: hf auth login, or HF_TOKEN=… in the environment. {LOCAL}"
    return ModelError(f"model {named}", f"not in the local cache, and the download failed: {_reason(problem)}", hint)


def _is_gated(problem: Exception) -> bool:
    """Tell whether a download failed because the model's terms were not accepted."""
    from huggingface_hub.errors import GatedRepoError

    return isinstance(problem, GatedRepoError) or isinstance(problem.__cause__, GatedRepoError)


def _reason(problem: Exception) -> str:
    """Explain in one line why a download failed."""
    from huggingface_hub import errors

    reasons = (
        (errors.GatedRepoError, "the hub wants you to log in and accept the model's terms first"),
        (errors.RepositoryNotFoundError, "the hub has no such model, or it is private"),
        (errors.OfflineModeIsEnabled, "offline mode is on (--offline or the environment)"),
        (errors.LocalEntryNotFoundError, "the hub cannot be reached (no network?)"),
    )
    for kind, reason in reasons:
        if isinstance(problem, kind) or isinstance(problem.__cause__, kind):
            return reason
    return one_line(problem, 200)
