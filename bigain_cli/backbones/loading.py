"""`load`: from a model's name, a device and a dtype to a backbone. The only file that distinguishes families."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import cast

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.devices import choose_device, choose_dtype
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.file_digests import FileDigests
from bigain_cli.backbones.load_errors import load_errors
from bigain_cli.backbones.model_locations import fetch, resolve
from bigain_cli.backbones.single_file import open_single_file
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.registry import BACKBONES, CLOSED_FORMS, DEFAULT_MODEL, attribute

CACHE = "~/.cache/bigain"
NETWORKS = {"unet": "UNet2DConditionModel", "transformer": "DiTTransformer2DModel"}  # unless model_index.json names it

SUPPORTED = "Supported: Stable Diffusion 1.x, 2.x, XL, 3 and 3.5, DiT, PixArt, PRX, FLUX.1 and Chroma1."


def load(
    model: str = DEFAULT_MODEL, device: str = "auto", dtype: str = "auto", cache: str | Path | None = CACHE
) -> Backbone:
    """Load a backbone: an alias, a hub id, a diffusers folder, or a single .safetensors file.

    Digests of large files are kept in the folder `cache`, so that their bytes are not read again; None keeps nothing.
    """
    location = resolve(model)
    torch_device = choose_device(device)
    torch_dtype = choose_dtype(dtype, torch_device)
    if location.kind == "form":
        if dtype not in ("auto", "float32"):
            raise UsageError(f"--dtype {dtype}", f"{model} is a closed form in float32", "Leave out --dtype.")
        return cast(Backbone, attribute(CLOSED_FORMS[location.where].load)(torch_device))
    digests = FileDigests(None if cache is None else Path(os.path.expanduser(cache)) / "digests")
    with load_errors(f"model {location.name}"):
        if location.kind == "file":
            file = open_single_file(location.name, Path(location.where), torch_device, torch_dtype)
            return assemble(replace(file, digests=digests))
        folder = fetch(location) if location.kind == "hub" else Path(location.where)
        parts = DiffusersFolder(location.name, folder, torch_device, torch_dtype, digests=digests)
        kept = None if cache is None else Path(os.path.expanduser(cache)) / "embeddings"
        return assemble(replace(parts, embeddings=kept))


def as_backbone(model: str | Backbone) -> Backbone:
    """Load a model that is given by its name; return a backbone as it is, and refuse anything else."""
    if isinstance(model, str):
        return load(model)
    if not hasattr(model, "noise"):
        why = f"{type(model).__name__} is neither a backbone nor a model's name"
        raise UsageError("backbone", why, "Give a name, such as 'mini', or the result of bigain.load().")
    return model


def assemble(parts: DiffusersFolder) -> Backbone:
    """Make a backbone from the parts of a diffusers folder."""
    part = next(filter(parts.has, NETWORKS), None)
    if part is None:
        hint = "A diffusers folder has unet/ or transformer/ beside model_index.json."
        if (parts.folder / "config.json").is_file():
            hint = f"This looks like one part of a model: try -m {parts.folder.resolve().parent}."
        raise ModelError(f"model {parts.name}", "no U-Net and no transformer in it", hint)
    network = parts.declared(part, _declared_class(parts, part))
    if network not in BACKBONES:
        raise ModelError(f"model {parts.name}", f"{network} is not supported", SUPPORTED)
    config = parts.config(part)
    family = f"{network} {config.get('addition_embed_type') or config.get('norm_type')}"
    return cast(Backbone, attribute(BACKBONES[family if family in BACKBONES else network])(parts))


def _declared_class(parts: DiffusersFolder, part: str) -> str:
    """Return the network's class that its configuration names, if it is a known one."""
    named = parts.config(part).get("_class_name")
    return named if isinstance(named, str) and named in BACKBONES else NETWORKS[part]
