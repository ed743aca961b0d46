"""Which term acts at which block: by spatial level or by number, at most one merging and one pooling each.

In: a Spec and a network's sites; out: the Work, or a usage error that says what there is. Must not know tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bigain_cli.compress.sites import Site
from bigain_cli.compress.spec import Spec, Term
from bigain_cli.errors import UsageError

PUBLISHED = frozenset((*range(1, 6), *range(7, 12)))  # of 28 blocks of a DiT-XL/2, numbered from 0


@dataclass(frozen=True)
class Work:
    """What happens at one block."""

    site: Site
    merging: Term | None = None
    pooling: Term | None = None

    @property
    def key(self) -> str:
        """Name the plan that serves this block: its own, or that of all blocks of its level."""
        by_level = self.merging is not None and self.merging.share == "level"
        return f"{self.merging} at level {self.site.level}" if by_level else self.site.name


def assign(spec: Spec, sites: Sequence[Site]) -> list[Work]:
    """Give each site its terms; sites without any are left out, and so are terms that ask for nothing."""
    work: dict[int, Work] = {}
    for term in spec.terms:
        for site in _chosen(term, sites, spec):
            before = work.get(site.index, Work(site))
            if other := before.merging if term.merges else before.pooling:
                kind = "merge" if term.merges else "pool the keys"
                why = f"'{other.name}' and '{term.name}' would both {kind} at {site.name}"
                raise UsageError(f"compression '{spec}'", why, "Give them different levels= or blocks=.")
            work[site.index] = replace(before, merging=term) if term.merges else replace(before, pooling=term)
    for item in work.values():
        if item.merging and item.merging.bias and item.pooling:
            why = f"'@bias' counts merged keys, but at {item.site.name} '{item.pooling.name}' makes the keys"
            raise UsageError(f"compression '{spec}'", why, "Leave out '@bias', or give the terms different levels=.")
    effective = (_effective(work[index]) for index in sorted(work))
    return [item for item in effective if item.merging or item.pooling]


def _chosen(term: Term, sites: Sequence[Site], spec: Spec) -> list[Site]:
    if term.blocks is not None:
        missing = sorted(set(term.blocks) - {site.index for site in sites})
        if missing:
            why = f"there is no block {missing[0]} for '{term.name}'"
            raise UsageError(f"compression '{spec}'", why, f"This network has blocks 0 to {len(sites) - 1}.")
        found = [site for site in sites if site.index in term.blocks]
    elif term.levels is None and sites and sites[0].host is sites[0].root:
        found = [site for site in sites if site.index in PUBLISHED]
    else:
        most = float("inf") if term.levels == "all" else int(term.levels or 1)
        found = [site for site in sites if site.level <= most]
    if not found:
        raise UsageError(f"compression '{spec}'", f"'{term.name}' touches no block", _offer(sites))
    return found


def _offer(sites: Sequence[Site]) -> str:
    if not sites:
        return "This network has no self-attention over image tokens."
    if sites[0].host is sites[0].root:
        return f"This network has {len(sites)} blocks: add @levels=all or @blocks=0."
    levels = sorted({site.level for site in sites})
    return f"This network attends at levels {', '.join(map(str, levels))}: add @levels={levels[0]} or @levels=all."


def _effective(work: Work) -> Work:
    """Leave out a ratio of 0 and a factor of 1, which are the base model."""
    merging = work.merging if work.merging and work.merging.amount > 0 else None
    pooling = work.pooling if work.pooling and work.pooling.amount > 1 else None
    return Work(work.site, merging, pooling)
