"""The timed networks of a benchmark, and the work that each does in a turn."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from bigain_cli.backbones.base import Backbone, Conditions
from bigain_cli.classification.classifier import BATCHES_A_ROUND
from bigain_cli.classification.denoising import Job, automatic, steady
from bigain_cli.errors import UsageError
from bigain_cli.noise_draws import Draws
from bigain_cli.registry import SCHEDULES

BLOCK = SCHEDULES["race"].block


@dataclass(frozen=True)
class Task:
    """The work of every turn: one random image, some draws, some labels, in full batches."""

    backbone: Backbone
    job: Job
    conditions: Conditions
    batch: int

    @property
    def labels(self) -> int:
        """Return the number of labels."""
        return len(self.conditions)


def set_task(backbone: Backbone, labels: int, draws: int | None, batch: int | None, size: int | None) -> Task:
    """Return the work, by default with as many draws as classifying takes at a time; values are random."""
    backbone = _sized(backbone, size)
    batch = automatic(backbone, BLOCK * labels) if batch is None else steady(batch)
    block = Draws(0, b"", backbone.latent_shape, backbone.steps).block(0, draws or draws_for(batch, labels))
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(backbone.latent_shape, generator=generator).to(backbone.device)
    return Task(backbone, Job(latent, block, range(labels)), _label_conditions(backbone, labels), batch)


def draws_for(batch: int, labels: int) -> int:
    """Return draws that fill batches as classifying fills them.

    The part that runs once a draw (a prefix, a plan) runs in batches, too: up to a block's size they are as large as
    the batch; beyond, classifying takes images in until a round fills a few batches, a block of draws of each.
    """
    return batch if batch <= BLOCK else BLOCK * -(-BATCHES_A_ROUND * batch // (BLOCK * labels))


def _sized(backbone: Backbone, size: int | None) -> Backbone:
    """Return the backbone for images of another size."""
    channels, height, width = backbone.latent_shape
    scale = backbone.scale
    if size is None or height == width == size / scale:
        return backbone
    if not backbone.elastic:
        why = f"{backbone.name} works at {width * scale}x{height * scale} only"
        raise UsageError(f"--size {size}", why, "Leave out --size, or let --random-weights build another size.")
    if size < 1 or size % scale:
        near = max(1, round(size / scale)) * scale
        raise UsageError(f"--size {size}", f"{backbone.name} works in steps of {scale} pixels", f"Try --size {near}.")
    other = copy.copy(backbone)
    other.latent_shape = (channels, size // scale, size // scale)
    return other


def _label_conditions(backbone: Backbone, labels: int) -> Conditions:
    """Return the network's conditions: one row for each label."""
    if backbone.vocabulary is None:
        rows = backbone.condition([""]).rows
        return Conditions(rows.repeat(labels, *[1] * (rows.ndim - 1)))
    classes = sorted(backbone.vocabulary.names)
    return Conditions(torch.tensor([classes[i % len(classes)] for i in range(labels)], device=backbone.device))
