"""What was doubtful when the code for CUDA was read: each doubt is measured here.

Are runs repeatable to the byte, whatever the batch holds beside an image? How often does a block wait for the
device? Does a convolutional network gain from channels-last? What does TF32 change in the VAE, which keeps float32?
What do transfers of the noise cost?
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import bigain
import torch

from bigain_cli.benchmark.machine import synchronize
from bigain_cli.benchmark.timed_network import make_workload
from bigain_cli.classification.denoising import DenoisingErrors, SharedComputation
from bigain_cli.compress.patching import compressed_or_not
from bigain_cli.compress.spec import parse
from gpu_steps.queue import tell
from gpu_steps.steps import Plan

TIMES, TIMES_TOY = 7, 1
FAILURES = (RuntimeError, bigain.BigainError, TypeError, AttributeError, ValueError, KeyError)


def check_doubts(plan: Plan, seconds: float) -> dict[str, Any]:
    """Return one finding for each doubt."""
    found: dict[str, Any] = {}
    for name, doubt in (
        ("repeatable", _repeatable),
        ("waits", _waits),
        ("channels_last", _channels_last),
        ("tf32_in_the_vae", _tf32_in_the_vae),
        ("transfers", _transfers),
    ):
        try:
            found[name] = doubt(plan)
        except FAILURES as problem:  # one doubt less, not none
            found[name] = f"failed: {type(problem).__name__}: {problem}"
        tell(found)
    return found


def _repeatable(plan: Plan) -> dict[str, bool]:
    """Say for each dtype whether a run repeats, and whether an image's record depends on the others."""
    found = {}
    rules = bigain.StoppingRules("fixed", draws=2 if plan.toy else 8)
    for dtype in ("float32", "bfloat16"):
        backbone = bigain.load("mini", device=plan.device, dtype=dtype)
        paths = sorted(plan.photos.glob("*/*.png"))[: 2 if plan.toy else 8]

        def records(images: list[Any], model: Any = backbone) -> list[Any]:
            return [each.to_dict() for each in bigain.classify(model, images, rules=rules, compress="lgtm:0.7")]

        together = records(paths)
        found[f"again, {dtype}"] = records(paths) == together
        found[f"alone, {dtype}"] = [record for path in paths for record in records([path])] == together
    return found


def _network(plan: Plan) -> Any:
    """Return a backbone with random weights, of real size but in a toy run."""
    dtype = "float32" if plan.device == "cpu" else "bfloat16"
    return bigain.load_random("mini" if plan.toy else "sd2", device=plan.device, dtype=dtype)


def _waits(plan: Plan) -> dict[str, Any]:
    """Count how often the host waits for the device in a round; torch says so of CUDA alone."""
    if torch.device(plan.device).type != "cuda":
        return {"waits": None}
    found = {}
    for spec in ("none", "lgtm:0.7", "iekvd:2"):
        backbone = _network(plan)
        work = make_workload(backbone, 8, 8, 32, None)
        with compressed_or_not(backbone, parse(spec), backbone.latent_shape[1:]) as compression:
            shared = SharedComputation(backbone, True, compression)
            errors = DenoisingErrors(backbone, work.conditions, False, work.batch, shared)
            errors([work.job])
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                errors([work.job])
                torch.cuda.set_sync_debug_mode("default")
        waits = [each for each in caught if "synchroniz" in str(each.message)]
        found[spec] = {"waits": len(waits), "where": sorted({f"{each.filename}:{each.lineno}" for each in waits})}
    return found


def _channels_last(plan: Plan) -> dict[str, float]:
    """Return the seconds of a batch with either memory format."""
    backbone = _network(plan)
    work = make_workload(backbone, 8, None, 8 if plan.toy else 32, None)
    noisy = torch.randn(work.batch, *backbone.latent_shape, device=backbone.device)
    t = torch.full((work.batch,), 500, device=backbone.device)
    conditions = work.conditions.take(torch.zeros_like(t))

    @torch.inference_mode()
    def forward() -> None:
        backbone.noise(noisy, t, conditions)

    plain = _seconds(forward, plan)
    backbone.network.to(memory_format=torch.channels_last)
    noisy = noisy.to(memory_format=torch.channels_last)
    last = _seconds(forward, plan)
    return {"contiguous": plain, "channels_last": last, "times_as_fast": round(plain / last, 3)}


def _tf32_in_the_vae(plan: Plan) -> dict[str, Any]:
    """Return how far latents of Stable Diffusion's VAE with random weights are from those without TF32."""
    from diffusers import AutoencoderKL

    if torch.device(plan.device).type != "cuda":
        return {"largest_difference": None}
    torch.manual_seed(0)
    blocks = (128, 256, 512, 512)
    vae = AutoencoderKL(
        block_out_channels=blocks,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
    )
    vae, pixels = vae.to(plan.device).eval(), torch.rand(1, 3, 512, 512, device=plan.device) * 2 - 1
    means, took = [], []
    for tf32 in (True, False):
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=tf32):
            means.append(vae.encode(pixels).latent_dist.mean)
            took.append(_seconds(lambda: vae.encode(pixels).latent_dist.mean, plan))
    off = (means[0] - means[1]).norm() / means[1].norm()
    return {"relative_difference": float(off), "seconds_with": took[0], "seconds_without": took[1]}


def _transfers(plan: Plan) -> dict[str, float]:
    """Return the seconds of moving a round's noise to the device, and of the whole round."""
    backbone = _network(plan)
    work = make_workload(backbone, 8, 8, 8 if plan.toy else 32, None)
    errors = DenoisingErrors(backbone, work.conditions, False, work.batch, SharedComputation(backbone, True))
    return {
        "noise": _seconds(lambda: work.job.block.noise.to(backbone.device), plan),
        "round": _seconds(lambda: errors([work.job]), plan),
    }


def _seconds(work: Callable[[], Any], plan: Plan) -> float:
    """Return the median seconds of some work, after doing it once."""
    found, device = [], torch.device(plan.device)
    for _ in range(1 + (TIMES_TOY if plan.toy else TIMES)):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])
