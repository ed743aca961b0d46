"""What is known of a run before its model is loaded: where it is, what it is asked, what a picture costs at most.

Torch-free. Must not know what the verb does with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bigain_cli.arms import Arm, arms_of
from bigain_cli.backbones.outline import Outline, outline_of
from bigain_cli.cli.catalogue import hub_cache
from bigain_cli.compress import Spec
from bigain_cli.labels import DEFAULT_TEMPLATE, LabelSet
from bigain_cli.models import Reference, present, resolve
from bigain_cli.registry import SCHEDULES
from bigain_cli.rules import Rules


@dataclass(frozen=True)
class Prospect:
    """A model that is not loaded yet, and what it will be asked."""

    reference: Reference
    outline: Outline | None  # of a local folder
    arms: tuple[Arm, ...]
    rules: Rules

    @property
    def prompts(self) -> list[int]:
        """Return how many prompts each label has."""
        return [len(arm.texts) for arm in self.arms]

    @property
    def present(self) -> bool:
        """Tell whether the model can be loaded without a download."""
        return present(self.reference, hub_cache())


def prospect(model: str, labels: LabelSet, templates: Sequence[str], reject: bool, rules: Rules) -> Prospect:
    """Find a model, and refuse labels that it cannot know, as far as its folder tells."""
    reference = resolve(model)
    outline = outline_of(reference)
    if outline is None:
        return Prospect(reference, None, arms_of(labels, templates, reject, None, DEFAULT_TEMPLATE), rules)
    card = outline.card
    arms = arms_of(labels, templates, reject, outline.vocabulary, card.template)
    for text in (text for arm in arms for text in arm.texts):
        outline.read(text)
    return Prospect(reference, outline, arms, rules.for_model(card.score, card.draws))


def most_of(rules: Rules, prompts: Sequence[int], spec: Spec | None) -> int:
    """Return the most evaluations of one picture; a plan for compression may take one more a draw."""
    most = rules.most_draws * sum(prompts)
    if stages := SCHEDULES[rules.schedule].staged:
        most = len(stages[0]) * sum(prompts) + len(stages[1]) * sum(sorted(prompts)[-5:])
    if spec is not None and spec.shared:
        most += rules.most_draws
    return min(most, rules.budget) if rules.budget is not None else most
