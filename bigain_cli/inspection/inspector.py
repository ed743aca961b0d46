"""What a compression does to one image: at each block and timestep, which tokens are kept and which are merged.

In: a backbone, an image, a spec, timesteps; out: arrays and numbers. One pass per timestep, with the empty prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image, Resampling
from torch import Tensor

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.compress import Compression, Report, Spec, Term, compressed, parse
from bigain_cli.compress.hooks import Observation
from bigain_cli.compress.token_scores import laplacian
from bigain_cli.errors import UsageError
from bigain_cli.images import OneImage, digest, load_image, view_of
from bigain_cli.noise_draws import Block, Draws

TIMES = (100, 500, 900)


@dataclass(frozen=True)
class BlockView:
    """One operator at one block at one timestep; arrays are laid out as the tokens are."""

    t: int
    term: str
    merges: bool  # whether tokens are merged; else keys and values are pooled
    site: str
    shared_by: tuple[str, ...]  # the blocks that share the plan
    keys: int
    alpha: float | None  # of a pooling
    score: NDArray[np.float32]  # [h w] Laplacian
    anchors: NDArray[np.bool_]  # [h w] destinations, or what keys are sampled from
    clusters: NDArray[np.int64]  # [h w]
    kept: NDArray[np.bool_]  # [h w]
    reconstructed: NDArray[np.float32]  # [h w 3] the image after the same merging or pooling, 0 … 1

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers."""
        sizes = np.bincount(self.clusters.ravel())
        about = {"t": self.t, "operator": self.term, "site": self.site, "serves": list(self.shared_by)}
        counts = {"grid": list(self.score.shape), "tokens": self.score.size, "queries": int(self.kept.sum())}
        scores = {
            "all": _mean(self.score),
            "anchors": _mean(self.score[self.anchors]),
            "stay": _mean(self.score[self.kept]),
            "leave": _mean(self.score[~self.kept]),
        }
        groups = {"anchors": int(self.anchors.sum()), "groups": int((sizes > 1).sum()), "largest": int(sizes.max())}
        alpha = {} if self.alpha is None else {"alpha": round(self.alpha, 6)}
        return {**about, **counts, "keys": self.keys, **groups, **alpha, "laplacian": scores}


@dataclass(frozen=True)
class Inspection:
    """What was seen of one image."""

    image: Image
    views: tuple[BlockView, ...]
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers."""
        return {"compression": self.report.to_dict(), "looks": [block_view.to_dict() for block_view in self.views]}


def inspect(
    backbone: Backbone | str, image: OneImage, spec: str | Spec, times: Sequence[int] = TIMES, seed: int = 0
) -> Inspection:
    """Let a compression act on an image at some timesteps, and keep what it decides."""
    backbone, spec = as_backbone(backbone), parse(spec)
    spec = spec.by_level() if backbone.has_prefix else spec
    _check(backbone, spec, times)
    image = load_image(image)
    view = view_of(image, backbone.latent_shape[1:])
    block = Draws(seed, digest(image), backbone.latent_shape, grid=times).block(0, len(times))
    latent, nothing = backbone.encode(image)[None], backbone.condition([""])
    views: list[BlockView] = []
    with compressed(backbone, spec, steps=backbone.timesteps) as compression, torch.inference_mode():
        for one in _each(block, backbone.device):
            noisy = backbone.mix(latent, one.noise, one.t)
            with compression.seeds(one.seeds), compression.observe() as seen:
                backbone.noise(noisy, one.t, nothing)
            views += [_block_view(int(one.t), each, compression, view) for each in seen]
        report = compression.report(backbone.latent_shape[1:], nothing.text_tokens)
    return Inspection(view, tuple(views), report)


def _check(backbone: Backbone, spec: Spec, times: Sequence[int]) -> None:
    if not spec:
        raise UsageError("compression 'none'", "there is nothing to inspect", "Write -c lgtm:0.5, for example.")
    if not tuple(backbone.sites()):
        why = f"{backbone.name} has no network whose tokens could be merged"
        raise UsageError(f"compression '{spec}'", why, "Choose another model.")
    for t in times:
        if not 0 <= t < backbone.timesteps:
            why = f"this model's go from 0 to {backbone.timesteps - 1}"
            raise UsageError(f"timestep {t}", why, "Write -t 100,500,900.")


def _each(block: Block, device: torch.device) -> list[Block]:
    """Take a block apart."""
    parts = (tensor.to(device).split(1) for tensor in (block.t, block.noise, block.seeds))
    return [Block(*part) for part in zip(*parts, strict=True)]


def _block_view(t: int, seen: Observation, compression: Compression, view: Image) -> BlockView:
    """Turn an observation into arrays."""
    term = _term(compression, seen)
    grid, plan = seen.grid, seen.plan
    pixels = np.asarray(view.resize((grid.w, grid.h), Resampling.BOX), dtype=np.float32) / 255
    colours = torch.from_numpy(pixels).flatten(0, 1)[None].to(seen.tokens.device)  # [1 n 3]
    clusters, keys = plan.clusters().to(seen.tokens.device), plan.keys(colours)
    reconstructed = plan.restore(plan.query(colours)) if keys is None else keys[:, clusters[0]]
    shared_by = [work.site.name for work in compression.works if term.merges and work.key == seen.key] or [
        seen.site.name
    ]
    return BlockView(
        t,
        str(term),
        term.merges,
        seen.site.name,
        tuple(shared_by),
        plan.stays().shape[1] if keys is None else keys.shape[1],
        None if term.merges else _alpha(plan),
        _grid(laplacian(seen.tokens, grid, term.pad), grid),
        _mask(seen.operator.anchors(seen.tokens, grid, seen.rows), grid),
        _grid(clusters, grid),
        _mask(plan.stays(), grid),
        reconstructed[0].clamp(0, 1).unflatten(0, grid).cpu().numpy(),
    )


def _term(compression: Compression, seen: Observation) -> Term:
    """Return the term whose operator this is."""
    return next(term for term, operator in compression.operators.items() if operator is seen.operator)


def _alpha(plan: Any) -> float:
    return float(plan.alpha)


def _grid(values: Tensor, grid: tuple[int, int]) -> NDArray[Any]:
    return values[0].reshape(grid).cpu().numpy()


def _mask(places: Tensor, grid: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(grid[0] * grid[1], dtype=bool)
    mask[places[0].cpu().numpy()] = True
    return mask.reshape(grid)


def _mean(scores: NDArray[np.float32]) -> float | None:
    """Return a mean to four digits; of nothing there is none."""
    return float(f"{scores.mean():.4g}") if scores.size else None
