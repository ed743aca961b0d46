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

from bigain_cli.backbones.base import Backbone, spec_for
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.classification.ranking import significant
from bigain_cli.compress import Compression, Report, Spec, compressed
from bigain_cli.compress.forward_state import Observation
from bigain_cli.compress.token_scores import laplacian
from bigain_cli.errors import UsageError
from bigain_cli.images import OneImage, center_crop, digest, load_image
from bigain_cli.inspection.checks import inspected_spec
from bigain_cli.noise_draws import Draws

TIMESTEPS = (100, 500, 900)


@dataclass(frozen=True)
class BlockView:
    """The decision of one operator at one block and one timestep; arrays have the layout of the tokens."""

    t: int
    term: str
    merges: bool  # whether tokens are merged; else keys and values are pooled
    site: str
    shared_by: tuple[str, ...]  # the blocks that share the plan
    keys: int
    alpha: float | None  # of a pooling
    score: NDArray[np.float32]  # [h w] Laplacian
    anchors: NDArray[np.bool_]  # [h w] destinations, or the tokens that keys are sampled from
    clusters: NDArray[np.int64]  # [h w]
    kept: NDArray[np.bool_]  # [h w]
    reconstructed: NDArray[np.float32]  # [h w 3] the image after the same merging or pooling, 0 … 1

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers."""
        sizes = np.bincount(self.clusters.ravel())
        alpha = {} if self.alpha is None else {"alpha": round(self.alpha, 6)}
        return {
            "t": self.t,
            "operator": self.term,
            "site": self.site,
            "serves": list(self.shared_by),
            "grid": list(self.score.shape),
            "tokens": self.score.size,
            "queries": int(self.kept.sum()),
            "keys": self.keys,
            "anchors": int(self.anchors.sum()),
            "groups": int((sizes > 1).sum()),
            "largest": int(sizes.max()),
            **alpha,
            "laplacian": {
                "all": _mean(self.score),
                "anchors": _mean(self.score[self.anchors]),
                "stay": _mean(self.score[self.kept]),
                "leave": _mean(self.score[~self.kept]),
            },
        }


@dataclass(frozen=True)
class Inspection:
    """What a compression does to one image, as the model sees it."""

    image: Image
    views: tuple[BlockView, ...]
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers."""
        return {"compression": self.report.to_dict(), "looks": [view.to_dict() for view in self.views]}


def inspect(
    backbone: Backbone | str, image: OneImage, spec: str | Spec, timesteps: Sequence[int] = TIMESTEPS, seed: int = 0
) -> Inspection:
    """Run a compressed network on an image at some timesteps, and return what its operators decide."""
    asked, backbone = inspected_spec(spec), as_backbone(backbone)
    spec = spec_for(backbone, asked)
    _check(backbone, spec, timesteps)
    image = load_image(image)
    cropped = center_crop(image, backbone.latent_shape[1:])
    draws = Draws(seed, digest(image), backbone.latent_shape, grid=timesteps).block(0, len(timesteps))
    latent, empty_prompt = backbone.encode(image)[None], backbone.condition([""])
    views: list[BlockView] = []
    latent_size = backbone.latent_shape[1:]
    with (
        compressed(backbone, spec, steps=backbone.timesteps, latent=latent_size) as compression,
        torch.inference_mode(),
    ):
        tensors = (draws.t, draws.noise, draws.seeds)
        for t, noise, seeds in zip(*(tensor.to(backbone.device).split(1) for tensor in tensors), strict=True):
            noisy = backbone.mix(latent, noise, t)
            with compression.seeds(seeds), compression.observe() as observations:
                backbone.noise(noisy, t, empty_prompt)
            views += [_block_view(int(t), each, compression, cropped) for each in observations]
        report = compression.report(backbone.latent_shape[1:], empty_prompt.text_tokens)
    return Inspection(cropped, tuple(views), report)


def _check(backbone: Backbone, spec: Spec, timesteps: Sequence[int]) -> None:
    """Refuse what cannot be inspected."""
    if not tuple(backbone.sites()):
        why = f"{backbone.name} has no network whose tokens could be merged"
        raise UsageError(f"compression '{spec}'", why, "Choose another model.")
    for t in timesteps:
        if not 0 <= t < backbone.timesteps:
            why = f"this model's go from 0 to {backbone.timesteps - 1}"
            raise UsageError(f"timestep {t}", why, "Write -t 100,500,900.")


def _block_view(t: int, seen: Observation, compression: Compression, image: Image) -> BlockView:
    """Convert an observation to arrays."""
    term = next(term for term, operator in compression.operators.items() if operator is seen.operator)
    grid, plan = seen.grid, seen.plan
    pixels = np.asarray(image.resize((grid.w, grid.h), Resampling.BOX), dtype=np.float32) / 255
    colours = torch.from_numpy(pixels).flatten(0, 1)[None].to(seen.tokens.device)  # [1 n 3]
    clusters, keys = plan.clusters().to(seen.tokens.device), plan.keys(colours)
    reconstructed = plan.restore(plan.query(colours)) if keys is None else keys[:, clusters[0]]
    shared_by = [work.site.name for work in compression.assignments if term.merges and work.key == seen.key]
    return BlockView(
        t,
        str(term),
        term.merges,
        seen.site,
        tuple(shared_by or [seen.site]),
        plan.kept().shape[1] if keys is None else keys.shape[1],
        None if term.merges else float(plan.alpha),  # type: ignore[attr-defined]
        _on_grid(laplacian(seen.tokens, grid, term.pad), grid),
        _mask(seen.operator.anchors(seen.tokens, grid, seen.rows), grid),
        _on_grid(clusters, grid),
        _mask(plan.kept(), grid),
        reconstructed[0].clamp(0, 1).unflatten(0, grid).cpu().numpy(),
    )


def _on_grid(values: Tensor, grid: tuple[int, int]) -> NDArray[Any]:
    """Lay out one value per token as the tokens are."""  # [1 n] -> [h w]
    return values[0].reshape(grid).cpu().numpy()


def _mask(positions: Tensor, grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Return an array that is true at the positions of some tokens."""  # [1 k] -> [h w]
    mask = np.zeros(grid[0] * grid[1], dtype=bool)
    mask[positions[0].cpu().numpy()] = True
    return mask.reshape(grid)


def _mean(scores: NDArray[np.float32]) -> float | None:
    """Return the mean to four digits, or None if there are no scores."""
    return significant(float(scores.mean()), 4) if scores.size else None
