from __future__ import annotations

import compress_loops as loops
import pytest
import torch
from compress_cases import DTYPES, grids, leaves, mergings, plan_of, strides, tokens
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bigain_cli.compress import parse
from bigain_cli.compress.patching import operator
from bigain_cli.compress.plan import Grid, MergePlan, compact
from bigain_cli.compress.spec import Term
from bigain_cli.compress.token_scores import (
    cell_count,
    cell_tokens,
    fixed_order_sum,
    fixed_point,
    hash_numbers,
    laplacian,
    most_similar,
    unique_sort_keys,
)

rows = st.integers(1, 4)
channels = st.sampled_from([1, 2, 3, 5, 8, 13])
seeds = st.integers(0, 2**20)
TENSORS = ("keep", "source", "target", "cluster", "size")


def same(a: MergePlan, b: MergePlan) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in TENSORS)


@given(mergings(), grids, rows, channels, seeds)
def test_the_requested_number_of_tokens_is_merged(term: Term, grid: Grid, b: int, c: int, seed: int) -> None:
    plan = plan_of(term, x := tokens(b, grid.n, c, seed), grid)
    if term.name == "abm":
        left = len(loops.abm(term, x[0].numpy(), *grid))
    else:
        left = loops.leaving(term, grid.n, (grid.h // term.stride[0]) * (grid.w // term.stride[1]))
    assert plan.query(x).shape == (b, grid.n - left, c)
    assert operator(term).counts(grid) == (grid.n - left, grid.n - left)
    for row in range(b):
        moved = leaves(plan, row)
        assert len(moved) == left
        assert sorted([*moved, *plan.keep[row].tolist()]) == list(range(grid.n))
        assert not set(moved.values()) & set(moved)
        heads = [moved.get(token, token) for token in range(grid.n)]
        assert plan.keep[row][plan.cluster[row]].tolist() == heads
        assert plan.size[row].tolist() == [heads.count(token) for token in plan.keep[row].tolist()]


@given(mergings(), grids, rows, channels, seeds, st.sampled_from(DTYPES))
def test_constants_are_kept(term: Term, grid: Grid, b: int, c: int, seed: int, dtype: torch.dtype) -> None:
    plan = plan_of(term, tokens(b, grid.n, c, seed, dtype), grid)
    constant = tokens(b, 1, c, seed + 1, dtype).expand(b, grid.n, c)
    torch.testing.assert_close(plan.restore(plan.query(constant)), constant, rtol=2 * torch.finfo(dtype).eps, atol=0)


@given(mergings(varied=False).filter(lambda term: term.name != "sito"), grids, rows, channels, seeds)
def test_the_mean_keeps_the_sum(term: Term, grid: Grid, b: int, c: int, seed: int) -> None:
    x = tokens(b, grid.n, c, seed)
    plan = plan_of(term, x, grid)
    restored = plan.restore(plan.query(x.double().float())).double()
    torch.testing.assert_close(restored.sum(1), x.double().sum(1), rtol=0, atol=1e-5 * grid.n)


@given(mergings(), grids, channels, seeds, st.sampled_from(DTYPES), st.permutations(range(4)), st.integers(0, 2))
def test_a_plan_does_not_depend_on_its_batch(
    term: Term, grid: Grid, c: int, seed: int, dtype: torch.dtype, order: list[int], steps: int
) -> None:
    x, operator_seeds, t = (
        tokens(4, grid.n, c, seed, dtype, steps),
        torch.tensor([3, 1, 4, 1]),
        torch.tensor([1.0, 2, 2, 4]),
    )
    whole = plan_of(term, x, grid, operator_seeds, t)
    shuffled = plan_of(term, x[order], grid, operator_seeds[order], t[order])
    assert same(whole.select(torch.tensor(order)), shuffled)
    for row in range(4):
        one = slice(row, row + 1)
        alone = plan_of(term, x[one], grid, operator_seeds[one], t[one])
        assert same(whole.select(torch.tensor([row])), alone)
        merged, own = whole.query(x)[row], alone.query(x[one])[0]
        assert torch.equal(merged, own)
        assert torch.equal(whole.restore(whole.query(x))[row], alone.restore(own[None])[0])


@given(mergings(), grids, rows, channels, seeds, st.integers(0, 3))
def test_the_same_seed_gives_the_same_bytes(term: Term, grid: Grid, b: int, c: int, seed: int, steps: int) -> None:
    x = tokens(b, grid.n, c, seed, steps=steps)
    assert same(plan_of(term, x, grid), plan_of(term, x.clone(), grid))


@given(mergings(st.just("lgtm")), grids, channels, seeds, st.integers(0, 3))
def test_lgtm_agrees_with_loops(term: Term, grid: Grid, c: int, seed: int, steps: int) -> None:
    x = tokens(2, grid.n, c, seed, steps=steps)
    plan = plan_of(term, x, grid)
    for row in range(2):
        assert leaves(plan, row) == loops.lgtm(term, x[row].numpy(), *grid)


@given(mergings(st.sampled_from(["sito", "abm"])), grids, channels, seeds, st.integers(0, 3))
def test_sito_and_abm_agree_with_loops(term: Term, grid: Grid, c: int, seed: int, steps: int) -> None:
    x = tokens(2, grid.n, c, seed, steps=steps)
    plan = plan_of(term, x, grid)
    for row in range(2):
        assert leaves(plan, row) == getattr(loops, term.name)(term, x[row].numpy(), *grid)


def test_a_cell_with_one_edge_is_rough_by_its_maximum_and_smooth_by_its_sum() -> None:
    """By hand: sums 4 · 10 and 30, maxima 10 and 30."""
    score = torch.tensor([[10.0, 10, 0, 30, 10, 10, 0, 0]])  # two rows of two cells of 2×2
    grid = Grid(2, 4)
    for pool, first in (("sum", 2), ("max", 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bigain_cli.compress.token_merging.laplacian", lambda x, grid, pad: score)
            plan = plan_of(Term("abm", 0.375, pool=pool), torch.zeros(1, 8, 1), grid)
        assert set(leaves(plan).values()) == {first}, pool


@given(mergings(st.just("tome")).filter(lambda term: not term.variant), grids, channels, seeds)
def test_tome_matches_to_one_token_of_each_cell(term: Term, grid: Grid, c: int, seed: int) -> None:
    x = tokens(1, grid.n, c, seed)
    moved = leaves(plan_of(term, x, grid))
    table = loops.cell_tokens(*grid, term.stride)
    full = leaves(plan_of(Term("tome", 1.0, stride=term.stride), x, grid))
    stay = [token for token in range(grid.n) if token not in full]
    if table:
        assert all(len(set(cell) & set(stay)) == 1 for cell in table)
        assert len(stay) == len(table)
        assert moved == loops.matched(x[0].numpy(), [next(t for t in cell if t in stay) for cell in table], len(moved))


@given(mergings(), grids, rows, channels, seeds)
def test_values_agree_with_loops(term: Term, grid: Grid, b: int, c: int, seed: int) -> None:
    plan, payload = plan_of(term, tokens(b, grid.n, c, seed), grid), tokens(b, grid.n, c, seed + 1)
    restored = plan.restore(plan.query(payload))
    mode = "prune" if term.name == "sito" else term.mode
    for row in range(b):
        expected = torch.from_numpy(loops.reduced(payload[row].numpy(), leaves(plan, row), mode))
        torch.testing.assert_close(restored[row].double(), expected, rtol=1e-4, atol=1e-5)
        alone = [i for i in range(grid.n) if plan.size[row][plan.cluster[row][i]] == 1]
        assert torch.equal(restored[row][alone], payload[row][alone])


@given(grids, rows, channels, seeds)
def test_mlerp_has_the_largest_norm_of_its_cluster(grid: Grid, b: int, c: int, seed: int) -> None:
    plan = plan_of(Term("lgtm", 0.75, mode="mlerp"), tokens(b, grid.n, c, seed), grid)
    payload = tokens(b, grid.n, c, seed + 1)
    norms, found = payload.norm(dim=-1), plan.query(payload).norm(dim=-1)
    for row in range(b):
        for place in range(found.shape[1]):
            assert found[row, place] == pytest.approx(norms[row][plan.cluster[row] == place].max().item(), rel=1e-4)


@given(mergings(), grids, rows, st.sampled_from(DTYPES))
def test_ratio_0_changes_nothing(term: Term, grid: Grid, b: int, dtype: torch.dtype) -> None:
    x = tokens(b, grid.n, 3, dtype=dtype)
    plan = plan_of(Term(term.name, 0.0, term.variant, mode=term.mode, stride=term.stride), x, grid)
    assert torch.equal(plan.query(x), x)
    assert torch.equal(plan.restore(x), x)


@pytest.mark.parametrize(
    ("ratio", "grid", "left"), [(0.29, Grid(10, 10), 29), (0.7, Grid(2, 5), 7), (0.3, Grid(2, 5), 3)]
)
def test_a_ratio_means_what_is_written(ratio: float, grid: Grid, left: int) -> None:
    """0.29 of 100 is 29 and 0.7 of 10 is 7, whatever binary fractions say."""
    assert operator(Term("lgtm", ratio)).counts(grid).queries == grid.n - left


def test_the_unique_minimum_is_its_cells_destination() -> None:
    """The worked example: smooth at (1, 1), which the released indexing misses."""
    grid = Grid(8, 8)
    generator = torch.Generator().manual_seed(0)
    x = 10 * torch.randn(1, 8, 8, 4, generator=generator)
    x[0, 1, 1] = (x[0, 0, 1] + x[0, 2, 1] + x[0, 1, 0] + x[0, 1, 2]) / 4
    x = x.flatten(1, 2)
    assert laplacian(x, grid, "zero")[0].argmin() == 9
    stays = [n for n in (0, 1, 8, 9) if n not in leaves(plan_of(parse("lgtm:0.75").terms[0], x, grid))]
    assert stays == [9]
    compat = [n for n in (0, 1, 8, 9) if n not in leaves(plan_of(parse("lgtm:0.75@compat").terms[0], x, grid))]
    assert compat == [n for n in (0, 1, 8, 9) if n == (0, 1, 8, 9)[laplacian(x, grid, "zero")[0, :4].argmin()]] != [9]


def test_the_released_indexing_is_no_better_than_chance() -> None:
    """On random tokens three of four cells miss their minimum."""
    grid = Grid(32, 32)
    x = tokens(4, grid.n, 6)
    right, released = (plan_of(parse(f"lgtm:0.75{v}").terms[0], x, grid) for v in ("", "@compat"))
    kept = zip(right.keep.tolist(), released.keep.tolist(), strict=True)
    found = [len(set(ours) & set(theirs)) / 256 for ours, theirs in kept]
    assert 0.2 < sum(found) / 4 < 0.3


@given(grids, channels, seeds, strides)
def test_a_destination_is_the_smoothest_of_its_cell(grid: Grid, c: int, seed: int, stride: tuple[int, int]) -> None:
    assume(cell_count(grid, stride))
    x = tokens(1, grid.n, c, seed)
    full = plan_of(Term("lgtm", 1.0, stride=stride), x, grid)
    lowest = [
        min(cell, key=laplacian(x, grid, "zero")[0].tolist().__getitem__)
        for cell in cell_tokens(grid, stride, x.device).tolist()
    ]
    assert full.keep[0].tolist() == sorted(lowest)


@given(grids, st.sampled_from([16, 64, 320]), seeds)
def test_fixed_point_matching_is_almost_exact(grid: Grid, c: int, seed: int) -> None:
    """Whoever leaves goes to a destination whose true cosine is the best up to the rounding."""
    assume(cell_count(grid, (2, 2)))
    x = tokens(1, grid.n, c, seed)
    plan = plan_of(Term("lgtm", 1.0), x, grid)
    unit = torch.nn.functional.normalize(x[0].double(), dim=-1)
    likeness = unit @ unit[plan.keep[0]].T
    source = plan.source[0]
    assert (likeness[source].amax(1) - likeness[source, plan.target[0]]).max() < 2e-3


def test_the_gate_holds_rough_tokens_back() -> None:
    grid = Grid(16, 16)
    x = tokens(3, grid.n, 8)
    score = laplacian(x, grid, "zero")
    means = []
    for gate in (0.0, 0.3, 1.0, 10.0):
        plan = plan_of(Term("lgtm", 0.3, gate=gate), x, grid)
        means.append(score.gather(1, plan.source).mean().item())
    assert means == sorted(means, reverse=True) and means[0] > 1.05 * means[-1]


@given(grids, channels, st.sampled_from(["zero", "replicate"]))
def test_padding(grid: Grid, c: int, pad: str) -> None:
    """A constant image is smooth everywhere, unless its border meets zeros."""
    score = laplacian(torch.ones(1, grid.n, c), grid, pad).unflatten(1, grid)[0]
    assert (score[1:-1, 1:-1] == 0).all()
    assert (score == 0).all() if pad == "replicate" else score[0, 0] > 0


def test_random_destinations_follow_the_seed() -> None:
    grid, term = Grid(16, 16), parse("tome:0.75").terms[0]
    x, at = tokens(1, grid.n, 4).expand(4, -1, -1), torch.full((4,), 500.0)
    plan = plan_of(term, x, grid, torch.tensor([1, 2, 1, 1 + 2**33]), at)
    keep = plan.keep.tolist()
    assert keep[0] == keep[2] and keep[0] != keep[1] and keep[0] != keep[3]
    later = plan_of(term, x, grid, torch.tensor([1, 2, 1, 1]), at - 1)
    assert later.keep.tolist()[0] != keep[0]


def test_unshared_destinations_differ_in_every_row_and_forward() -> None:
    from bigain_cli.compress.plan import PlanRows

    grid, op = Grid(16, 16), operator(parse("tome:0.75@unshared").terms[0])
    x, zeros = tokens(1, grid.n, 4).expand(3, -1, -1), torch.zeros(3, dtype=torch.int64)
    plans = [op.plan(x, grid, PlanRows(zeros.float(), zeros, 1000, 0, torch.arange(3) + call)) for call in (0, 3)]
    assert len({tuple(row) for plan in plans for row in plan.keep.tolist()}) == 6


def test_hashes_are_even_and_known() -> None:
    """Pinned: other values would change published records."""
    assert hash_numbers(torch.arange(3), 0).tolist() == hash_numbers(torch.arange(3), torch.tensor(0)).tolist()
    assert hash_numbers(torch.tensor([0, 1, 2, -1]), 7).tolist() == PINNED
    places = torch.bincount(hash_numbers(torch.arange(40000), 1) % 4, minlength=4)
    assert ((places - 10000).abs() < 400).all()
    assert torch.bincount(hash_numbers(torch.arange(1000)[:, None], torch.arange(40)).flatten() % 9).float().std() < 150


PINNED = [3265177249, 216170444, 4203187068, 3712308410]


@pytest.mark.parametrize("c", [1, 2, 3, 7, 320, 1281])
def test_fixed_order_sums(c: int) -> None:
    x = tokens(1, 5, c, steps=9)
    assert torch.equal(fixed_order_sum(x), x.sum(-1))


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=30))
@example([0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf")])
def test_keys_order_as_numbers_and_break_ties_by_place(values: list[float]) -> None:
    keys = unique_sort_keys(torch.tensor([values]))[0].tolist()
    assert len(set(keys)) == len(keys)
    by_key = sorted(range(len(values)), key=lambda i: -keys[i])
    assert by_key == sorted(range(len(values)), key=lambda i: (-values[i], i))


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_compact_lists_what_is_set(mask: list[bool]) -> None:
    listed, number = compact(torch.tensor([mask]), sum(mask))
    assert listed[0].tolist() == [i for i, is_set in enumerate(mask) if is_set]
    assert [number[0, i].item() for i in listed[0]] == list(range(sum(mask)))


def test_matching_is_exact_at_any_batch_and_thread_count() -> None:
    """At these shapes float similarities change with the batch when two threads share the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for s, q, c in ((9, 35, 30), (7, 61, 175), (7, 59, 190), (700, 600, 320)):
            a, d = fixed_point(tokens(8, s, c)), fixed_point(tokens(8, q, c, 1))
            value, where = most_similar(a, d)
            exact = a.long() @ d.long().mT if s < 100 else (a.double() @ d.double().mT).long()
            assert torch.equal(value.long(), exact.amax(-1))
            assert torch.equal(where, exact.argmax(-1))
            alone = most_similar(a[3:4], d[3:4])
            assert torch.equal(alone[0][0], value[3]) and torch.equal(alone[1][0], where[3])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("chunk", [1, 2, 5, 64])
def test_matching_in_chunks_finds_the_first_of_equals(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigain_cli.compress.token_scores.CHUNK", chunk)
    a, d = tokens(3, 30, 2, steps=1), tokens(3, 20, 2, 1, steps=1)
    products = a @ d.mT
    value, where = most_similar(a, d)
    assert torch.equal(value, products.amax(-1)) and torch.equal(where, products.argmax(-1))


def test_matching_ignores_autocast() -> None:
    grid, term = Grid(8, 8), parse("lgtm:0.5").terms[0]
    x = tokens(1, grid.n, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = plan_of(term, x, grid)
    assert same(cast, plan_of(term, x, grid))


def test_proportional_attention_counts_tokens() -> None:
    grid = Grid(4, 4)
    x = tokens(2, 16, 3)
    plan = plan_of(Term("lgtm", 0.5, bias=True), x, grid)
    torch.testing.assert_close(plan.bias(x).exp()[:, 0], plan.size)
    assert plan_of(Term("lgtm", 0.5), x, grid).bias(x) is None


@given(grids, st.sampled_from([0.0, 1e-45, 1e-30, 1e-20, 1e20, 1e38]), seeds)
def test_any_magnitude_is_matched_alike(grid: Grid, scale: float, seed: int) -> None:
    """Powers of ten aside, cosines do not see a scale; zero, underflow and overflow do no harm."""
    units = fixed_point(tokens(1, grid.n, 6, seed).clamp(-2, 2) * scale)
    assert units.abs().max() <= 2047 and (units == units.round()).all()
    if scale > 1e-31:
        assert (units - fixed_point(tokens(1, grid.n, 6, seed).clamp(-2, 2))).abs().max() <= 1
