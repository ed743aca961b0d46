"""Find the network in a model, and where it can be compressed: its self-attention blocks, in the order they run.

In: a network or a pipeline of diffusers, or anything with `sites()`. Must not know operators.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from bigain_cli.compress.networks import find_kind, kind_of
from bigain_cli.compress.site import HasSites
from bigain_cli.compress.site import Site as Site
from bigain_cli.errors import ModelError


class NamedNetwork(HasSites, Protocol):
    """A network with a name, a number of timesteps and a size, such as a backbone."""

    name: str
    timesteps: int
    latent_shape: tuple[int, int, int]


def sites_of(model: object) -> tuple[Site, ...]:
    """List the sites of a network, of a pipeline's network, or of a backbone."""
    if isinstance(model, HasSites):
        return tuple(model.sites())
    root = network_of(model)
    kind, names = kind_of(root), {id(module): name for name, module in root.named_modules()}
    places = list(kind.blocks(root))
    finest = min((place.scale for place in places), default=1)
    return tuple(
        Site(names[id(place.block)], index, place.scale // finest, place, kind, root)
        for index, place in enumerate(places)
    )


def network_of(model: object) -> Any:
    """Return the denoising network inside a pipeline, or the network itself."""
    if isinstance(model, HasSites):
        roots = {id(site.root): site.root for site in model.sites()}
        if len(roots) != 1:
            why = f"its sites belong to {len(roots)} networks"
            raise ModelError(_model_label(model), why, "They must belong to one.")
        return roots.popitem()[1]
    for root in (model, getattr(model, "unet", None), getattr(model, "transformer", None)):
        if isinstance(root, nn.Module) and ("_orig_mod" in root._modules or find_kind(root) is not None):
            return root
    families = "U-Net, DiT, PixArt, SD3, FLUX, Chroma or PRX"
    hint = f"Give a {families} network of diffusers, a pipeline around one, or an object with sites()."
    if isinstance(model, str):
        hint = f"To use a model by its name, load it: bigain.load({model!r})."
    raise ModelError(_model_label(model), "no network was found in it whose tokens lie on a grid", hint)


def _model_label(model: object) -> str:
    return f"model {type(model).__name__}"
