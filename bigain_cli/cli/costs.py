"""What a picture can cost at most, known before anything is loaded. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from bigain_cli.compress import Spec
from bigain_cli.evaluation.specs import MOST, Rungs, shared_out
from bigain_cli.registry import SCHEDULES
from bigain_cli.rules import Rules


def most_of(rules: Rules, prompts: Sequence[int], spec: Spec | None) -> int:
    """Return the most evaluations of one picture; a plan for compression may take one more a draw."""
    most = rules.most_draws * sum(prompts)
    if stages := SCHEDULES[rules.schedule].staged:
        most = len(stages[0]) * sum(prompts) + len(stages[1]) * sum(sorted(prompts)[-5:])
    if spec is not None and spec.shared:
        most += rules.most_draws
    return min(most, rules.budget) if rules.budget is not None else most


def most_of_rungs(rules: Rules, prompts: Sequence[int], rungs: Rungs) -> int:
    """Return the most evaluations of one picture under a spec, or on a ladder of two."""
    if len(rungs) == 1:
        return most_of(rules, prompts, rungs[0])
    first, last = shared_out(rules)
    return most_of(first, prompts, rungs[0]) + most_of(last, sorted(prompts)[-MOST:], rungs[1])
