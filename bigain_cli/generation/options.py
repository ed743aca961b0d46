"""What all images of a run have in common: how they are sampled, and how large. Checked on construction.

None leaves a choice to the model. Must not know torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bigain_cli.compress import Spec
from bigain_cli.errors import UsageError, did_you_mean
from bigain_cli.registry import SAMPLERS

if TYPE_CHECKING:
    from bigain_cli.backbones.base import Backbone

MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class GenerationOptions:
    """How to generate; `size` is width and height in pixels, and image i of a prompt has the seed `seed` + i."""

    sampler: str | None = None
    steps: int | None = None
    guidance: float | None = None
    negative: str = ""
    size: tuple[int, int] | None = None
    seed: int = 0
    compress: str | Spec | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        for wrong, what, why, hint in self._problems():
            if wrong:
                raise UsageError(what, why, hint)

    def _problems(self) -> Iterator[tuple[bool, str, str, str]]:
        name, steps, guidance = self.sampler, self.steps, self.guidance
        hint = did_you_mean(name or "", SAMPLERS)
        yield name is not None and name not in SAMPLERS, f"--sampler {name}", "unknown sampler", hint
        few = "must be at least 1"
        yield steps is not None and steps < 1, f"--steps {steps}", few, "20 to 50 are usual."
        odd = guidance is not None and not math.isfinite(guidance)
        yield odd, f"--guidance {guidance}", "not a number", "Write one such as 4, or 1 for none."
        idle = guidance == 1 and bool(self.negative)
        why = "a prompt to move away from does nothing without guidance"
        yield idle, "--negative with --guidance 1", why, "Raise --guidance, or leave out --negative."
        small = self.size is not None and min(self.size) < 1
        yield small, f"--size {written(self.size)}", "an image has at least one pixel", "Write it as 512x512."
        range_of = 0 <= self.seed <= MOST_SEED
        yield not range_of, f"--seed {self.seed}", "not from 0 to 2^63 - 1", "Choose another number."
        none = self.batch is not None and self.batch < 1
        yield none, f"--batch {self.batch}", few, "Leave it out for a size that suits the device."


def check_prompts(prompts: Sequence[str], count: int, seed: int) -> None:
    """Refuse prompts and seeds that make no images, or the same ones twice."""
    if not prompts:
        raise UsageError("no prompt", "nothing to generate", 'Give one, such as "a photo of a dog".')
    if count < 1:
        raise UsageError(f"-n {count}", "must be at least 1", "Write how many images of each prompt.")
    if seed + count - 1 > MOST_SEED:
        raise UsageError(f"--seed {seed}", f"-n {count} goes beyond 2^63 - 1", "Choose a smaller one.")
    for prompt, times in Counter(prompt.strip() for prompt in prompts).items():
        if times > 1:
            why = f"given {times} times, and would give the same each time"
            raise UsageError(f"prompt {prompt!r}", why, "Give it once, with -n for more images.")


def written(size: tuple[int, int] | None) -> str:
    """Write a size as its users do."""
    return "x".join(map(str, size or ()))


def read_size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT, or one number for a square."""
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.strip().isascii() and side.strip().isdigit() for side in sides):
        raise UsageError(f"--size {text}", "not WIDTHxHEIGHT in pixels", "Write it as 512x768, or 512 for a square.")
    return int(sides[0]), int(sides[-1])


def latent_shape(backbone: Backbone, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return the shape of latents for an image's width and height, or the model's own."""
    channels, height, width = backbone.latent_shape
    scale = backbone.scale
    own = (width * scale, height * scale)
    if size is None or size == own:
        return backbone.latent_shape
    what = f"--size {written(size)}"
    if not backbone.any_size:
        hint = f"Leave out --size, or enlarge the image of {written(own)} afterwards."
        raise UsageError(what, f"{backbone.name} knows its places at {written(own)} only", hint)
    if any(side % scale for side in size):
        fits = (max(1, round(size[0] / scale)) * scale, max(1, round(size[1] / scale)) * scale)
        raise UsageError(
            what, f"{backbone.name} generates in steps of {scale} pixels", f"Nearest: --size {written(fits)}."
        )
    return channels, size[1] // scale, size[0] // scale


def pixels(backbone: Backbone, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the width and height of a latent's image."""
    return shape[2] * backbone.scale, shape[1] * backbone.scale


def check_steps(backbone: Backbone, steps: int) -> None:
    """Refuse more steps than a schedule has."""
    if steps > backbone.timesteps:
        raise UsageError(f"--steps {steps}", f"this model's schedule has {backbone.timesteps}", "Take fewer.")
