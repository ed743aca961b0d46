"""tomesd is the oracle for `tome@fixed`: the same clusters and the same bytes."""

from __future__ import annotations

import pytest
import tomesd
import torch
from compress_cases import plan_of, tokens
from compress_nets import latents, run_unet, unet
from hypothesis import given
from hypothesis import strategies as st
from tomesd.merge import bipartite_soft_matching_random2d

from bigain_cli.compress import compressed
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.spec import Term

quarters = st.sampled_from([0.25, 0.5, 0.75])


@given(st.integers(2, 17), st.integers(2, 17), quarters, st.integers(1, 3), st.integers(2, 40), st.integers(0, 999))
def test_clusters_and_bytes_are_equal(h: int, w: int, ratio: float, b: int, c: int, seed: int) -> None:
    grid = Grid(h, w)
    metric, payload = tokens(b, grid.n, c, seed), tokens(b, grid.n, c, seed + 1)
    merge, unmerge = bipartite_soft_matching_random2d(metric, w, h, 2, 2, int(grid.n * ratio), no_rand=True)
    plan = plan_of(Term("tome", ratio, "fixed"), metric, grid)
    theirs, ours = merge(payload), plan.query(payload)
    assert torch.equal(plan.restore(ours), unmerge(theirs))
    for row in range(b):
        assert sorted(map(tuple, ours[row].tolist())) == sorted(map(tuple, theirs[row].tolist()))


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("grid", [Grid(64, 64), Grid(33, 47)])
def test_at_the_size_of_stable_diffusion(ratio: float, grid: Grid) -> None:
    metric, payload = tokens(1, grid.n, 80), tokens(1, grid.n, 80, 1)
    merge, unmerge = bipartite_soft_matching_random2d(metric, grid.w, grid.h, 2, 2, int(grid.n * ratio), no_rand=True)
    plan = plan_of(Term("tome", ratio, "fixed"), metric, grid)
    assert torch.equal(plan.restore(plan.query(payload)), unmerge(merge(payload)))


@pytest.mark.parametrize(
    ("suffix", "more"), [("", {}), ("+mlp", {"merge_mlp": True}), ("+cross", {"merge_crossattn": True})]
)
def test_a_whole_network_agrees(suffix: str, more: dict[str, bool]) -> None:
    """Only the order of summation inside attention differs."""
    network, x = unet(), latents(2)
    plain = run_unet(network, x)
    tomesd.apply_patch(network, ratio=0.5, use_rand=False, **more)
    theirs = run_unet(network, x)
    tomesd.remove_patch(network)
    with compressed(network, f"tome:0.5@fixed{suffix}"):
        ours = run_unet(network, x)
    assert (theirs - plain).abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
