"""The specs of a comparison as a user writes them: one each, or a ladder of two; contradictions refused. Torch-free.

In: texts and rules; out: rungs. Must not know runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from bigain_cli.compress import Spec, parse
from bigain_cli.errors import UsageError
from bigain_cli.registry import SCHEDULES
from bigain_cli.rules import Rules

Rungs = tuple[Spec, ...]
LEAST, MOST = 2, 5  # finalists of a ladder: two, so that the last rung always has a say
SHARE, FEWEST = 4, 8  # a rung before the last takes a quarter of the draws, but enough for an interval
_BETWEEN = re.compile(r",(?!\s*\d)")  # a comma before a number is within a list of blocks


def rungs_of(text: str) -> Rungs:
    """Read a spec or a ladder of them."""
    rungs = tuple(parse(piece) for piece in _BETWEEN.split(text))
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
    if against is not None and read and rungs_of(against) not in read:
        raise UsageError(f"--against {against}", "is not among the specs", f"Compared are {', '.join(texts)}.")
    return read


def shared_out(rules: Rules) -> tuple[Rules, Rules]:
    """Return the first rung's rules and the last one's: a quarter of the draws, and what may be spent divided."""
    fewer = max(FEWEST, rules.most_draws // SHARE)
    if rules.budget is None:
        return replace(rules, draws=fewer), rules
    part = rules.budget // SHARE
    return replace(rules, draws=fewer, budget=part), replace(rules, budget=rules.budget - part)


def written(rungs: Rungs) -> str:
    """Write rungs as they are read."""
    return ",".join(map(str, rungs))
