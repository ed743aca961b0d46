from __future__ import annotations

import compress_loops as loops
import pytest
import torch
import torch.nn.functional as F
from compress_cases import DTYPES, grids, plan_of, tokens
from hypothesis import given
from hypothesis import strategies as st

from bigain_cli.compress import parse
from bigain_cli.compress.patching import operator
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.spec import Term

factors = st.integers(1, 5)
alphas = st.sampled_from([-0.5, 0.0, 0.3, 0.9, 1.0, 1.2])
seeds = st.integers(0, 2**20)


@given(grids, factors, alphas, seeds)
def test_keys_agree_with_loops(grid: Grid, factor: int, alpha: float, seed: int) -> None:
    x = tokens(2, grid.n, 3, seed)
    term = Term("iekvd", factor, alpha=(alpha, alpha))
    keys = plan_of(term, x, grid).keys(x)
    assert operator(term).counts(grid) == (grid.n, keys.shape[1])
    for row in range(2):
        expected = torch.from_numpy(loops.mixed(x[row].numpy(), *grid, factor, alpha))
        torch.testing.assert_close(keys[row].double(), expected, rtol=1e-5, atol=1e-5)


@given(grids, factors, st.sampled_from(DTYPES), seeds)
def test_the_ends_are_the_baselines(grid: Grid, factor: int, dtype: torch.dtype, seed: int) -> None:
    x = tokens(2, grid.n, 3, seed, dtype)
    for name, alpha in (("todo", 1.0), ("avg", 0.0)):
        keys = plan_of(Term(name, factor), x, grid).keys(x)
        assert torch.equal(keys, plan_of(Term("iekvd", factor, alpha=(alpha, alpha)), x, grid).keys(x))
        assert keys.dtype == dtype


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), seeds)
def test_whole_cells_are_torchs_own(h: int, w: int, factor: int, seed: int) -> None:
    grid = Grid(h * factor, w * factor)
    x = tokens(2, grid.n, 3, seed)
    image = x.mT.unflatten(2, grid)
    nearest = F.interpolate(image, size=(h, w), mode="nearest-exact").flatten(2).mT
    average = F.adaptive_avg_pool2d(image, (h, w)).flatten(2).mT
    assert torch.equal(plan_of(Term("todo", factor), x, grid).keys(x), nearest)
    torch.testing.assert_close(plan_of(Term("avg", factor), x, grid).keys(x), average)


def test_nearest_is_the_bottom_right_of_a_two_by_two_cell() -> None:
    x = torch.arange(16.0).view(1, 16, 1)
    assert plan_of(Term("todo", 2), x, Grid(4, 4)).keys(x).flatten().tolist() == [5, 7, 13, 15]


def test_a_border_cell_is_sampled_and_averaged_inside_itself() -> None:
    x = torch.arange(25.0).view(1, 25, 1)
    nearest, average = (plan_of(Term(name, 3), x, Grid(5, 5)).keys(x).flatten().tolist() for name in ("todo", "avg"))
    assert nearest == [6, 9, 21, 24]
    assert average == [6, 8.5, 18.5, 21]


@given(grids, factors, st.sampled_from(DTYPES), alphas)
def test_factor_1_changes_nothing(grid: Grid, factor: int, dtype: torch.dtype, alpha: float) -> None:
    x = tokens(2, grid.n, 3, dtype=dtype)
    for term in (
        Term("iekvd", 1, alpha=(alpha, alpha)),
        Term("iekvd", 1, alpha=(alpha, 1.0)),
        Term("todo", 1),
        Term("avg", 1),
    ):
        assert torch.equal(plan_of(term, x, grid).keys(x), x)


@given(grids, factors, st.permutations(range(4)), alphas, alphas, st.sampled_from(DTYPES))
def test_each_row_has_its_own_time(
    grid: Grid, factor: int, order: list[int], noisy: float, clean: float, dtype: torch.dtype
) -> None:
    x, t = tokens(4, grid.n, 3, dtype=dtype), torch.tensor([0.0, 10, 500, 999])
    term = Term("iekvd", factor, alpha=(noisy, clean))
    keys = plan_of(term, x, grid, t=t).keys(x)
    assert torch.equal(plan_of(term, x[order], grid, t=t[order]).keys(x[order]), keys[order])
    for row in range(4):
        one = slice(row, row + 1)
        assert torch.equal(plan_of(term, x[one], grid, t=t[one]).keys(x[one])[0], keys[row])


def test_a_schedule_runs_from_the_noisy_to_the_clean_end_and_beyond() -> None:
    x, grid = tokens(4, 16, 3), Grid(4, 4)
    t = torch.tensor([1000.0, 0.0, 250.0, 2000.0])
    keys = plan_of(parse("iekvd:2@0.8:1.2").terms[0], x, grid, t=t).keys(x)
    for row, alpha in enumerate((0.8, 1.2, 1.1, 0.4)):
        one = x[row : row + 1]
        expected = plan_of(Term("iekvd", 2, alpha=(alpha, alpha)), one, grid).keys(one)
        torch.testing.assert_close(keys[row : row + 1], expected)


def test_queries_keep_every_token() -> None:
    x, grid = tokens(1, 16, 3), Grid(4, 4)
    plan = plan_of(parse("iekvd:2").terms[0], x, grid)
    assert plan.query(x) is x and plan.restore(x) is x and plan.bias(x) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_low_precision_is_as_good_as_rounding(dtype: torch.dtype) -> None:
    x, grid, t = tokens(2, 49, 8, dtype=dtype), Grid(7, 7), torch.tensor([100.0, 900.0])
    for text in ("iekvd:2@0.9", "iekvd:2@0.8:1.2"):
        term = parse(text).terms[0]
        exact = plan_of(term, x.double().float(), grid, t=t).keys(x.float())
        torch.testing.assert_close(
            plan_of(term, x, grid, t=t).keys(x).float(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps
        )
