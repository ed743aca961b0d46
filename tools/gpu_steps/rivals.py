"""What people would use instead, on the same network with random weights: a plain loop on diffusers, and tomesd.

The loop is the usual one: for each draw, all labels in one call, errors read back at once. Its attention is torch's
fused one, and, once, the unfused one of older tools.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import bigain
import torch
from torch import Tensor

from bigain_cli.benchmark.machine import synchronize
from bigain_cli.benchmark.timed_network import make_workload
from bigain_cli.classification.denoising import DenoisingErrors, SharedComputation
from gpu_steps.steps import Plan

LABELS, DRAWS, TIMES = 8, 32, 5
TEXT_TOKENS = 77


def time_rivals(plan: Plan, seconds: float) -> dict[str, Any]:
    """Return the evaluations a second of each, in turn within every round, medians over the rounds."""
    draws = 4 if plan.toy else DRAWS
    dtype = "float32" if plan.device == "cpu" else "bfloat16"
    backbone = bigain.load_random("mini" if plan.toy else "sd2", device=plan.device, dtype=dtype)
    work = make_workload(backbone, LABELS, draws, 8 if plan.toy else 32, None)
    text = backbone.condition([""]).rows.repeat(LABELS, 1, 1)
    network: Any = backbone.network
    errors = DenoisingErrors(backbone, work.conditions, False, work.batch, SharedComputation(backbone, True))

    def loop() -> None:
        plain_loop(network, work.job.latent, text, draws, backbone)

    ways: dict[str, tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]] = {
        "bigain, uncompressed": (lambda: None, lambda: errors([work.job]), lambda: None),
        "plain loop, fused attention": (lambda: None, loop, lambda: None),
        "plain loop, unfused attention": (lambda: _unfused(network), loop, lambda: _fused(network)),
        "plain loop, tomesd 0.7": (lambda: _tomesd(network), loop, lambda: _no_tomesd(network)),
    }
    if find_spec("tomesd") is None:
        ways.popitem()
    found: dict[str, list[float]] = {name: [] for name in ways}
    end = time.monotonic() + 0.8 * seconds
    for number in range(1 + (1 if plan.toy else TIMES)):
        if number > 1 and time.monotonic() > end:
            break
        for name, (prepare, run, restore) in ways.items():
            prepare()
            try:
                synchronize(backbone.device)
                began = time.perf_counter()
                run()
                synchronize(backbone.device)
                took = time.perf_counter() - began
            finally:
                restore()
            if number:  # the first round warms up
                found[name].append(LABELS * draws / took)
    return {
        "model": backbone.name,
        "labels": LABELS,
        "draws": draws,
        "dtype": dtype,
        "evaluations_per_second": {
            name: {"median": statistics.median(each), "low": min(each), "high": max(each)}
            for name, each in found.items()
        },
    }


@torch.inference_mode()
def plain_loop(network: Any, latent: Tensor, text: Tensor, draws: int, backbone: Any) -> list[list[float]]:
    """Return the errors of every draw and label, as a short script would compute them."""
    found = []
    generator = torch.Generator().manual_seed(0)
    for number in range(draws):
        noise = torch.randn(latent.shape, generator=generator).to(latent.device)
        t = torch.tensor([(number * 997) % 1000], device=latent.device)
        noisy = backbone.mix(latent[None], noise[None], t).to(text.dtype)
        rows = noisy.expand(len(text), -1, -1, -1)
        predicted = network(rows, t.expand(len(text)), encoder_hidden_states=text).sample
        found.append((predicted[:, : len(noise)].float() - noise).square().mean((1, 2, 3)).tolist())
    return found


def _unfused(network: Any) -> None:
    from diffusers.models.attention_processor import AttnProcessor

    network.set_attn_processor(AttnProcessor())


def _fused(network: Any) -> None:
    from diffusers.models.attention_processor import AttnProcessor2_0

    network.set_attn_processor(AttnProcessor2_0())


def _tomesd(network: Any) -> None:
    import tomesd

    tomesd.apply_patch(network, ratio=0.7, use_rand=False)


def _no_tomesd(network: Any) -> None:
    import tomesd

    tomesd.remove_patch(network)
