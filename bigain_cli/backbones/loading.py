"""`load`: from a model's name, a device and a dtype to a backbone. The only place that distinguishes families."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.model_locations import fetch, resolve
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.registry import BACKBONES, CLOSED_FORMS, DEFAULT_MODEL, attribute

if TYPE_CHECKING:
    from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.devices import choose_device, choose_dtype

NETWORKS = {"unet": "UNet2DConditionModel", "transformer": "DiTTransformer2DModel"}  # unless model_index.json names it


def load(model: str = DEFAULT_MODEL, device: str = "auto", dtype: str = "auto") -> Backbone:
    """Load a backbone: an alias, a hub id, a diffusers folder, or a single .safetensors file."""
    reference = resolve(model)
    place = choose_device(device)
    kind = choose_dtype(dtype, place)
    if reference.kind == "form":
        if dtype not in ("auto", "float32"):
            raise UsageError(f"--dtype {dtype}", f"{model} is a closed form in float32", "Leave out --dtype.")
        return cast(Backbone, attribute(CLOSED_FORMS[reference.where])(place, kind))
    if reference.kind == "file":
        from bigain_cli.backbones.single_file import open_single

        parts = open_single(reference.name, Path(reference.where), place, kind)
        return cast(Backbone, attribute(BACKBONES[NETWORKS["unet"]])(parts))
    from bigain_cli.backbones.diffusers_folder import DiffusersFolder

    folder = fetch(reference) if reference.kind == "hub" else Path(reference.where)
    return assemble(DiffusersFolder(reference.name, folder, place, kind))


def as_backbone(model: str | Backbone) -> Backbone:
    """Load a model that is given by its name; a backbone passes through."""
    return load(model) if isinstance(model, str) else model


def assemble(parts: DiffusersFolder) -> Backbone:
    """Put a backbone together from the parts of a diffusers folder."""
    part = next(filter(parts.has, NETWORKS), None)
    if part is None:
        hint = "A diffusers folder has unet/ or transformer/ beside model_index.json."
        if (parts.folder / "config.json").is_file():
            hint = f"This looks like one part of a model: try -m {parts.folder.resolve().parent}."
        raise ModelError(f"model {parts.name}", "no U-Net and no transformer in it", hint)
    declared = parts.index.get(part, [None, NETWORKS[part]])[1]
    if declared not in BACKBONES:
        raise ModelError(
            f"model {parts.name}",
            f"{declared} is not supported",
            "Supported: Stable Diffusion 1.x and 2.x, and DiT.",
        )
    return cast(Backbone, attribute(BACKBONES[declared])(parts))
