"""Which terms of a spec act at which blocks: by levels, by block numbers, or by the default of the kind of network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bigain_cli.compress.site import Site
from bigain_cli.compress.spec import Spec, Term
from bigain_cli.errors import UsageError


@dataclass(frozen=True)
class Assignment:
    """The terms that act at one block."""

    site: Site
    merging: Term | None = None
    pooling: Term | None = None

    @property
    def key(self) -> str:
        """Return the key of this block's plan: its own, or the one of all blocks of its level."""
        by_level = self.merging is not None and self.merging.share == "level"
        return f"{self.merging} at level {self.site.level}" if by_level else self.site.name


def assign(spec: Spec, sites: Sequence[Site]) -> list[Assignment]:
    """Assign terms to sites; skip sites without any, and terms without effect."""
    assigned: dict[int, Assignment] = {}
    for term in spec.terms:
        for site in _sites_of_term(term, sites, spec):
            before = assigned.get(site.index, Assignment(site))
            if other := before.merging if term.merges else before.pooling:
                kind = "merge" if term.merges else "pool the keys"
                why = f"'{other.name}' and '{term.name}' would both {kind} at {site.name}"
                raise UsageError(f"compression '{spec}'", why, "Give them different levels= or blocks=.")
            assigned[site.index] = replace(before, merging=term) if term.merges else replace(before, pooling=term)
    for item in assigned.values():
        _check_bias(item, spec)
    effective = (_without_idle_terms(assigned[index]) for index in sorted(assigned))
    return [item for item in effective if item.merging or item.pooling]


def _sites_of_term(term: Term, sites: Sequence[Site], spec: Spec) -> list[Site]:
    if term.blocks is not None:
        missing = sorted(set(term.blocks) - {site.index for site in sites})
        if missing:
            why = f"there is no block {missing[0]} for '{term.name}'"
            raise UsageError(f"compression '{spec}'", why, f"This network has blocks 0 to {len(sites) - 1}.")
        found = [site for site in sites if site.index in term.blocks]
    elif term.levels is None and sites and (default := sites[0].network.default_blocks) is not None:
        found = [site for site in sites if site.index in default]
    else:
        most = float("inf") if term.levels == "all" else int(term.levels or 1)
        found = [site for site in sites if site.level <= most]
    if not found:
        hint = f"This network has {len(sites)} blocks: add @levels=all or @blocks=0."
        hint = hint if sites else "This network has no self-attention over image tokens."
        why = f"this spec does nothing on this model: '{term.name}' touches no block"
        raise UsageError(f"compression '{spec}'", why, hint)
    return found


def _check_bias(item: Assignment, spec: Spec) -> None:
    """Refuse to count merged keys where others make the keys, or where the attention cannot."""
    if not (item.merging and item.merging.bias):
        return
    if item.pooling:
        why = f"'@bias' counts merged keys, but at {item.site.name} '{item.pooling.name}' makes the keys"
        raise UsageError(f"compression '{spec}'", why, "Leave out '@bias', or give the terms different levels=.")
    if not item.site.kind.takes_bias:
        why = f"'@bias' is added to the attention's logits, and {type(item.site.block).__name__} takes no addition"
        raise UsageError(f"compression '{spec}'", why, "Leave out '@bias'.")


def _without_idle_terms(assignment: Assignment) -> Assignment:
    """Remove a ratio of 0 and a factor of 1, which change nothing."""
    merging, pooling = assignment.merging, assignment.pooling
    merging = merging if merging and merging.amount > 0 else None
    return Assignment(assignment.site, merging, pooling if pooling and pooling.amount > 1 else None)
