"""The kinds of networks whose tokens can be compressed, the most special first."""

from __future__ import annotations

from typing import Any

from bigain_cli.compress.networks.flux import Flux
from bigain_cli.compress.networks.patch_transformer import PatchTransformer
from bigain_cli.compress.networks.prx import Prx
from bigain_cli.compress.networks.sd3 import StableDiffusion3
from bigain_cli.compress.networks.unet import UNet
from bigain_cli.compress.site import NetworkKind
from bigain_cli.errors import ModelError

KINDS: tuple[NetworkKind, ...] = (UNet(), Flux(), StableDiffusion3(), Prx(), PatchTransformer())


def find_kind(root: Any) -> NetworkKind | None:
    """Return a network's kind, if it is known."""
    return next((kind for kind in KINDS if kind.recognises(root)), None)


def kind_of(root: Any) -> NetworkKind:
    """Return a network's kind."""
    kind = find_kind(root)
    if kind is None:
        why = "no network was found in it whose tokens lie on a grid"
        raise ModelError(f"model {type(root).__name__}", why, "Give a network of a supported family.")
    return kind
