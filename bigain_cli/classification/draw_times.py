"""From which timesteps the draws of a run are: the model's own, those of a share of its time, or given ones.

In: a backbone, the rules of the run; out: timesteps. Must not know networks.
"""

from __future__ import annotations

from bigain_cli.backbones.base import Backbone
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.registry import SCHEDULES


def given_timesteps(backbone: Backbone, rules: StoppingRules) -> list[int]:
    """Return the timesteps of a schedule that has its own, draw by draw; else nothing."""
    return [t * backbone.timesteps // 1000 for stage in SCHEDULES[rules.schedule].staged for t in stage]


def times_of(backbone: Backbone, rules: StoppingRules) -> tuple[int, int]:
    """Return the range that draws are from, low ≤ t < high."""
    low, high = backbone.timestep_range
    given = given_timesteps(backbone, rules)
    if given and not (low <= min(given) and max(given) < high):
        return 0, backbone.timesteps
    if rules.times is None:
        return low, high
    least = 1 if backbone.flow else 0  # at a flow's time 0 there is no noise to predict
    low, high = (round(share * backbone.timesteps) for share in rules.times)
    low = max(least, min(low, backbone.timesteps - 1))
    return low, max(high, low + 1)
