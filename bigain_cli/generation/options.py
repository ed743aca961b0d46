"""What all images of a run have in common: how they are sampled, and how large. Checked on construction.

None leaves a choice to the model. Torch-free.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bigain_cli.compress import Spec
from bigain_cli.errors import UsageError
from bigain_cli.generation.samplers import SAMPLERS
from bigain_cli.limits import MOST, MOST_IMAGES, check_counts, shown
from bigain_cli.near_names import did_you_mean

if TYPE_CHECKING:
    from bigain_cli.backbones.base import Backbone

MAX_SEED = 2**63 - 1


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
        check_counts(steps=self.steps, batch=self.batch)
        for wrong, what, why, hint in self._problems():
            if wrong:
                raise UsageError(what, why, hint)

    def _problems(self) -> Iterator[tuple[bool, str, str, str]]:
        name, steps, guidance = self.sampler, self.steps, self.guidance
        unknown = name is not None and name not in SAMPLERS
        yield unknown, f"--sampler {name}", "unknown sampler", did_you_mean(name or "", SAMPLERS)
        too_few = "must be at least 1"
        yield steps is not None and steps < 1, f"--steps {steps}", too_few, "20 to 50 are usual."
        not_finite = guidance is not None and not math.isfinite(guidance)
        yield not_finite, f"--guidance {guidance}", "not a number", "Write one such as 4, or 1 for none."
        no_effect = guidance == 1 and bool(self.negative)
        why = "a prompt to move away from does nothing without guidance"
        yield no_effect, "--negative with --guidance 1", why, "Raise --guidance, or leave out --negative."
        too_small = self.size is not None and min(self.size) < 1
        yield too_small, f"--size {size_text(self.size)}", "an image has at least one pixel", "Write it as 512x512."
        too_large = self.size is not None and max(self.size) > MOST["size"]
        yield too_large, f"--size {size_text(self.size)}", f"more than {MOST['size']} pixels a side", "Write 512x512."
        out_of_range = not 0 <= self.seed <= MAX_SEED
        yield out_of_range, f"--seed {shown(self.seed)}", "not from 0 to 2^63 - 1", "Choose another number."
        no_batch = self.batch is not None and self.batch < 1
        yield no_batch, f"--batch {self.batch}", too_few, "Leave it out for a size that suits the device."


def check_images(prompts: int, count: int) -> None:
    """Refuse too few or too many images: so many prompts, and so many images of each."""
    if count < 1:
        raise UsageError(f"-n {shown(count)}", "must be at least 1", "Write how many images of each prompt.")
    check_counts(count=count)
    if prompts * count > MOST_IMAGES:
        why = f"{prompts:,} prompts make more than {MOST_IMAGES:,} images"
        raise UsageError(f"-n {count}", why, "Give fewer at once.")


def check_prompts(prompts: Sequence[str], count: int, seed: int) -> None:
    """Refuse prompts and seeds that generate no images, or the same ones twice."""
    if not prompts:
        raise UsageError("no prompt", "nothing to generate", 'Give one, such as "a photo of a dog".')
    check_images(len(prompts), count)
    if seed + count - 1 > MAX_SEED:
        raise UsageError(f"--seed {seed}", f"-n {count} goes beyond 2^63 - 1", "Choose a smaller one.")
    for prompt, times in Counter(prompt.strip() for prompt in prompts).items():
        if times > 1:
            why = f"given {times} times, and would give the same each time"
            raise UsageError(f"prompt {prompt!r}", why, "Give it once, with -n for more images.")


def size_text(size: tuple[int, int] | None) -> str:
    """Return WIDTHxHEIGHT."""
    return "x".join(map(shown, size or ()))


def read_size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT, or one number for a square."""
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(re.fullmatch(r" *[0-9]{1,6} *", side) for side in sides):
        raise UsageError(f"--size {text}", "not WIDTHxHEIGHT in pixels", "Write it as 512x768, or 512 for a square.")
    return int(sides[0]), int(sides[-1])


def latent_shape(backbone: Backbone, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return the shape of latents for an image's width and height, or the model's default."""
    channels, height, width = backbone.latent_shape
    scale = backbone.scale
    default = (width * scale, height * scale)
    if size is None or size == default:
        return backbone.latent_shape
    what = f"--size {size_text(size)}"
    if not backbone.any_size:
        hint = f"Leave out --size, or enlarge the image of {size_text(default)} afterwards."
        raise UsageError(what, f"{backbone.name} generates images of {size_text(default)} only", hint)
    step = backbone.size_step
    if any(side % step for side in size):
        nearest = (max(1, round(size[0] / step)) * step, max(1, round(size[1] / step)) * step)
        why = f"{backbone.name} generates in steps of {step} pixels"
        raise UsageError(what, why, f"Nearest: --size {size_text(nearest)}.")
    return channels, size[1] // scale, size[0] // scale


def check_sampler(backbone: Backbone, name: str) -> None:
    """Refuse a sampler that is not for the model's forward process."""
    if SAMPLERS[name].flow != backbone.flow:
        process = "rectified flow" if backbone.flow else "a noise schedule"
        known = ", ".join(known for known, sampler in SAMPLERS.items() if sampler.flow == backbone.flow)
        raise UsageError(f"--sampler {name}", f"{backbone.name} was trained with {process}", f"Use {known}.")


def check_guidance(backbone: Backbone, options: GenerationOptions) -> None:
    """Refuse a prompt to move away from where guidance takes no second prompt, or where there is none by default."""
    if backbone.guidance_input and options.negative:
        why = f"{backbone.name} takes the guidance as an input, without a second prompt"
        raise UsageError("--negative", why, "Leave it out.")
    if options.negative and options.guidance is None and float(backbone.sampling.guidance or 1.0) == 1:
        why = f"{backbone.name} is used without guidance, and without it this does nothing"
        raise UsageError("--negative", why, "Add --guidance, 4 for instance, or leave it out.")
