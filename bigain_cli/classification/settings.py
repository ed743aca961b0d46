"""The settings of a classification, as every record holds them, and their fingerprint.

Two runs with one fingerprint write the same records; batch size and device are not part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from bigain_cli.backbones.base import Backbone
from bigain_cli.classification.draw_times import times_of
from bigain_cli.classification.label_prompts import LabelPrompts
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.classification.viewed_image import chosen_views
from bigain_cli.compress import Spec
from bigain_cli.registry import DEFAULT_ERROR
from bigain_cli.version import __version__


def temperature_of(rules: StoppingRules, backbone: Backbone) -> float | None:
    """Return the profile's temperature; without one the backbone's, if score and errors are those it was fitted for."""
    if rules.profile is not None:
        return rules.profile.temperature
    as_fitted = rules.times is None and times_of(backbone, rules) == backbone.timestep_range
    own = as_fitted and chosen_views(backbone, rules.views) == backbone.views
    fitted = own and rules.score == backbone.score and rules.error_in == DEFAULT_ERROR
    return backbone.temperature if fitted else None


def settings_record(
    backbone: Backbone,
    competing: Sequence[LabelPrompts],
    rules: StoppingRules,
    seed: int,
    spec: Spec,
    templates: Sequence[str],
    min_probability: float | None = None,
    shortlist: tuple[str, str] = ("", ""),
) -> dict[str, Any]:
    """Return the record's `settings`: everything that a result depends on, except the image.

    `shortlist` is its name and what else it depends on; without a name, all labels are asked.
    """
    public: dict[str, Any] = {
        "version": __version__,
        "model": backbone.name,
        "compress": str(spec),
        "seed": seed,
        **rules.to_dict(),
        **({"views": str(views)} if (views := chosen_views(backbone, rules.views)) else {}),
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "labels": len(competing),
    }
    if (temperature := temperature_of(rules, backbone)) is not None:
        public["temperature"] = temperature
    if templates:
        public["templates"] = list(templates)
    if min_probability is not None:
        public["min_probability"] = min_probability
    hidden: dict[str, Any] = {
        "weights": backbone.identity,
        "arms": [[label.name, *label.texts] for label in competing],
    }
    if shortlist[0]:
        public["shortlist"] = shortlist[0]
        hidden["shortlist_identity"] = shortlist[1]
    text = json.dumps({**public, **hidden, "model": ""}, sort_keys=True).encode()  # the weights identify the model
    return {**public, "fingerprint": hashlib.blake2b(text, digest_size=8).hexdigest()}
