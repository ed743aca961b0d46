"""Time compression in classification: seconds per draw of ten labels, compressed and not, in turn, medians of pairs.

python tools/benchmark_compress.py [--device cuda] [--dtype bfloat16] [--model quarter|sd2|dit-256|dit-512]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from diffusers import DiTTransformer2DModel, UNet2DConditionModel

from bigain_cli.backbones.base import Conditions, Prefix
from bigain_cli.backbones.gaussian_mixture import cosine_alphas
from bigain_cli.backbones.noise_schedule import NoiseSchedule
from bigain_cli.backbones.prefix_cache import run_prefix, use_cached
from bigain_cli.classification.denoising import DenoisingErrors, ScoringJob, SharedComputation
from bigain_cli.compress import compressed, sites_of
from bigain_cli.compress.kv_pooling import PoolPlan
from bigain_cli.compress.plan import MergePlan
from bigain_cli.compress.token_merging import TokenMerging
from bigain_cli.noise_draws import Draws

SD2 = {"sample_size": 64, "use_linear_projection": True, "attention_head_dim": (5, 10, 20, 20)}
SIZES: dict[str, Callable[[], Any]] = {
    "quarter": lambda: UNet2DConditionModel(
        block_out_channels=(80, 160, 320, 320), cross_attention_dim=256, norm_num_groups=16, **SD2
    ),
    "sd2": lambda: UNet2DConditionModel(block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=1024, **SD2),
    "dit-256": lambda: DiTTransformer2DModel(num_layers=28, out_channels=8, sample_size=32),
    "dit-512": lambda: DiTTransformer2DModel(num_layers=28, out_channels=8, sample_size=64),
}
SPECS = {
    "quarter": ("lgtm:0.7@share=level", "lgtm:0.7", "lgtm:0.7+mlp", "tome:0.7@share=level", "iekvd:2", "iekvd:4"),
    "dit": ("lgtm:0.7@blocks=1-5,7-11", "lgtm:0.7@blocks=1-5,7-11+mlp", "iekvd:2@levels=all", "iekvd:4@levels=all"),
}


class Random:
    """A backbone of random weights: all that scoring needs of one."""

    temperature, score, compress, draws, vocabulary, template = None, "l2", "none", None, None, "{}"

    def __init__(self, network: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.network = network.to(device, dtype).eval().requires_grad_(False)
        self.device, self.dtype, self.has_prefix = device, dtype, isinstance(network, UNet2DConditionModel)
        self.latent_shape = (4, network.config.sample_size, network.config.sample_size)
        self.process = NoiseSchedule.of(cosine_alphas(1000), "epsilon", device)
        self.mix = self.process.mix

    def condition(self, prompts: list[str]) -> Conditions:
        if not self.has_prefix:
            return Conditions(torch.arange(len(prompts), device=self.device))
        torch.manual_seed(0)
        width = self.network.config.cross_attention_dim
        return Conditions(torch.randn(len(prompts), 77, width).to(self.device, self.dtype))

    def sites(self) -> Any:
        return sites_of(self.network)

    def noise(self, noisy: Any, t: Any, conditions: Conditions, shared: Any = None) -> Any:
        with use_cached(self.network, shared) if shared is not None else nullcontext():
            return self._forward(noisy, t, conditions.rows)[:, :4].float()

    def shared(self, noisy: Any, t: Any) -> Prefix:
        text = self.condition([""]).rows.expand(len(noisy), -1, -1)
        return run_prefix(self.network, text, lambda: self._forward(noisy, t, text))

    def _forward(self, noisy: Any, t: Any, rows: Any) -> Any:
        if self.has_prefix:
            return self.network(noisy.to(self.dtype), t, encoder_hidden_states=rows, return_dict=False)[0]
        return self.network(noisy.to(self.dtype), timestep=t, class_labels=rows, return_dict=False)[0]


@contextmanager
def stopwatch(device: torch.device, spent: list[float]) -> Iterator[None]:
    """Add up the time that plans, merging and restoring take; waits for the device around each, so not for totals."""
    targets = [
        (TokenMerging, "plan"),
        (MergePlan, "query"),
        (MergePlan, "restore"),
        (MergePlan, "select"),
        (PoolPlan, "keys"),
    ]
    originals = [getattr(kind, name) for kind, name in targets]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            wait(device)
            started = time.perf_counter()
            result = function(*arguments)
            wait(device)
            spent.append(time.perf_counter() - started)
            return result

        return run

    for (kind, name), original in zip(targets, originals, strict=True):
        setattr(kind, name, timed(original))
    try:
        yield
    finally:
        for (kind, name), original in zip(targets, originals, strict=True):
            setattr(kind, name, original)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(
    backbone: Random, conditions: Conditions, job: ScoringJob, batch: int, spec: str, watched: bool = False
) -> tuple[float, float, float]:
    """Return seconds per draw, seconds of it spent on bookkeeping, and the share of FLOPs saved."""
    with compressed(backbone, spec) if spec != "none" else nullcontext() as handle:
        residuals = DenoisingErrors(backbone, conditions, False, batch, SharedComputation(backbone, True, handle))  # type: ignore[arg-type]
        started = time.perf_counter()
        residuals([job])
        whole = time.perf_counter() - started
        if handle is None or not watched:
            return whole / len(job.block), 0.0, 0.0
        spent: list[float] = []
        with stopwatch(backbone.device, spent):
            residuals([job])
        return whole / len(job.block), sum(spent) / len(job.block), handle.report().saved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--model", default="quarter", choices=SIZES)
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("-c", "--compress", action="append", help="specs; by default a list that suits the model")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    torch.manual_seed(0)
    backbone = Random(SIZES[asked.model](), device, getattr(torch, asked.dtype))
    conditions = backbone.condition([str(number) for number in range(asked.labels)])
    block = Draws(0, b"", backbone.latent_shape).block(0, asked.draws)
    job = ScoringJob(torch.randn(backbone.latent_shape).to(device), block, range(asked.labels))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {asked}")
    print("spec                            s/draw  base    ratio [min, max]     FLOPs saved  bookkeeping/saved time")
    for spec in asked.compress or SPECS["dit" if asked.model.startswith("dit") else "quarter"]:
        _, kept, saved = seconds(backbone, conditions, job, asked.batch, spec, watched=True)
        pairs = []
        for _ in range(asked.pairs):
            base = seconds(backbone, conditions, job, asked.batch, "none")[0]
            pairs.append((base, seconds(backbone, conditions, job, asked.batch, spec)[0]))
        base, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = sorted(slow / fast for slow, fast in pairs)
        part = kept / (base - mine + kept)
        spread = f"{statistics.median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]"
        print(f"{spec:30}  {mine:6.3f}  {base:6.3f}  {spread}  {saved:8.1%}  {part:16.1%}", flush=True)


if __name__ == "__main__":
    main()
