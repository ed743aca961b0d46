"""The same plans on the GPU as on the CPU, at any batch size and precision setting, and the same bytes every time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compress_cases import plan_of, tokens
from compress_nets import NETWORKS, latents, times

from bigain_cli.backbones.devices import full_float32
from bigain_cli.compress import compressed, parse
from bigain_cli.compress.plan import Grid, MergePlan

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

SPECS = ["lgtm:0.7", "lgtm:0.5@gate=0.3@pad=replicate", "tome:0.5", "sito:0.5", "abm:0.5"]


def same(a: Any, b: Any) -> bool:
    return isinstance(a, MergePlan) and all(torch.equal(x.cpu(), y.cpu()) for x, y in zip(a[:5], b[:5], strict=True))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("grid", "c"), [(Grid(7, 9), 13), (Grid(64, 64), 320), (Grid(16, 16), 1152)])
def test_plans_are_the_cpus(spec: str, dtype: torch.dtype, grid: Grid, c: int) -> None:
    term, x = parse(spec).terms[0], tokens(8, grid.n, c, dtype=dtype)
    seeds, t = torch.arange(8) * 977, torch.arange(8) * 100.0
    on_cpu = plan_of(term, x, grid, seeds, t)
    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        try:
            on_gpu = plan_of(term, x.cuda(), grid, seeds.cuda(), t.cuda())
            alone = plan_of(term, x[3:4].cuda(), grid, seeds[3:4].cuda(), t[3:4].cuda())
        finally:
            torch.set_float32_matmul_precision("highest")
        assert same(on_gpu, on_cpu)
        assert same(alone, on_gpu.select(torch.tensor([3], device="cuda")))


@pytest.mark.parametrize("kind", ["unet", "dit"])
@pytest.mark.parametrize("spec", ["lgtm:0.5+mlp", "tome:0.5@mode=mlerp", "iekvd:2@0.8:1.2"])
def test_a_network_gives_the_same_bytes_every_time(kind: str, spec: str) -> None:
    make, run = NETWORKS[kind]
    network, x, t = make(), latents(4), times(4)
    with compressed(network, spec):
        expected = run(network, x, t)
    network.cuda()
    text = {"text": torch.linspace(-1, 1, 80, device="cuda").view(1, 5, 16)} if kind == "unet" else {}
    torch.set_default_device("cuda")  # where the runner makes its labels
    try:
        with full_float32(x.cuda().device), compressed(network, spec):
            outputs = [run(network, x.cuda(), t.cuda(), **text) for _ in range(3)]
    finally:
        torch.set_default_device(None)
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    torch.testing.assert_close(outputs[0].cpu(), expected, rtol=1e-3, atol=1e-4)
