"""What the operator tests draw from: grids, tokens and terms; and one way to ask an operator for a plan."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from bigain_cli.compress.patching import operator
from bigain_cli.compress.plan import Grid, MergePlan, Plan, PlanRows
from bigain_cli.compress.spec import Term

DTYPES = [torch.float32, torch.bfloat16, torch.float16]

grids = st.builds(Grid, st.integers(1, 9), st.integers(1, 9))
strides = st.tuples(st.integers(1, 3), st.integers(1, 3))
ratios = st.one_of(st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.7, 0.75, 0.9, 1.0]), st.floats(0, 1))
merging_names = st.sampled_from(["lgtm", "tome", "sito", "abm"])


@st.composite
def mergings(draw: st.DrawFn, names: st.SearchStrategy[str] = merging_names, varied: bool = True) -> Term:
    name = draw(names)
    options: dict[str, object] = {"stride": draw(strides)}
    if name in ("lgtm", "abm"):
        options["pad"] = draw(st.sampled_from(["zero", "replicate"]))
    if name == "abm":
        options["pool"] = draw(st.sampled_from(["sum", "max"]))
    if name == "lgtm":
        options["gate"] = draw(st.sampled_from([0.0, 0.3, 2.0]))
        options["variant"] = draw(st.sampled_from(["", "compat"]))
    if name == "tome":
        options["variant"] = draw(st.sampled_from(["", "fixed"]))
    if name != "sito" and varied:
        options["mode"] = draw(st.sampled_from(["mean", "prune", "mlerp"]))
    return Term(name, draw(ratios), **options)  # type: ignore[arg-type]


def tokens(b: int, n: int, c: int, seed: int = 0, dtype: torch.dtype = torch.float32, steps: int = 0) -> Tensor:
    """Make random tokens; with `steps`, small whole numbers, among which ties are frequent."""
    generator = torch.Generator().manual_seed(seed)
    if steps:
        return torch.randint(-steps, steps + 1, (b, n, c), generator=generator).to(dtype)
    return torch.randn(b, n, c, generator=generator).to(dtype)


def plan_of(term: Term, x: Tensor, grid: Grid, seeds: Tensor | None = None, t: Tensor | None = None) -> Plan:
    b = len(x)
    seeds = torch.arange(b) * 2**40 + 5 if seeds is None else seeds
    t = torch.linspace(0, 999, b) if t is None else t
    return operator(term).plan(x, grid, PlanRows(t, seeds, 1000, 3, torch.arange(b)))


def leaves(plan: MergePlan, row: int = 0) -> dict[int, int]:
    """Read a plan as: which token leaves for which."""
    keep = plan.keep[row].tolist()
    return {s: keep[d] for s, d in zip(plan.source[row].tolist(), plan.target[row].tolist(), strict=True)}
