"""One spec, ready to be timed: a copy of the network that shares its weights, compressed and, on request, compiled.

Each spec has its own copy, so that nothing is added or removed between turns, and a compiled network keeps its
graph. The caller's network is never changed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bigain_cli.backbones.base import Backbone, Conditions
from bigain_cli.backbones.batch_sizes import automatic_batch_size, stable_batch_size
from bigain_cli.classification.classifier import BATCHES_PER_ROUND
from bigain_cli.classification.denoising import DenoisingErrors, ScoringJob, SharedComputation
from bigain_cli.classification.run_cost import RunCost
from bigain_cli.compress.assignment import Assignment
from bigain_cli.compress.patching import compressed, compressed_or_not
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.sites import network_of
from bigain_cli.compress.spec import Spec
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.noise_draws import Draws
from bigain_cli.registry import SCHEDULES

BLOCK = SCHEDULES["race"].block


@dataclass(frozen=True)
class Workload:
    """The work of every turn: one random latent, some draws, some labels, in full batches."""

    backbone: Backbone
    job: ScoringJob
    conditions: Conditions
    batch: int

    @property
    def labels(self) -> int:
        """Return the number of labels."""
        return len(self.conditions)


def make_workload(backbone: Backbone, labels: int, draws: int | None, batch: int | None, size: int | None) -> Workload:
    """Return the work, by default with as many draws as a round of classification; values are random."""
    backbone = _resized(backbone, size)
    batch = automatic_batch_size(backbone, BLOCK * labels) if batch is None else stable_batch_size(batch)
    block = Draws(0, b"", backbone.latent_shape, backbone.timestep_range).block(0, draws or draws_for(batch, labels))
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(backbone.latent_shape, generator=generator).to(backbone.device)
    return Workload(backbone, ScoringJob(latent, block, range(labels)), _label_conditions(backbone, labels), batch)


def draws_for(batch: int, labels: int) -> int:
    """Return the number of draws that fills batches as classification fills them.

    What runs once per draw (a prefix, a plan) runs in batches, too: up to a block's size they are as large as the
    batch; beyond, classification adds images until a round fills a few batches, with a block of draws of each.
    """
    return batch if batch <= BLOCK else BLOCK * -(-BATCHES_PER_ROUND * batch // (BLOCK * labels))


def _resized(backbone: Backbone, size: int | None) -> Backbone:
    """Return the backbone for images of another size."""
    channels, height, width = backbone.latent_shape
    scale = backbone.scale
    if size is None or height == width == size / scale:
        return backbone
    if not backbone.any_size:
        why = f"{backbone.name} works at {width * scale}x{height * scale} only"
        raise UsageError(f"--size {size}", why, "Leave out --size, or let --random-weights build another size.")
    if size < 1 or size % backbone.size_step:
        step = backbone.size_step
        near = max(1, round(size / step)) * step
        raise UsageError(f"--size {size}", f"{backbone.name} works in steps of {step} pixels", f"Try --size {near}.")
    other = copy.copy(backbone)
    other.latent_shape = (channels, size // scale, size // scale)
    return other


def _label_conditions(backbone: Backbone, labels: int) -> Conditions:
    """Return the network's conditions: one row for each label."""
    if backbone.vocabulary is None:
        return backbone.condition([""]).take(torch.zeros(labels, dtype=torch.int64, device=backbone.device))
    classes = sorted(backbone.vocabulary.names)
    return Conditions(torch.tensor([classes[i % len(classes)] for i in range(labels)], device=backbone.device))


MAX_GRAPHS = 1024  # that torch keeps of one function: each spec has a few


@dataclass(frozen=True)
class TimedNetwork:
    """One spec with all that its turns need."""

    spec: Spec
    denoising: DenoisingErrors
    networks: tuple[nn.Module, ...]  # that are called; empty for a model in closed form
    assignments: tuple[Assignment, ...]  # of the blocks that can be profiled
    cost: RunCost | None


@contextmanager
def timed_network(workload: Workload, spec: Spec, prefix: bool, compile: bool) -> Iterator[TimedNetwork]:
    """Prepare a spec on a copy of the backbone."""
    backbone = workload.backbone
    if not tuple(backbone.sites()):
        with compressed_or_not(backbone, spec):  # refuses any spec but none
            yield TimedNetwork(spec, _denoising(workload, SharedComputation(backbone, prefix)), (), (), None)
        return
    copied, latent = copy_sharing_weights(backbone), Grid(*backbone.latent_shape[1:])
    root = network_of(copied)
    with compressed(copied, spec, steps=backbone.timesteps, latent=latent) as compression:
        called: tuple[Any, ...] = (root,)
        if compile:
            called = torch.compile(root, fullgraph=True, dynamic=False), Uncompiled(root)
        runner, planner = (_with_network(copied, root, each) for each in (called[0], called[-1]))
        shared_computation = SharedComputation(runner, prefix, compression if spec else None, planner)
        report = compression.report(latent, workload.conditions.text_tokens)
        cost = RunCost.of(backbone, report.context, shared_computation, report)
        profiled = () if compile else compression.assignments
        yield TimedNetwork(spec, _denoising(workload, shared_computation), called, profiled, cost)


class Uncompiled(nn.Module):
    """Calls the uncompiled network, to make plans; a profile's hooks on it stay out of the graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network."""
        return self.network(*args, **kwargs)


@contextmanager
def compiling() -> Iterator[None]:
    """Make torch keep graphs for every spec and distinguish networks by their hooks, which it does not by default."""
    import torch._dynamo as dynamo

    limits = {"recompile_limit": MAX_GRAPHS, "accumulated_recompile_limit": MAX_GRAPHS}
    settings: dict[str, Any] = {"skip_nnmodule_hook_guards": False, **limits}
    try:
        with dynamo.config.patch(settings):
            yield
    except dynamo.exc.TorchDynamoException as problem:
        reason = str(problem).strip().splitlines()[0]
        hint = "Leave out --compile; on a CPU, torch needs a C++ compiler."
        raise BigainError("--compile", f"the network cannot be compiled ({reason})", hint) from problem


def _denoising(workload: Workload, shared_computation: SharedComputation) -> DenoisingErrors:
    return DenoisingErrors(shared_computation.backbone, workload.conditions, False, workload.batch, shared_computation)


def copy_sharing_weights(backbone: Backbone) -> Backbone:
    """Return the backbone around a copy of its network that uses the same weight tensors."""
    root = network_of(backbone)
    weights: dict[int, Any] = {id(tensor): tensor for tensor in (*root.parameters(), *root.buffers())}
    return _with_network(backbone, root, copy.deepcopy(root, weights))


def _with_network(backbone: Backbone, root: nn.Module, other: Any) -> Backbone:
    """Return the backbone around another network."""
    other_backbone = copy.copy(backbone)
    for name, value in vars(backbone).items():
        if value is root:
            setattr(other_backbone, name, other)
    return other_backbone
