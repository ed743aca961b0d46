"""`bench`: time specs on one backbone, in turn, inside one run.

Times the work of classifying, through the same code: draws, shared prefix, shared plans, full batches.
Never prints; out of memory is an error, not a smaller batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

import torch

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.batch_sizes import batch_sizes
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.benchmark import machine
from bigain_cli.benchmark.results import Benchmark, BenchmarkSettings, Timing, check_options
from bigain_cli.benchmark.timed_network import Workload, compiling, make_workload, timed_network
from bigain_cli.benchmark.timing import Rounds, Step
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.sites import network_of
from bigain_cli.compress.spec import Spec, parse
from bigain_cli.errors import UsageError

WARM_UP, WARM_UP_COMPILED = 1, 3  # a graph may be compiled again until every input was seen once


def bench(
    backbone: Backbone | str,
    specs: Sequence[str | Spec] = (),
    *,
    labels: int = 8,
    rounds: int = 5,
    draws: int | None = None,
    batch: int | None = None,
    prefix: bool | None = None,
    compile: bool = False,
    size: int | None = None,
    step: Step = lambda done, of: None,
) -> Benchmark:
    """Time specs against the uncompressed network; `step` is called after every turn.

    A turn is one image's draws with all labels. `prefix` says whether the part that no label enters is computed once
    a draw; by default it is where that is possible: on a U-Net that is not compiled.
    """
    clock = _Stages()
    check_options(labels=labels, draws=draws, batch=batch, rounds=rounds, prefix=prefix, compile=compile)
    task = make_workload(as_backbone(backbone), labels, draws, batch, size)
    prefix = _prefix_shared(task.backbone, prefix, compile)
    warm_up = WARM_UP_COMPILED if compile else WARM_UP
    with ExitStack() as stack:
        stack.enter_context(compiling() if compile else nullcontext())
        ready = (timed_network(task, spec, prefix, compile) for spec in _in_order(task.backbone, specs))
        networks = [stack.enter_context(each) for each in ready]
        turns = Rounds(networks, task, step, of=(warm_up + rounds + 1) * len(networks))
        clock.end("preparing")
        turns.warm_up(warm_up)
        clock.end("warming_up")
        seconds, peak, aside = turns.timed(rounds)
        clock.end("timing", finding_the_peak=aside)
        profiles = turns.profiles()
        clock.end("watching")
    timings = tuple(
        Timing(str(each.spec), task.job.evaluations, mine, seconds[0], each.flops, seen)
        for each, mine, seen in zip(networks, seconds, profiles, strict=True)
    )
    return Benchmark(_conditions(task, rounds, warm_up, prefix, compile), timings, peak, clock.seconds)


def _in_order(backbone: Backbone, specs: Sequence[str | Spec]) -> list[Spec]:
    """Return the specs as classifying would use them, each once, the uncompressed network first."""
    read = [parse(spec) for spec in specs]
    return list(dict.fromkeys([Spec(), *(spec.by_level() if backbone.has_prefix else spec for spec in read)]))


def _prefix_shared(backbone: Backbone, prefix: bool | None, compile: bool) -> bool:
    """Say whether to share the part that no label enters; refuse a request that cannot be met."""
    if prefix and not backbone.has_prefix:
        why = f"nothing of {backbone.name} runs before the label enters"
        raise UsageError("--prefix", why, "Leave it out.")
    return backbone.has_prefix and not compile if prefix is None else prefix


class _Stages:
    """Measures how long each stage takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def end(self, stage: str, **within: float) -> None:
        """End a stage; a part of it that is named is a stage of its own."""
        now = time.perf_counter()
        self.seconds |= {stage: now - self._since - sum(within.values()), **within}
        self._since = now


def _conditions(task: Workload, rounds: int, warm_up: int, prefix: bool, compile: bool) -> BenchmarkSettings:
    """Return the conditions of the measurement."""
    backbone, device, dtype = task.backbone, task.backbone.device, task.backbone.dtype
    sites = tuple(backbone.sites())
    root: Any = network_of(backbone) if sites else None
    _, height, width = backbone.latent_shape
    return BenchmarkSettings(
        model=backbone.name,
        weights=backbone.identity,
        parameters=sum(each.numel() for each in root.parameters()) if sites else None,
        size=(width * backbone.scale, height * backbone.scale),
        latent=backbone.latent_shape,
        device=str(device),
        device_name=machine.device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        attention=machine.attention_kernel(sites[0], Grid(height, width), device, dtype) if sites else None,
        memory=machine.memory_kind(device),
        labels=task.labels,
        draws=len(task.job.block),
        batch=task.batch,
        filled=sum(batch_sizes(task.job.evaluations, task.batch, device)) - task.job.evaluations,
        rounds=rounds,
        warm_up=warm_up,
        prefix=prefix,
        compile=compile,
    )
