"""From latents, draws and prompts to denoising errors: how far the predicted noise is from the noise that was added.

Packs (image, draw, prompt) triples into batches, draws outermost: of several images on a GPU, of one image on a CPU.
Does once per draw what all labels share; moves one array to the host per round. Must not know statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigain_cli.backbones.base import Backbone, Conditions, Prefix
from bigain_cli.backbones.batch_sizes import (
    automatic_batch_size,
    batch_sizes,
    fixed_size_batches,
    out_of_memory,
    prefix_batch_size,
    stable_batch_size,
)
from bigain_cli.backbones.devices import repeatable
from bigain_cli.backbones.prefix_cache import PrefixCache
from bigain_cli.classification.error_weights import error_weights
from bigain_cli.classification.heatmaps import HeatmapAccumulator, PixelErrors
from bigain_cli.compress.patching import Compression
from bigain_cli.compress.plan import Plans, concatenate
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.noise_draws import Block
from bigain_cli.registry import DEFAULT_ERROR
from bigain_cli.views import View


@dataclass(frozen=True)
class SharedInputs:
    """What all evaluations of a draw share, one row per (image, draw)."""

    prefix: Prefix | None
    plans: Plans

    @staticmethod
    def join(parts: list[SharedInputs]) -> SharedInputs:
        """Concatenate the parts of a round."""
        prefixes = [cast(PrefixCache, part.prefix) for part in parts if part.prefix is not None]
        prefix = PrefixCache.join(prefixes) if prefixes else None
        return SharedInputs(prefix, concatenate([part.plans for part in parts]))


class BatchRows(NamedTuple):
    """The (image, draw) pair of each row of a batch, that draw's operator seed, and its prompt."""

    pairs: Tensor  # [b]
    seeds: Tensor  # [b]
    prompts: Tensor  # [b]


class SharedComputation:
    """Does the work that all labels of a draw share: the prefix, and the plans of a compression.

    Plans that the prefix does not make come from a pass with the empty prompt. A compiled network cannot stop once
    its plans are made: its `planner` is the same network, not compiled. No prefix is shared if a compression merges
    differently for each label in it.
    """

    def __init__(
        self, backbone: Backbone, share: bool, compression: Compression | None = None, planner: Backbone | None = None
    ) -> None:
        varies = compression is not None and compression.varies_before_text
        self.backbone, self.compression, self.share = (
            backbone,
            compression,
            share and backbone.has_prefix and not varies,
        )
        self._planner = planner or backbone
        self._empty_prompt = backbone.condition([""]) if self.plan_evaluations else None

    @property
    def plan_evaluations(self) -> int:
        """Evaluations per draw beside those of the labels: one if plans need a pass of their own, else none."""
        if self.compression is None or not self.compression.shared_plans:
            return 0
        return int(not (self.share and self.compression.shared_plans == self.compression.plans_before_text))

    def shared_inputs(self, noisy: Tensor, t: Tensor, seeds: Tensor) -> SharedInputs:
        """Run what no label affects, and record the plans that are made in it."""  # [b c h w], [b], [b]
        if self.compression is None:
            return SharedInputs(self._prefix(noisy, t), {})
        with self.compression.seeds(seeds, torch.full_like(seeds, -1)), self.compression.record() as plans:
            prefix = self._prefix(noisy, t)
            if self._empty_prompt is not None:
                empty = self._empty_prompt.take(torch.zeros_like(t))
                with self.compression.only_plans():
                    self._planner.noise(noisy, t, empty, prefix)
        return SharedInputs(prefix, dict(plans))

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: SharedInputs, rows: BatchRows) -> Tensor:
        """Predict the noise of a batch whose rows belong to the given (image, draw) pairs."""
        prefix = shared.prefix.take(rows.pairs) if shared.prefix is not None else None
        with ExitStack() as stack:
            if self.compression is not None:
                stack.enter_context(self.compression.seeds(rows.seeds, rows.prompts))
            if self.compression is not None and shared.plans:
                stack.enter_context(self.compression.replay(shared.plans, rows.pairs))
            return self.backbone.noise(noisy, t, conditions, prefix)

    def _prefix(self, noisy: Tensor, t: Tensor) -> Prefix | None:
        return self.backbone.compute_prefix(noisy, t) if self.share else None


@dataclass(frozen=True)
class ScoringJob:
    """One image's part of a round: its latent, the next draws, and the numbers of the prompts to evaluate."""

    latent: Tensor  # [c h w], or [n c h w] where each draw has its view of the image
    block: Block
    prompts: Sequence[int]
    views: Sequence[View] = ()  # of each draw, if they differ

    @property
    def evaluations(self) -> int:
        """The number of network evaluations."""
        return len(self.block) * len(self.prompts)


class NoisyLatents(NamedTuple):
    """The (image, draw) pairs of a round."""

    noisy: Tensor  # [p c h w]
    noise: Tensor  # [p c h w]
    t: Tensor  # [p]
    seeds: Tensor  # [p]
    weights: Tensor | None  # [p 1 1 1] of ε̂ − ε, if errors are of something else


class DenoisingErrors:
    """Evaluates jobs with one backbone in batches that fit into memory.

    With `pixel_errors`, `sums` are the heatmap sums of each job of the last round.
    """

    def __init__(
        self,
        backbone: Backbone,
        conditions: Conditions,
        absolute: bool,
        batch: int,
        shared_computation: SharedComputation,
        pixel_errors: PixelErrors | None = None,
        error_in: str = DEFAULT_ERROR,
    ) -> None:
        self.error_in = error_in
        self.backbone, self.conditions = backbone, conditions
        self.absolute, self.shared_computation, self.pixel_errors = absolute, shared_computation, pixel_errors
        self.sums: list[NDArray[np.float32]] = []  # [prompts h w] each
        self.batch = stable_batch_size(batch)

    def __call__(self, jobs: Sequence[ScoringJob]) -> list[NDArray[np.float32]]:
        """Return each job's errors."""  # [draws prompts] each
        while (flat := self._errors_if_they_fit(jobs)) is None:
            self._halve_batch()
        ends = np.cumsum([job.evaluations for job in jobs])
        pieces = np.split(flat, ends[:-1])
        return [piece.reshape(len(job.block), len(job.prompts)) for piece, job in zip(pieces, jobs, strict=True)]

    def _errors_if_they_fit(self, jobs: Sequence[ScoringJob]) -> NDArray[np.float32] | None:
        """Return all errors of a round, or None when memory ran out."""
        self.sums = []
        groups = [jobs] if fixed_size_batches(self.backbone.device) else [[job] for job in jobs]
        try:
            with torch.inference_mode(), repeatable(self.backbone):
                return torch.cat([self._errors(group) for group in groups]).cpu().numpy()
        except RuntimeError as problem:
            if not out_of_memory(problem):
                raise
            return None

    def _errors(self, jobs: Sequence[ScoringJob]) -> Tensor:
        """Run all triples of some jobs."""  # [triples]
        device = self.backbone.device
        clean = torch.cat([job.latent.expand(len(job.block), -1, -1, -1) for job in jobs])  # [p c h w]
        noise = torch.cat([job.block.noise for job in jobs]).to(device)
        t = torch.cat([job.block.t for job in jobs]).to(device)
        seeds = torch.cat([job.block.seeds for job in jobs]).to(device)
        weights = error_weights(self.backbone, t, self.error_in)
        latents = NoisyLatents(self.backbone.mix(clean, noise, t), noise, t, seeds, weights)
        batches = self._batches(len(t), prefix_batch_size(self.batch))
        shared = SharedInputs.join(
            [self.shared_computation.shared_inputs(latents.noisy[rows], t[rows], seeds[rows]) for rows in batches]
        )
        pairs, prompts = (index.to(device) for index in pairs_and_prompts(jobs))
        sums = None
        if self.pixel_errors is not None:
            shapes = [(len(job.block), len(job.prompts)) for job in jobs]
            pixels = self.backbone.scale // self.backbone.patch  # along a side of a map's square
            views = [[view.coarser(pixels) for view in job.views] for job in jobs]
            sums = HeatmapAccumulator(self.pixel_errors, shapes, device, views)
        batches = self._batches(len(pairs), self.batch)
        errors = [self._batch_errors(latents, shared, pairs[rows], prompts[rows], sums) for rows in batches]
        if sums is not None:
            self.sums += [part.cpu().numpy() for part in sums.split()]
        return torch.cat(errors)[: len(pairs)]

    def _batch_errors(
        self,
        latents: NoisyLatents,
        shared: SharedInputs,
        pairs: Tensor,
        prompts: Tensor,
        sums: HeatmapAccumulator | None,
    ) -> Tensor:
        """Return the errors of one batch."""  # [b]
        rows = BatchRows(pairs, latents.seeds[pairs], prompts)
        conditions = self.conditions.take(prompts)
        predicted = self.shared_computation.noise(latents.noisy[pairs], latents.t[pairs], conditions, shared, rows)
        residual = predicted - latents.noise[pairs]
        if latents.weights is not None:
            residual = residual * latents.weights[pairs]
        flat = residual.flatten(1)
        errors = flat.abs().mean(1) if self.absolute else flat.square().mean(1)
        if sums is not None:
            sums.add(residual, errors)
        return errors

    def _batches(self, count: int, size: int) -> Iterator[Tensor]:
        """Yield row indices in batches; the last one is padded with repeats."""
        start = 0
        for rows in batch_sizes(count, size, self.backbone.device):
            yield torch.arange(start, start + rows, device=self.backbone.device).clamp(max=count - 1)
            start += rows

    def _halve_batch(self) -> None:
        if self.batch == 1:
            hint = "Try --dtype bfloat16, a smaller model, or --device cpu."
            raise BigainError("out of memory", "a single evaluation does not fit", hint)
        self.batch = stable_batch_size(self.batch // 2)
        if self.backbone.device.type == "cuda":
            torch.cuda.empty_cache()


def pairs_and_prompts(jobs: Sequence[ScoringJob]) -> tuple[Tensor, Tensor]:
    """Return the (image, draw) pair and the prompt of each evaluation: draws outside, prompts inside."""
    pairs, prompts, first = [], [], 0
    for job in jobs:
        count = len(job.block)
        pairs.append(torch.arange(first, first + count).repeat_interleave(len(job.prompts)))
        prompts.append(torch.tensor(job.prompts, dtype=torch.int64).repeat(count))
        first += count
    return torch.cat(pairs), torch.cat(prompts)


def checked_batch_size(given: int | None, backbone: Backbone, rows: int) -> int:
    """Return the given batch size, or one that suits the device and the number of rows of one image's block."""
    if given is None:
        return automatic_batch_size(backbone, rows)
    if given < 1:
        raise UsageError(f"batch {given}", "must be at least 1", "Leave it out for a size that suits the device.")
    return given
