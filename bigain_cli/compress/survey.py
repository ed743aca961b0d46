"""From the work at each block to the report: tokens and FLOPs at a latent's size.

In: a spec as assigned to a network; out: a Report. Runs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bigain_cli.compress.flops import Tokens, forward_flops, site_flops
from bigain_cli.compress.plan import Grid, Operator
from bigain_cli.compress.report import Report, SiteReport
from bigain_cli.compress.selection import Work
from bigain_cli.compress.spec import Spec, Term


@dataclass(frozen=True)
class Survey:
    """A spec on a network, ready to be measured out."""

    spec: Spec
    root: Any
    latent: Grid  # as configured
    work: tuple[Work, ...]
    operators: dict[Term, Operator]
    blocks: int

    def moves(self) -> bool:
        """Say whether any token moves."""
        grids = [(item, item.site.grid(self.latent)) for item in self.work]
        return any(self._counts(item, grid) != (grid.n, grid.n) for item, grid in grids)

    def report(self, latent: Grid, context: int) -> Report:
        """Measure it out for a latent's size."""
        planned: set[int] = set()  # levels whose one plan is counted
        sites = tuple(self._site(item, latent, context, planned) for item in self.work)
        before = forward_flops(self.root, latent, context)
        notes = tuple(dict.fromkeys(note for item in self.work for note in self._notes(item, latent)))
        return Report(str(self.spec), type(self.root).__name__, latent, context, sites, before, self.blocks, notes)

    def _site(self, work: Work, latent: Grid, context: int, planned: set[int]) -> SiteReport:
        site, grid = work.site, work.site.grid(latent)
        n, (m, k), term = grid.n, self._counts(work, grid), work.merging
        after = Tokens(m, k, m if term and term.cross else n, m if term and term.mlp else n)
        matching = 0
        if term and not (term.share == "level" and site.level in planned):
            matching = self.operators[term].flops(grid, site.width)
            planned.add(site.level)
        before = site_flops(site, Tokens(n, n, n, n), context)
        total = site_flops(site, after, context) + matching
        return SiteReport(site.name, site.level, grid, n, m, k, before, total, matching)

    def _counts(self, work: Work, grid: Grid) -> tuple[int, int]:
        """Return tokens for queries and for keys."""
        m = self.operators[work.merging].counts(grid).queries if work.merging else grid.n
        return m, self.operators[work.pooling].counts(grid).keys if work.pooling else m

    def _notes(self, work: Work, latent: Grid) -> list[str]:
        """Say where less moves than was asked for, by more than a cell's tokens: some operators take whole cells."""
        term, grid = work.merging, work.site.grid(latent)
        if term is None:
            return []
        moved = grid.n - self.operators[term].counts(grid).queries
        asked = int(term.amount * grid.n)
        if moved > asked - math.prod(term.stride):
            return []
        cell = "x".join(map(str, term.stride))
        left = f"{moved} of {grid.n} tokens leave at {grid.h}x{grid.w}"
        return [f"{term.name}: {left}, not {asked}: of each {cell} one stays."]
