"""One spec, ready to take its turns: a network of its own with the same weights, compressed, compiled if wanted.

Each spec stays on its own double, so that nothing is put on or taken off between turns, and a compiled network
keeps its graph. The weights are shared; the caller's network is never touched.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bigain_cli.backbones.base import Backbone
from bigain_cli.benchmark.task import Task
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.seam import compressed
from bigain_cli.compress.selection import Work
from bigain_cli.compress.sites import network_of
from bigain_cli.compress.spec import Spec
from bigain_cli.errors import BigainError
from bigain_cli.residuals import Residuals
from bigain_cli.squeeze import Squeeze, squeezed

GRAPHS = 1024  # that torch keeps of one function: each spec has a few of its own


@dataclass(frozen=True)
class Candidate:
    """One spec with all that its turns need."""

    spec: Spec
    residuals: Residuals
    networks: tuple[nn.Module, ...]  # what is called; a closed form has none
    works: tuple[Work, ...]  # the blocks that can be watched
    flops: int | None  # of one pass by itself


@contextmanager
def candidate(task: Task, spec: Spec, prefix: bool, compile: bool) -> Iterator[Candidate]:
    """Prepare a spec on a double of the task's backbone."""
    backbone = task.backbone
    if not tuple(backbone.sites()):
        with squeezed(backbone, spec):  # refuses any but none
            yield Candidate(spec, _residuals(task, Squeeze(backbone, prefix)), (), (), None)
        return
    double, latent = double_of(backbone), Grid(*backbone.latent_shape[1:])
    root = network_of(double)
    with compressed(double, spec, steps=backbone.length, latent=latent) as handle:
        called: tuple[Any, ...] = (_compiled(root), Plain(root)) if compile else (root,)
        runner, planner = (_with(double, root, each) for each in (called[0], called[-1]))
        squeeze = Squeeze(runner, prefix, handle if spec else None, planner)
        context = task.told.rows.shape[1] if task.told.rows.ndim == 3 else 1
        flops = handle.report(latent, context).flops_after
        yield Candidate(spec, _residuals(task, squeeze), called, () if compile else handle.works, flops)


def _compiled(root: nn.Module) -> Any:
    """Compile a network with the hooks that are on it: whole, for one shape."""
    return torch.compile(root, fullgraph=True, dynamic=False)


class Plain(nn.Module):
    """Calls a network that is compiled elsewhere as it is, to make plans; what watches it stays out of the graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Pass everything on."""
        return self.network(*args, **kwargs)


@contextmanager
def compiling() -> Iterator[None]:
    """Let torch keep graphs for every spec and tell networks apart by their hooks, as it does not by default."""
    import torch._dynamo as dynamo

    limits = {"recompile_limit": GRAPHS, "accumulated_recompile_limit": GRAPHS}
    settings: dict[str, Any] = {"skip_nnmodule_hook_guards": False, **limits}
    try:
        with dynamo.config.patch(settings):
            yield
    except dynamo.exc.TorchDynamoException as problem:
        reason = str(problem).strip().splitlines()[0]
        hint = "Leave out --compile; on a CPU, torch needs a C++ compiler."
        raise BigainError("--compile", f"the network cannot be compiled ({reason})", hint) from problem


def _residuals(task: Task, squeeze: Squeeze) -> Residuals:
    return Residuals(squeeze.backbone, task.told, False, task.batch, squeeze)


def double_of(backbone: Backbone) -> Backbone:
    """Return the backbone around a network of its own that has the same weights, the very same tensors."""
    root = network_of(backbone)
    weights: dict[int, Any] = {id(tensor): tensor for tensor in (*root.parameters(), *root.buffers())}
    return _with(backbone, root, copy.deepcopy(root, weights))


def _with(backbone: Backbone, root: nn.Module, other: Any) -> Backbone:
    """Return the backbone around another network."""
    double = copy.copy(backbone)
    for name, value in vars(backbone).items():
        if value is root:
            setattr(double, name, other)
    return double
