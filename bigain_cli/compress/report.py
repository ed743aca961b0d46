"""What a compression does, predicted: tokens and FLOPs before and after, per site and in total.

In: the sites with their operators, a latent's size; out: a Report to print or to store in a record. Runs no network.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bigain_cli.compress.assignment import Assignment
from bigain_cli.compress.flops import flops_before_block, flops_before_text, forward_flops
from bigain_cli.compress.operation_counts import attention_flops
from bigain_cli.compress.plan import Grid, Operator
from bigain_cli.compress.site import Tokens
from bigain_cli.compress.spec import Spec, Term


@dataclass(frozen=True)
class SiteReport:
    """One compressed block; FLOPs are per sample and include the matching."""

    name: str
    level: int
    grid: Grid
    tokens: int
    queries: int  # tokens after merging
    keys: int  # tokens that keys and values are made from
    flops_before: int
    flops_after: int
    matching: int  # FLOPs of making the plan
    shared: bool  # whether its plan is made once per draw, for all labels
    before_text: int  # FLOPs before the network reads any text, of those before
    before_text_after: int  # and of those after

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
    before_text: int  # of these: before the network reads any text
    blocks: int  # sites the network has
    planning: int  # FLOPs of a compressed forward pass up to the last plan that labels share; 0 without any
    notes: tuple[str, ...] = ()

    @property
    def flops_after(self) -> int:
        """Return the FLOPs of the whole compressed forward pass."""
        return self.flops_before - sum(site.flops_before - site.flops_after for site in self.sites)

    @property
    def before_text_after(self) -> int:
        """Return the FLOPs of the compressed forward pass before it reads any text."""
        return self.before_text - sum(site.before_text - site.before_text_after for site in self.sites)

    @property
    def matching(self) -> int:
        """Return the FLOPs of making all plans."""
        return sum(site.matching for site in self.sites)

    @property
    def saved(self) -> float:
        """Return the saved share of the whole forward pass."""
        return 1 - self.flops_after / self.flops_before

    def warn(self) -> None:
        """Warn where fewer tokens are merged than the spec requests."""
        for note in self.notes:
            warnings.warn(note, stacklevel=3)

    def summary(self) -> dict[str, Any]:
        """Return the short form for records: sites, token counts (each size once), and GFLOP per forward pass."""
        tokens = sorted({(site.tokens, site.queries, site.keys) for site in self.sites}, reverse=True)
        gflop = [round(flops / 1e9, 3) for flops in (self.flops_before, self.flops_after)]
        sites = {"sites": len(self.sites), "of": self.blocks, "tokens": [list(row) for row in tokens]}
        return {**sites, "gflop": gflop, "saved": round(self.saved, 4)}

    def to_dict(self) -> dict[str, Any]:
        """Return the whole report, site by site."""
        whole = {"flops_before": self.flops_before, "flops_after": self.flops_after, "saved": round(self.saved, 4)}
        whole |= {"before_text": self.before_text, "before_text_after": self.before_text_after}
        whole |= {"planning": self.planning}
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
        shared = (
            f", {_giga(self.before_text_after)} of them before the prompt, once per draw" if self.before_text else ""
        )
        return (
            f"{self.spec} at {len(self.sites)} of {self.blocks} blocks of {self.network}, latent "
            f"{self.latent.h}x{self.latent.w}: {_giga(self.flops_before)} -> {_giga(self.flops_after)} GFLOP "
            f"per forward ({self.saved:.1%} saved{matched}){shared}"
        )


def _row(site: SiteReport) -> tuple[str, ...]:
    grid, tokens = f"{site.grid.h}x{site.grid.w}", f"{site.tokens} -> {site.queries}"
    cost = f"{_giga(site.flops_before)} -> {_giga(site.flops_after)}"
    return site.name, grid, tokens, f"{site.tokens} -> {site.keys}", cost, f"{site.saved:.1%}"


def _giga(flops: int) -> str:
    return f"{flops / 1e9:.4g}"


def _shares(assignment: Assignment) -> bool:
    """Say whether all labels of a draw share the plan of a site."""
    return assignment.merging is not None and assignment.merging.shared


@dataclass(frozen=True)
class AppliedSpec:
    """A spec on a network: which terms act at which sites; reports for any size of the latent."""

    spec: Spec
    root: Any
    latent: Grid  # as configured
    assignments: tuple[Assignment, ...]
    operators: dict[Term, Operator]
    blocks: int

    def moves_tokens(self) -> bool:
        """Say whether any token is merged or pooled."""
        grids = [(each, each.site.grid(self.latent)) for each in self.assignments]
        return any(self._counts(each, grid) != (grid.n, grid.n) for each, grid in grids)

    def report(self, latent: Grid, context: int) -> Report:
        """Return the report for a latent's size."""
        planned: set[str] = set()  # the plans that are counted
        sites = tuple(self._site_report(each, latent, context, planned) for each in self.assignments)
        before = (forward_flops(self.root, latent, context), flops_before_text(self.root, latent))
        notes = tuple(dict.fromkeys(note for each in self.assignments for note in self._notes(each, latent)))
        planning = self._planning(sites, latent, context)
        name = type(self.root).__name__
        return Report(str(self.spec), name, latent, context, sites, *before, self.blocks, planning, notes)

    def _planning(self, sites: Sequence[SiteReport], latent: Grid, context: int) -> int:
        """Return the operations of a forward that ends with the last plan that labels share."""
        first = {each.key: number for number, each in reversed(list(enumerate(self.assignments))) if _shares(each)}
        if not first:
            return 0
        last = max(first.values())  # the number of the site that makes it
        site, n = self.assignments[last].site, sites[last].tokens
        term = self.assignments[last].merging
        mlp = term is not None and term.mlp
        before = flops_before_block(self.root, latent, context, site.block)
        before += site.kind.flops_before_plan(site.block, n, context, mlp)
        return before - sum(each.flops_before - each.flops_after for each in sites[:last]) + sites[last].matching

    def _site_report(self, assignment: Assignment, latent: Grid, context: int, planned: set[str]) -> SiteReport:
        site, grid, term = assignment.site, assignment.site.grid(latent), assignment.merging
        n, (m, k) = grid.n, self._counts(assignment, grid)
        after = Tokens(m, k, m if term and term.cross else n, m if term and term.mlp else n)
        matching = 0
        if term and assignment.key not in planned:
            matching = self.operators[term].flops(grid, site.width)
            planned.add(assignment.key)
        before = site.kind.flops(site.block, Tokens.all(n), context)
        total = site.kind.flops(site.block, after, context) + matching
        early = (0, 0)
        if site.place.ends_before_text:
            early = site.kind.flops(site.block, Tokens.all(n), 1), site.kind.flops(site.block, after, 1) + matching
        elif site.place.before_text:
            early = attention_flops(site.attention, n, n), attention_flops(site.attention, m, k) + matching
        shared = _shares(assignment)
        return SiteReport(site.name, site.level, grid, n, m, k, before, total, matching, shared, *early)

    def _counts(self, assignment: Assignment, grid: Grid) -> tuple[int, int]:
        """Return the numbers of tokens for queries and for keys."""
        merging, pooling = assignment.merging, assignment.pooling
        m = self.operators[merging].counts(grid).queries if merging else grid.n
        return m, self.operators[pooling].counts(grid).keys if pooling else m

    def _notes(self, assignment: Assignment, latent: Grid) -> list[str]:
        """Report a `+cross` without effect, and a shortfall of a cell or more: some operators merge whole cells."""
        term, grid, site = assignment.merging, assignment.site.grid(latent), assignment.site
        if term is None:
            return []
        idle = term.cross and not site.kind.has_cross_attention(site.block)
        notes = [f"{term.name}: '+cross' does nothing on this model: it has no cross-attention."] if idle else []
        merged = grid.n - self.operators[term].counts(grid).queries
        requested = int(term.amount * grid.n)
        if merged > requested - math.prod(term.stride):
            return notes
        cell = "x".join(map(str, term.stride))
        left = f"{merged} of {grid.n} tokens leave at {grid.h}x{grid.w}"
        return [*notes, f"{term.name}: {left}, not {requested}: of each {cell} one stays."]
