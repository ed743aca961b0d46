"""Carries an order out: loads the model, follows the drawing, writes each picture whole and says which."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import typer

from bigain_cli.backbones.outline import Outline, outline_of
from bigain_cli.cli.catalogue import hub_cache
from bigain_cli.cli.meter import StepMeter
from bigain_cli.cli.order import Order
from bigain_cli.cli.talk import Talk
from bigain_cli.cli.targets import STDOUT, check_targets, make_folder, targets
from bigain_cli.models import present, resolve
from bigain_cli.outputs.files import write_whole
from bigain_cli.outputs.json import line
from bigain_cli.outputs.png import png, tiled
from bigain_cli.outputs.sink import encode
from bigain_cli.sampler.sizes import check_steps, latent_shape
from bigain_cli.sampler.wish import check_prompts


def carry_out(order: Order, talk: Talk) -> int:
    """Draw and write everything asked for."""
    paths = targets(order)
    check_targets(paths, order)
    resolve(order.model)
    generation = _prepared(order, talk)
    if paths != [STDOUT]:
        make_folder(paths)
    gallery = _Gallery(order, paths)
    with StepMeter(talk) as meter:
        for event in generation.events():
            if isinstance(event, _types().Step):
                meter.show(event.done, event.of)
            else:
                with meter.aside():
                    gallery.take(event)
    return 0


def rehearse(order: Order) -> int:
    """Say what would be drawn, without loading anything heavy; fail as the run would."""
    paths = targets(order)
    check_targets(paths, order)
    check_prompts(order.prompts, order.count, order.wish.seed)
    reference = resolve(order.model)
    outline = outline_of(reference)
    if outline is not None:
        _check_wish(order, outline)
    ready = present(reference, hub_cache())
    plan: dict[str, Any] = {
        "prompts": len(order.prompts),
        "pictures": len(order.prompts) * order.count,
        "model": {"name": reference.name, "source": reference.where, "present": ready},
        "files": paths,
    }
    if order.jsonl:
        typer.echo(line(plan))
        return 0
    state = "present" if ready else "not present, would be downloaded"
    typer.echo(f"prompts   {plan['prompts']}\npictures  {plan['pictures']}")
    typer.echo(encode(f"model     {reference.name} ({reference.where}), {state}"))
    for path in paths:
        typer.echo(encode(f"file      {path}"))
    return 0


def _check_wish(order: Order, outline: Outline) -> None:
    """Refuse sizes, steps and words that the model cannot do with."""
    wish = order.wish
    latent_shape(outline, wish.size)
    check_steps(outline, wish.steps or 1)
    guidance = outline.card.sampling.guidance if wish.guidance is None else wish.guidance
    for prompt in [*order.prompts, *([wish.negative] if guidance != 1 else [])]:
        outline.read(prompt)


class _Gallery:
    """Puts samples where they belong: each into its file as it comes, or all into one at the end."""

    def __init__(self, order: Order, paths: list[str]) -> None:
        self._order, self._paths = order, paths
        self._samples: list[Any] = []

    def take(self, sample: Any) -> None:
        """Take the next one, and write what is complete."""
        self._samples.append(sample)
        if not self._order.grid:
            place = len(self._samples) - 1
            self._samples[place] = None  # written, and not needed any more
            self._write(self._paths[place], sample.image, {"prompt": sample.prompt, "seed": sample.seed}, sample)
        elif len(self._samples) == len(self._order.prompts) * self._order.count:
            columns = self._order.count if len(self._order.prompts) > 1 else _columns(self._order.count)
            about = {"prompts": list(self._order.prompts), "seed": self._order.wish.seed, "count": self._order.count}
            self._write(self._paths[0], tiled([each.image for each in self._samples], columns), about, sample)

    def _write(self, path: str, image: Any, about: dict[str, Any], sample: Any) -> None:
        earlier = self._order.earlier
        settings = sample.settings | ({"model": earlier.settings["model"]} if earlier is not None else {})
        data = png(image, about | settings)
        if path == STDOUT:
            sys.stdout.buffer.write(data)
        else:
            write_whole(path, data, self._order.force)
            record = {"id": path, **about, "settings": settings}
            sys.stdout.buffer.write((line(record) if self._order.jsonl else encode(path)) + b"\n")
        sys.stdout.buffer.flush()


def _columns(count: int) -> int:
    """Return the columns of a grid that is about square."""
    return max(columns for columns in range(1, count + 1) if (columns - 1) ** 2 < count)


def _prepared(order: Order, talk: Talk) -> Any:
    """Load the model and make it read the prompts."""
    from bigain_cli import Generation, load

    started = time.monotonic()
    backbone = load(order.model, order.device, order.dtype)
    kind = str(backbone.dtype).removeprefix("torch.")
    talk.detail(f"model: {order.model} on {backbone.device} in {kind}, loaded in {time.monotonic() - started:.1f} s")
    if order.earlier is not None:
        order.earlier.check_weights(order.model, backbone.identity)
    generation = Generation(backbone, order.prompts, order.wish, order.count)
    if order.earlier is not None:
        _compare(order.earlier.settings, generation.settings, talk)
    talk.detail("settings: " + json.dumps(generation.settings, ensure_ascii=False))
    if generation.report is not None:
        talk.detail(f"compression:\n{generation.report}")
    return generation


def _compare(before: Any, now: dict[str, Any], talk: Talk) -> None:
    """Say where this machine is not the one that drew the picture."""
    for key in ("version", "libraries"):
        if before.get(key) != now[key]:
            talk.note(f"{key} then {before.get(key)}, now {now[key]}: the last bits may differ")


def _types() -> Any:
    from bigain_cli.sampler import generation

    return generation
