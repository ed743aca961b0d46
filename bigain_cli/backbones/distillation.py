"""Is a model distilled to few steps, or to a guidance? It generates well, and classifies badly.

Its predictions are no longer means over all images that fit, which is what denoising errors measure. In: what a model's
files say; out: by what it is seen. Must not know families.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.diffusers_folder import DiffusersFolder

NAMES = re.compile(
    r"turbo|lightning|lcm|schnell|hyper-?sd|hyper-flux|dmd|(?<![a-z])flash(?![a-z])|(?<!de)(?<!de[-_])(?<!un)distill",
    re.I,
)
SCHEDULERS = ("LCMScheduler", "TCDScheduler")


class DistilledWarning(UserWarning):
    """A distilled model is asked to classify."""


def warn_if_distilled(backbone: Backbone) -> None:
    """Warn that a distilled model classifies badly."""
    if backbone.distilled:
        why = "its predictions no longer average over all images that fit, which is what errors measure"
        text = f"{backbone.name} is distilled ({backbone.distilled}), and so classifies badly: {why}"
        warnings.warn(f"{text}. Use the model that it was distilled from.", DistilledWarning, stacklevel=3)


def distilled_by(parts: DiffusersFolder, config: Mapping[str, Any]) -> str:
    """Return what shows that a model is distilled, as a phrase, or nothing."""
    scheduler = parts.config("scheduler")
    kind = str(scheduler.get("_class_name"))
    if named := NAMES.search(parts.name.rstrip("/").rpartition("/")[2]):
        return f"its name has “{named.group()}” in it"
    if kind in SCHEDULERS:
        return f"its scheduler is a {kind}"
    if kind == "EulerAncestralDiscreteScheduler" and scheduler.get("timestep_spacing") == "trailing":
        return "its scheduler is that of Turbo"
    if config.get("guidance_embeds") or config.get("time_cond_proj_dim"):
        return "it takes the guidance as an input"
    return ""
