"""The settings of a classification, as every record holds them, and their fingerprint.

Two runs with one fingerprint write the same records; batch size and device are left out on purpose.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bigain_cli.backbones.base import Backbone
from bigain_cli.classification.label_prompts import LabelPrompts
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.compress import Spec
from bigain_cli.version import __version__

NOTHING = Spec()


def temperature_of(rules: StoppingRules, backbone: Backbone) -> float | None:
    """Return the temperature that was fitted for a backbone, if these rules use the score that it was fitted for."""
    return backbone.temperature if rules.score == backbone.score else None


@dataclass(frozen=True)
class Settings:
    """Everything that a result depends on, except the image."""

    competing: tuple[LabelPrompts, ...]
    rules: StoppingRules
    seed: int = 0
    compress: Spec = NOTHING

    def to_dict(self, backbone: Backbone, templates: Sequence[str]) -> dict[str, Any]:
        """Return the record's `settings` for a backbone as it is now."""
        public: dict[str, Any] = {
            "version": __version__,
            "model": backbone.name,
            "compress": str(self.compress),
            "seed": self.seed,
            **self.rules.to_dict(),
            "dtype": str(backbone.dtype).removeprefix("torch."),
            "labels": len(self.competing),
        }
        if (temperature := temperature_of(self.rules, backbone)) is not None:
            public["temperature"] = temperature
        if templates:
            public["templates"] = list(templates)
        hidden = {"weights": backbone.identity, "arms": [[label.name, *label.texts] for label in self.competing]}
        text = json.dumps({**public, **hidden, "model": ""}, sort_keys=True).encode()  # weights say which model
        return {**public, "fingerprint": hashlib.blake2b(text, digest_size=8).hexdigest()}
