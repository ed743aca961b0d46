"""A profile: how a model's errors are judged, tuned on a few labelled images; read from a file, and written to one.

A score, weights of draws by their time, a bias of each label, a temperature, templates. It belongs to one set of
weights. Must not import numpy or torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.json_text import read_json
from bigain_cli.limits import is_number, read_text_file
from bigain_cli.registry import SCORES

PROFILE_FILE = "profile.json"  # beside a model
DEGREE = 3  # the most of the polynomial of time weights
HINT = "Make a profile with bigain tune."
ABOUT = ("model", "images", "about")  # entries that change no answer


@dataclass(frozen=True)
class Profile:
    """What was tuned. Losses are weighted by 1 + Σ cⱼ Pⱼ(time), with Legendre's polynomials on 0 … 1; biases are added.

    `weights` identifies the model; `labels` are those it was tuned with, `images` the digests of the images' pixels.
    """

    weights: str
    score: str
    temperature: float
    time_weights: tuple[float, ...] = ()
    bias: Mapping[str, float] = field(default_factory=dict)  # by label, in the score's units
    templates: tuple[str, ...] = ()  # none: the model's own
    labels: tuple[str, ...] = ()
    model: str = ""
    images: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_profile(self)

    @property
    def digest(self) -> str:
        """What identifies the profile in a fingerprint: all that changes an answer."""
        content = {name: value for name, value in dataclasses.asdict(self).items() if name not in ABOUT}
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1, allow_nan=False) + "\n"

    @staticmethod
    def read(path: str) -> Profile:
        """Read a file, or refuse it."""
        try:
            content = read_json(read_text_file(path, path))
            if not isinstance(content, dict):
                raise ValueError("not a JSON object")
            known = {entry.name for entry in dataclasses.fields(Profile)}
            if unknown := sorted(content.keys() - known):
                raise ValueError(f"unknown entry {unknown[0]!r}")
            lists = ("time_weights", "templates", "labels", "images")
            entries: dict[str, Any] = {
                name: tuple(value) if name in lists else value for name, value in content.items()
            }
            return Profile(**entries)
        except OSError as problem:
            raise UsageError(
                f"--profile {path}", f"cannot be read ({problem.strerror})", "Check the path."
            ) from problem
        except (ValueError, TypeError) as problem:
            raise UsageError(f"--profile {path}", f"not a profile ({problem})", HINT) from problem

    def check_model(self, weights: str, model: str) -> None:
        """Refuse another model."""
        if weights != self.weights:
            why = f"was tuned for {self.model or 'another model'} with the weights {self.weights}"
            raise UsageError(f"profile for {model} (weights {weights})", why, "Tune one for this model.")

    def check_labels(self, names: Sequence[str], reject: bool) -> None:
        """Refuse labels whose bias is not known."""
        if not self.bias:
            return
        if reject:
            why = "has a bias for each label, and none for the empty prompt"
            raise UsageError("--reject with a profile", why, "Leave out one of them.")
        if unknown := [name for name in names if name not in self.bias]:
            why = f"was tuned with other labels ({len(self.bias)}), and has no bias for it"
            raise UsageError(f"label {unknown[0]!r} with a profile", why, "Tune with these labels, or --profile none.")


def check_profile(profile: Profile) -> None:
    """Refuse values that cannot be."""
    texts = (profile.weights, profile.score, profile.model, *profile.templates, *profile.labels, *profile.images)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name is not a text")
    if profile.score not in SCORES or SCORES[profile.score].bounded:
        raise ValueError(f"its score {profile.score!r} cannot be tuned")
    if not is_number(profile.temperature, 0) or profile.temperature == 0:
        raise ValueError("its temperature is not a number above 0")
    if len(profile.time_weights) > DEGREE or not all(is_number(each, -1e6, 1e6) for each in profile.time_weights):
        raise ValueError(f"its time_weights are not at most {DEGREE} numbers")
    if not isinstance(profile.bias, Mapping) or not all(is_number(each) for each in profile.bias.values()):
        raise ValueError("its bias is not a table of numbers")
    if any("{}" not in template for template in profile.templates):
        raise ValueError("one of its templates has no {}")
    if not isinstance(profile.about, Mapping):
        raise ValueError("its about is not a table")
