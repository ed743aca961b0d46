"""What a compression does, before anything runs: per site and in all, tokens and FLOPs before and after.

In: the sites with their operators, a latent's size; out: a Report to print or to keep in a record.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from bigain_cli.compress.flops import Tokens, forward_flops, site_flops
from bigain_cli.compress.plan import Grid, Operator
from bigain_cli.compress.sites import Assignment
from bigain_cli.compress.spec import Spec, Term


@dataclass(frozen=True)
class SiteReport:
    """One block that is touched; FLOPs are per sample and include the matching."""

    name: str
    level: int
    grid: Grid
    tokens: int
    queries: int  # tokens after merging
    keys: int  # tokens that keys and values are made from
    flops_before: int
    flops_after: int
    matching: int  # spent on the plan; a shared plan spends it once per draw

    @property
    def saved(self) -> float:
        """Return the saved share of this block."""
        return 1 - self.flops_after / self.flops_before


@dataclass(frozen=True)
class Report:
    """Everything a spec does to one network at one size."""

    spec: str
    network: str
    latent: Grid
    context: int  # text tokens
    sites: tuple[SiteReport, ...]
    flops_before: int  # of the whole forward pass
    blocks: int  # sites the network has
    notes: tuple[str, ...] = ()

    @property
    def flops_after(self) -> int:
        """Return what the whole forward pass takes now."""
        return self.flops_before - sum(site.flops_before - site.flops_after for site in self.sites)

    @property
    def matching(self) -> int:
        """Return what all plans take."""
        return sum(site.matching for site in self.sites)

    @property
    def saved(self) -> float:
        """Return the saved share of the whole forward pass."""
        return 1 - self.flops_after / self.flops_before

    def warn(self) -> None:
        """Say aloud where less moves than was asked for."""
        for note in self.notes:
            warnings.warn(note, stacklevel=3)

    def summary(self) -> dict[str, Any]:
        """Return what a record says: where, how many tokens (each size once), and what a forward pass takes."""
        tokens = sorted({(site.tokens, site.queries, site.keys) for site in self.sites}, reverse=True)
        gflop = [round(flops / 1e9, 3) for flops in (self.flops_before, self.flops_after)]
        sites = {"sites": len(self.sites), "of": self.blocks, "tokens": [list(row) for row in tokens]}
        return {**sites, "gflop": gflop, "saved": round(self.saved, 4)}

    def to_dict(self) -> dict[str, Any]:
        """Return the whole report, site by site."""
        whole = {"flops_before": self.flops_before, "flops_after": self.flops_after, "saved": round(self.saved, 4)}
        sites = [asdict(site) | {"grid": list(site.grid)} for site in self.sites]
        about = {"compress": self.spec, "latent": list(self.latent), "context": self.context}
        return about | whole | {"matching": self.matching, "sites": sites, "notes": list(self.notes)}

    def __str__(self) -> str:
        head = ("site", "grid", "tokens", "keys", "GFLOP", "saved")
        rows = [head, *(_row(site) for site in self.sites)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self._total(), *self.notes])

    def _total(self) -> str:
        matched = f", matching {_giga(self.matching)} of it" if self.matching else ""
        return (
            f"{self.spec} at {len(self.sites)} of {self.blocks} blocks of {self.network}, latent "
            f"{self.latent.h}x{self.latent.w}: {_giga(self.flops_before)} -> {_giga(self.flops_after)} GFLOP "
            f"per forward ({self.saved:.1%} saved{matched})"
        )


def _row(site: SiteReport) -> tuple[str, ...]:
    grid, tokens = f"{site.grid.h}x{site.grid.w}", f"{site.tokens} -> {site.queries}"
    cost = f"{_giga(site.flops_before)} -> {_giga(site.flops_after)}"
    return site.name, grid, tokens, f"{site.tokens} -> {site.keys}", cost, f"{site.saved:.1%}"


def _giga(flops: int) -> str:
    return f"{flops / 1e9:.4g}"


@dataclass(frozen=True)
class Survey:
    """A spec on a network, ready to be measured out."""

    spec: Spec
    root: Any
    latent: Grid  # as configured
    work: tuple[Assignment, ...]
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

    def _site(self, work: Assignment, latent: Grid, context: int, planned: set[int]) -> SiteReport:
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

    def _counts(self, work: Assignment, grid: Grid) -> tuple[int, int]:
        """Return tokens for queries and for keys."""
        m = self.operators[work.merging].counts(grid).queries if work.merging else grid.n
        return m, self.operators[work.pooling].counts(grid).keys if work.pooling else m

    def _notes(self, work: Assignment, latent: Grid) -> list[str]:
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
