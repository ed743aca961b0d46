"""SDXL, PixArt, SD3, FLUX, Chroma and PRX at their published sizes: what a pass costs, and what is taken off it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from flop_counting import counting_flops
from published_networks import published, run_published

from bigain_cli.compress import compressed
from bigain_cli.compress.flops import forward_flops
from bigain_cli.compress.plan import Grid

ROOT = Path(__file__).parents[2]
# name, the latent's side, text tokens, parameters in millions, GFLOP of a pass
COSTS = [
    ("sdxl", 128, 77, 2567.46, 6761.24),
    ("pixart-alpha-512", 64, 120, 610.86, 1235.99),
    ("sd3-medium", 128, 154, 2028.33, 8437.36),
    ("sd3.5-medium", 128, 333, 2243.17, 11249.57),
    ("flux-dev", 128, 512, 11901.41, 74384.65),
    ("chroma", 128, 512, 8899.98, 74569.50),
    ("prx-256", 32, 256, 1170.69, 451.96),
]


@pytest.mark.parametrize(("name", "side", "context", "millions", "gflop"), COSTS)
def test_sizes_and_costs_are_those_that_are_published(
    name: str, side: int, context: int, millions: float, gflop: float
) -> None:
    network = published(name)
    assert sum(each.numel() for each in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    assert forward_flops(network, Grid(side, side), context) / 1e9 == pytest.approx(gflop, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side", "context"), [cost[:3] for cost in COSTS if cost[0] != "sd3-medium"])
def test_torch_counts_what_is_predicted(name: str, side: int, context: int) -> None:
    network = published(name)
    with (
        compressed(network, "lgtm:0.5+mlp+iekvd:2", latent=(side, side)) as compression,
        counting_flops() as counted,
    ):
        run_published(network, side, context)
    report = compression.report((side, side), context)
    assert report.flops_after == pytest.approx(counted.get_total_flops(), rel=1e-6)
    assert 0 < report.saved < 0.75


@pytest.mark.slow
def test_the_table_in_the_docs_is_what_its_command_prints() -> None:
    command = [sys.executable, str(ROOT / "tools" / "compression_savings.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert f"<!-- savings -->\n{printed.stdout}<!-- end of savings -->" in (ROOT / "docs" / "compress.md").read_text()
