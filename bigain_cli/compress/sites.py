"""Where a network can be compressed: its self-attention blocks in the order they run, each with its level and grid.

In: a U-Net or a patch transformer of diffusers, a pipeline, or anything with `sites()`. Must not know operators.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from torch import nn

from bigain_cli.compress.plan import Grid
from bigain_cli.compress.spec import Spec, Term
from bigain_cli.errors import ModelError, UsageError


@dataclass(frozen=True)
class Site:
    """One transformer block with a self-attention over image tokens."""

    name: str
    index: int  # in running order, from 0
    level: int  # latent cells per token along an axis: 1 at full resolution; always 1 in a patch transformer
    block: Any  # attn1, attn2 (or None), ff
    host: nn.Module  # the module whose input has the grid's shape
    patch: int  # of that input
    root: Any  # the network

    @property
    def modulated(self) -> bool:
        """Say whether norm1 also applies time and class (adaLN), so that tokens are compared after it."""
        return getattr(self.block, "norm_type", "layer_norm") != "layer_norm"

    @property
    def width(self) -> int:
        """Return the number of channels."""
        return self.block.attn1.to_q.in_features

    def grid(self, latent: Grid) -> Grid:
        """Return the tokens' grid for a latent's size."""
        if self.host is self.root:
            return Grid(latent.h // self.patch, latent.w // self.patch)
        return next(stage.grid for stage in stages(self.root, latent) if stage.level == self.level)


@runtime_checkable
class HasSites(Protocol):
    """Anything that lists its sites, such as a backbone."""

    def sites(self) -> Iterable[Site]:
        """Yield the sites, in running order."""


class NamedNetwork(HasSites, Protocol):
    """A network with a name and a number of timesteps, such as a backbone."""

    name: str
    timesteps: int


@dataclass(frozen=True)
class Stage:
    """One down, middle or up block of a U-Net."""

    module: Any
    level: int
    grid: Grid
    grid_after: Grid  # after its down- or upsampler


def sites_of(model: object) -> tuple[Site, ...]:
    """List the sites of a network, of a pipeline's network, or of a backbone."""
    if isinstance(model, HasSites):
        return tuple(model.sites())
    root = network_of(model)
    names = {id(module): name for name, module in root.named_modules()}
    found = [each for each in _transformer_blocks(root) if _has_self_attention(each[0])]
    return tuple(
        Site(names[id(block)], index, level, block, host, patch, root)
        for index, (block, level, host, patch) in enumerate(found)
    )


def network_of(model: object) -> Any:
    """Return the denoising network inside a pipeline, or the network itself."""
    if isinstance(model, HasSites):
        roots = {id(site.root): site.root for site in model.sites()}
        if len(roots) != 1:
            raise ModelError(
                _model_label(model), f"its sites belong to {len(roots)} networks", "They must belong to one."
            )
        return roots.popitem()[1]
    parts = [model, getattr(model, "unet", None), getattr(model, "transformer", None)]
    for root in parts:
        if isinstance(root, nn.Module) and (
            is_unet(root) or is_patch_transformer(root) or "_orig_mod" in root._modules
        ):
            return root
    hint = "Give a U-Net, DiT or PixArt network of diffusers, a pipeline around one, or an object with sites()."
    if isinstance(model, str):
        hint = f"To use a model by its name, load it: bigain.load({model!r})."
    raise ModelError(_model_label(model), "no network was found in it whose tokens lie on a grid", hint)


def is_unet(root: nn.Module) -> bool:
    """Recognise a U-Net by its parts."""
    return {"down_blocks", "up_blocks", "conv_in"} <= set(root._modules)


def is_patch_transformer(root: nn.Module) -> bool:
    """Recognise a transformer over patches by its parts."""
    return {"transformer_blocks", "pos_embed"} <= set(root._modules)


def latent_of(root: Any) -> Grid | None:
    """Return the latent's size that the network's configuration names."""
    size = root.config.sample_size
    if size is None:
        return None
    return Grid(size, size) if isinstance(size, int) else Grid(*size)


def stages(unet: Any, latent: Grid) -> list[Stage]:
    """Walk a U-Net and follow the size of its feature maps."""
    level, grid, sizes, found = 1, latent, {1: latent}, []
    for module in unet.down_blocks:
        samplers = getattr(module, "downsamplers", None)
        after = _downsampled(samplers[0], grid) if samplers else grid
        found.append(Stage(module, level, grid, after))
        level, grid = (level * 2 if samplers else level), after
        sizes[level] = grid
    if unet.mid_block is not None:
        found.append(Stage(unet.mid_block, level, grid, grid))
    for module in unet.up_blocks:
        below = level
        level = level // 2 if getattr(module, "upsamplers", None) else level
        found.append(Stage(module, below, sizes[below], sizes[level]))
    return found


def _downsampled(sampler: Any, grid: Grid) -> Grid:
    """Return the grid after a stride of two; without padding, one row and column are added at the end only."""
    ceil = getattr(sampler, "use_conv", False) and sampler.padding == 1
    return Grid(*((side + ceil) // 2 for side in grid))


def _transformer_blocks(root: Any) -> Iterator[tuple[Any, int, nn.Module, int]]:
    """Yield every transformer block with its level, host and patch size."""
    if is_unet(root):
        for stage in stages(root, Grid(64, 64)):
            for host in getattr(stage.module, "attentions", None) or ():
                for block in getattr(host, "transformer_blocks", ()):
                    yield block, stage.level, host, 1
    elif is_patch_transformer(root):
        for block in root.transformer_blocks:
            yield block, 1, root, root.config.patch_size


def _has_self_attention(block: Any) -> bool:
    return "attn1" in block._modules and not getattr(block, "only_cross_attention", False)


def _model_label(model: object) -> str:
    return f"model {type(model).__name__}"


PUBLISHED_BLOCKS = frozenset((*range(1, 6), *range(7, 12)))  # of 28 blocks of a DiT-XL/2, numbered from 0


@dataclass(frozen=True)
class Assignment:
    """The terms that act at one block."""

    site: Site
    merging: Term | None = None
    pooling: Term | None = None

    @property
    def key(self) -> str:
        """Return the key of this block's plan: its own, or the one of all blocks of its level."""
        by_level = self.merging is not None and self.merging.share == "level"
        return f"{self.merging} at level {self.site.level}" if by_level else self.site.name


def assign(spec: Spec, sites: Sequence[Site]) -> list[Assignment]:
    """Assign terms to sites; skip sites without any, and terms without effect."""
    assigned: dict[int, Assignment] = {}
    for term in spec.terms:
        for site in _sites_of_term(term, sites, spec):
            before = assigned.get(site.index, Assignment(site))
            if other := before.merging if term.merges else before.pooling:
                kind = "merge" if term.merges else "pool the keys"
                why = f"'{other.name}' and '{term.name}' would both {kind} at {site.name}"
                raise UsageError(f"compression '{spec}'", why, "Give them different levels= or blocks=.")
            assigned[site.index] = replace(before, merging=term) if term.merges else replace(before, pooling=term)
    for item in assigned.values():
        if item.merging and item.merging.bias and item.pooling:
            why = f"'@bias' counts merged keys, but at {item.site.name} '{item.pooling.name}' makes the keys"
            raise UsageError(f"compression '{spec}'", why, "Leave out '@bias', or give the terms different levels=.")
    effective = (_without_idle_terms(assigned[index]) for index in sorted(assigned))
    return [item for item in effective if item.merging or item.pooling]


def _sites_of_term(term: Term, sites: Sequence[Site], spec: Spec) -> list[Site]:
    if term.blocks is not None:
        missing = sorted(set(term.blocks) - {site.index for site in sites})
        if missing:
            why = f"there is no block {missing[0]} for '{term.name}'"
            raise UsageError(f"compression '{spec}'", why, f"This network has blocks 0 to {len(sites) - 1}.")
        found = [site for site in sites if site.index in term.blocks]
    elif term.levels is None and sites and sites[0].host is sites[0].root:
        found = [site for site in sites if site.index in PUBLISHED_BLOCKS]
    else:
        most = float("inf") if term.levels == "all" else int(term.levels or 1)
        found = [site for site in sites if site.level <= most]
    if not found:
        raise UsageError(f"compression '{spec}'", f"'{term.name}' touches no block", _where_it_attends(sites))
    return found


def _where_it_attends(sites: Sequence[Site]) -> str:
    if not sites:
        return "This network has no self-attention over image tokens."
    if sites[0].host is sites[0].root:
        return f"This network has {len(sites)} blocks: add @levels=all or @blocks=0."
    levels = sorted({site.level for site in sites})
    return f"This network attends at levels {', '.join(map(str, levels))}: add @levels={levels[0]} or @levels=all."


def _without_idle_terms(assignment: Assignment) -> Assignment:
    """Remove a ratio of 0 and a factor of 1, which change nothing."""
    merging, pooling = assignment.merging, assignment.pooling
    merging = merging if merging and merging.amount > 0 else None
    return Assignment(assignment.site, merging, pooling if pooling and pooling.amount > 1 else None)
