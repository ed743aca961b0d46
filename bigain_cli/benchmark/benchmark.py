"""`bench`: time specs on one backbone, in turn, in one run.

Times the work of classification, through the same code: draws, shared prefix, shared plans, full batches.
Never prints; out of memory is an error, not a smaller batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

import torch

from bigain_cli.backbones.base import Backbone, spec_for
from bigain_cli.backbones.batch_sizes import batch_sizes
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.benchmark import machine
from bigain_cli.benchmark.results import Benchmark, BenchmarkSettings, Timing, check_options
from bigain_cli.benchmark.timed_network import TimedNetwork, Workload, compiling, make_workload, timed_network
from bigain_cli.benchmark.timing import Rounds, Step
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.sites import network_of
from bigain_cli.compress.spec import Spec
from bigain_cli.errors import UsageError

WARM_UP, WARM_UP_COMPILED = 1, 3  # a graph may be compiled again until every kind of input has occurred once


def bench(
    backbone: Backbone | str,
    specs: str | Sequence[str | Spec] = (),
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

    A turn is one image's draws with all labels. `prefix` says whether the blocks before the first prompt are computed
    once per draw; the default is yes where that is possible: on a U-Net that is not compiled.
    """
    stages = _Stages()
    check_options(labels=labels, draws=draws, batch=batch, rounds=rounds, prefix=prefix, compile=compile)
    workload = make_workload(as_backbone(backbone), labels, draws, batch, size)
    prefix = _choose_prefix(workload.backbone, prefix, compile)
    warm_up = WARM_UP_COMPILED if compile else WARM_UP
    with ExitStack() as stack:
        stack.enter_context(compiling() if compile else nullcontext())
        ready = (timed_network(workload, spec, prefix, compile) for spec in _specs_to_time(workload.backbone, specs))
        networks = [stack.enter_context(each) for each in ready]
        turns = Rounds(networks, workload, step, total=(warm_up + rounds + 1) * len(networks))
        stages.end("preparing")
        turns.warm_up(warm_up)
        stages.end("warming_up")
        seconds, peak, peak_seconds = turns.timed(rounds)
        stages.end("timing", finding_the_peak=peak_seconds)
        profiles = turns.profiles()
        stages.end("watching")
    timings = tuple(
        Timing(str(each.spec), workload.job.evaluations, its_seconds, seconds[0], *_gflop(each, workload), profile)
        for each, its_seconds, profile in zip(networks, seconds, profiles, strict=True)
    )
    return Benchmark(_settings(workload, rounds, warm_up, prefix, compile), timings, peak, stages.seconds)


def _specs_to_time(backbone: Backbone, specs: str | Sequence[str | Spec]) -> list[Spec]:
    """Return the specs as classification uses them, each once, the uncompressed network first."""
    asked = [specs] if isinstance(specs, str) else specs
    return list(dict.fromkeys([Spec(), *(spec_for(backbone, spec) for spec in asked)]))


def _choose_prefix(backbone: Backbone, prefix: bool | None, compile: bool) -> bool:
    """Say whether to compute the prefix once per draw; refuse it where the network has none."""
    if prefix and not backbone.has_prefix:
        why = f"nothing of {backbone.name} runs before the label enters"
        raise UsageError("--prefix", why, "Leave it out.")
    return backbone.has_prefix and not compile if prefix is None else prefix


def _gflop(timed: TimedNetwork, workload: Workload) -> tuple[float | None, float | None]:
    """Return the arithmetic of an evaluation as it is run in a turn, and of one pass by itself."""
    if timed.cost is None:
        return None, None
    draws, evaluations = len(workload.job.block), workload.job.evaluations
    passes = evaluations + draws * timed.denoising.shared_computation.plan_evaluations
    return timed.cost.gflop(draws, passes) / evaluations, timed.cost.whole


class _Stages:
    """Measures how long each stage takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def end(self, stage: str, **within: float) -> None:
        """End a stage; each part named in `within` counts as a stage by itself."""
        now = time.perf_counter()
        self.seconds |= {stage: now - self._since - sum(within.values()), **within}
        self._since = now


def _settings(workload: Workload, rounds: int, warm_up: int, prefix: bool, compile: bool) -> BenchmarkSettings:
    """Describe the model, the machine and the options of the benchmark."""
    backbone, device, dtype = workload.backbone, workload.backbone.device, workload.backbone.dtype
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
        labels=workload.labels,
        draws=len(workload.job.block),
        batch=workload.batch,
        filled=sum(batch_sizes(workload.job.evaluations, workload.batch, device)) - workload.job.evaluations,
        rounds=rounds,
        warm_up=warm_up,
        prefix=prefix,
        compile=compile,
    )
