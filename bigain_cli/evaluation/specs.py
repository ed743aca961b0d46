"""The specs of a comparison as a user writes them: one each, or a ladder of two; contradictions refused. Torch-free.

In: texts and rules; out: rungs. Must not know runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bigain_cli.compress import Spec, parse
from bigain_cli.compress.spec import BETWEEN
from bigain_cli.errors import UsageError
from bigain_cli.registry import SCHEDULES
from bigain_cli.rules import Rules

Rungs = tuple[Spec, ...]
LEAST, MOST = 2, 5  # finalists of a ladder: two, so that the last rung always has a say
SHARE, FEWEST = 4, 8  # a rung before the last takes a quarter of the draws, but enough for an interval


def rungs_of(text: str) -> Rungs:
    """Read a spec or a ladder of them."""
    rungs = tuple(parse(piece) for piece in BETWEEN.split(text))
    if len(rungs) > 2:
        raise UsageError(f"compression '{text}'", "a ladder has two rungs", "Write it as lgtm:0.7,none.")
    if len(rungs) == 2 and rungs[0] == rungs[1]:
        raise UsageError(f"compression '{text}'", "both rungs are the same", "Make the first one cheaper.")
    return rungs


def compared(texts: Sequence[str], against: str | None, rules: Rules) -> list[Rungs]:
    """Read all specs; refuse one given twice, a baseline that is not among them, and stages within stages."""
    read = [rungs_of(text) for text in texts]
    for text, rungs in zip(texts, read, strict=True):
        if read.count(rungs) > 1:
            raise UsageError(f"-c {text}", f"{written(rungs)} is given twice", "Keep one of them.")
        if len(rungs) > 1 and SCHEDULES[rules.schedule].staged:
            why = f"the {rules.schedule} schedule has stages of its own"
            raise UsageError(f"ladder '{written(rungs)}'", why, "Use --schedule race or fixed.")
    if against is not None and read:
        place_of(against, read, texts)
    return read


def place_of(text: str, among: Sequence[Rungs], names: Sequence[str]) -> int:
    """Return which of the compared specs is meant: as it was given, or as a network that shares a level takes it."""
    wanted = rungs_of(text)
    for level in (lambda rungs: rungs, _levelled):
        found = [level(rungs) for rungs in among]
        if level(wanted) in found:
            return found.index(level(wanted))
    raise UsageError(f"--against {text}", "is not among the specs", f"Compared are {', '.join(names)}.")


def _levelled(rungs: Rungs) -> Rungs:
    return tuple(spec.by_level() for spec in rungs)


def shared_out(rules: Rules) -> tuple[Rules, Rules]:
    """Return the first rung's rules and the last one's: what may be spent and what may go wrong, divided.

    The first takes a quarter of the draws, or a few more; the last one its own, all of them. Each may drop the right
    label with half the probability, so that both together keep to the confidence.
    """
    fewer = min(rules.most_draws, max(FEWEST, rules.most_draws // SHARE))
    half = replace(rules, confidence=1 - (1 - rules.confidence) / 2)
    if rules.budget is None:
        return replace(half, draws=fewer), half
    part = rules.budget // SHARE
    return replace(half, draws=fewer, budget=part), replace(half, budget=rules.budget - part)


def check_budget(rules: Rules, least: int) -> None:
    """Refuse a budget of which a quarter does not last for one draw of all labels."""
    if rules.budget is not None and rules.budget // SHARE < least:
        why = f"a ladder's first rung has a quarter of it, and one draw of all labels takes {least}"
        raise UsageError(f"--budget {rules.budget}", why, f"Give {SHARE * least}, or leave the ladder out.")


def written(rungs: Rungs) -> str:
    """Write rungs as they are read."""
    return ",".join(map(str, rungs))
