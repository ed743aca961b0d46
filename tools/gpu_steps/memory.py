"""The largest batch of evaluations that fits, the peak at each size, and a run that finds too little memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bigain
import numpy as np
import torch

from bigain_cli.backbones.batch_sizes import out_of_memory
from bigain_cli.benchmark.machine import peak_memory, reset_peak_memory
from bigain_cli.benchmark.timed_network import make_workload
from bigain_cli.classification.denoising import DenoisingErrors, SharedComputation
from gpu_steps.queue import tell
from gpu_steps.steps import NEWER, Plan

LARGEST = {"sd2": 1024, "dit-512": 1024, **dict.fromkeys(NEWER, 8)}  # batch that is tried, of each model
TOY = {"mini": 16}
TOO_MANY = 8  # rows of a batch for which there is said to be no memory


def find_limits(plan: Plan, seconds: float) -> dict[str, Any]:
    """Return the peaks by batch of each model, and whether a run that found too little memory gave the same errors."""
    end = time.monotonic() + 0.6 * seconds
    found: dict[str, dict[str, float | str]] = {}
    result = {"back_off": _back_off(plan), "peak_gib_by_batch": found}
    dtype = "float32" if plan.device == "cpu" else "bfloat16"
    for name, largest in (TOY if plan.toy else LARGEST).items():
        if time.monotonic() > end:
            break
        try:
            backbone = bigain.load_random(name, device=plan.device, dtype=dtype)
        except bigain.BigainError as problem:  # one family less, not none
            found[name] = {"weights": str(problem)}
            continue
        found[name] = {str(batch): peak for batch, peak in _peaks(backbone, largest, end)}
        del backbone
        _empty()
        tell(result)
    return result


def _peaks(backbone: Any, largest: int, end: float) -> Iterator[tuple[int, float | str]]:
    """Yield batch sizes, doubled each time, and the memory at the peak of one batch."""
    batch = 1
    while batch <= largest and time.monotonic() < end:
        work = make_workload(backbone, 8, None, batch, None)
        reset_peak_memory(backbone.device)
        noisy = torch.randn(batch, *backbone.latent_shape, device=backbone.device)
        t = torch.full((batch,), 500, device=backbone.device)
        try:
            with torch.inference_mode():
                backbone.noise(noisy, t, work.conditions.take(torch.zeros_like(t)))
        except (RuntimeError, bigain.BigainError) as problem:
            yield batch, "out of memory" if out_of_memory(problem) else str(problem)
            return
        yield batch, round(peak_memory(backbone.device) / 2**30, 3)
        batch *= 2


def _back_off(plan: Plan) -> dict[str, Any]:
    """Compare the errors of a run that has to halve its batch with those of one that has room."""
    backbone = bigain.load("mini", device=plan.device, dtype="float32")
    work = make_workload(backbone, 4, 16, 32, None)

    def errors() -> tuple[np.ndarray, int]:
        run = DenoisingErrors(backbone, work.conditions, False, 32, SharedComputation(backbone, False))
        (found,) = run([work.job])
        return found, run.batch

    expected, whole = errors()
    with _too_little_memory(backbone):
        found, halved = errors()
    return {"batch": whole, "halved_to": halved, "largest_difference": float(np.abs(found - expected).max())}


@contextmanager
def _too_little_memory(backbone: Any) -> Iterator[None]:
    """Let large batches ask for more memory than any device has, as CUDA's allocator would refuse them."""

    def ask(module: Any, args: Any, kwargs: Any) -> None:
        rows = len(args[0])
        if rows > TOO_MANY:
            torch.empty(1 << 50, dtype=torch.uint8, device=args[0].device)

    hook = backbone.network.register_forward_pre_hook(ask, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _empty() -> None:
    gc.collect()  # a network that loads itself late refers to itself
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
