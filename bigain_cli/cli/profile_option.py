"""`--profile`: the profile of a file, or of one beside the model, put into a request's rules and templates."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any, TypeVar

from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.model_locations import resolve
from bigain_cli.classification.profiles import PROFILE_FILE, Profile
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import more_option
from bigain_cli.registry import DEFAULT_ERROR, SCHEDULES

NONE = "none"
Request = TypeVar("Request", bound=Any)
ProfileFile = Annotated[
    str | None,
    more_option(
        "--profile",
        metavar="FILE",
        help="A profile of bigain tune, or none.",
        show_default=f"{PROFILE_FILE} beside the model",
    ),
]


def tuned(request: Request, given: str | None, messages: Messages) -> Request:
    """Return a request of `classify` or `evaluate` with the profile that applies to it."""
    if given == NONE:
        return request
    path = given if given is not None else _beside(request.model)
    if path is None:
        return request
    rules = request.rules
    others = (rules.score, rules.times, rules.views)
    if given is None and (others != (None, None, None) or rules.error_in != DEFAULT_ERROR):
        messages.note(f"{path}: not used, because of --score, --times, --views or --error-in")
        return request
    if given is None and SCHEDULES[rules.schedule].staged and ModelCard.read(Path(path).parent).times != (0.0, 1.0):
        messages.note(f"{path}: not used, because --schedule {rules.schedule} has times of its own")
        return request
    profile = Profile.read(path)
    if given is None:
        messages.note(f"profile: {path}; --profile none leaves it out")
    return dataclasses.replace(
        request, rules=rules.with_profile(profile), templates=request.templates or profile.templates
    )


def _beside(model: str) -> str | None:
    """Return the profile beside a model in a folder."""
    location = resolve(model)
    path = os.path.join(location.where, PROFILE_FILE)
    return path if location.kind == "folder" and os.path.isfile(path) else None
