"""Carries a training out: reads the pictures, follows the events, says what came of it."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bigain_cli.cli.meter import PAUSE, bar_of
from bigain_cli.cli.standings import clock
from bigain_cli.cli.talk import Talk
from bigain_cli.errors import UsageError
from bigain_cli.labels.templates import fill
from bigain_cli.train.events import Done, Examined, Report, Resumed, Saved
from bigain_cli.train.holdings import checkpoint_of, clear, missing
from bigain_cli.train.recipe import Recipe

if TYPE_CHECKING:
    from bigain_cli.train.pictures import Pictures


@dataclass(frozen=True)
class Wish:
    """Everything the user asked for."""

    source: str
    target: Path
    recipe: Recipe
    held_out: float | str  # a share of each class, or a path
    exam: int
    synonyms: str | None
    templates: tuple[str, ...]
    start: str | None
    device: str
    every: int


def carry_out(wish: Wish, resume: bool, talk: Talk) -> int:
    """Train, telling how it goes; print the folder at the end."""
    synonyms = _synonyms(wish.synonyms)
    for path in (wish.source, wish.held_out):
        if isinstance(path, str) and not os.path.exists(path):
            raise UsageError(path, "no such folder or file", "Give a folder of class folders, or a .safetensors file.")
    for template in wish.templates:
        fill(template, "")
    from bigain_cli.train.heritage import heritage
    from bigain_cli.train.trainer import Job, device_for, train

    device_for(wish.recipe, wish.device)
    if wish.start and not resume:
        heritage(wish.start, wish.recipe)  # refused now, before all pictures are read
    pictures, held_out = _pictures(wish, talk)
    job = Job(
        wish.recipe,
        pictures,
        held_out,
        wish.target,
        synonyms,
        wish.templates,
        source=Path(wish.source).resolve().name,
        device=wish.device,
        every=wish.every,
        exam=wish.exam,
        start=wish.start or "",
    )
    made = missing(wish.target)
    try:
        with Meter(talk) as meter:
            for event in train(job, resume):
                meter.show(event, wish.recipe)
    except KeyboardInterrupt:
        kept = checkpoint_of(wish.target).is_file()
        talk.note(
            f"{wish.target} holds the last checkpoint: the same command with --resume (and no --force) goes on from it"
            if kept
            else "there was no checkpoint yet: the same command begins anew"
        )
        if not kept:
            clear(wish.target, made)
        raise
    return 0


class Meter:
    """Shows loss, rate and time left: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._bar: Any = None
        self._task: Any = None
        self._exam: Any = None
        self._said = -math.inf

    def __enter__(self) -> Meter:
        self._bar = bar_of(self._talk, "{task.description}", "{task.fields[facts]}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: Resumed | Report | Saved | Examined | Done, recipe: Recipe) -> None:
        """Tell of an event."""
        if isinstance(event, Report):
            self._report(event, recipe)
        elif isinstance(event, Resumed):
            self._talk.note(f"going on after {event.images} of {recipe.images} pictures")
        elif isinstance(event, Saved):
            self._talk.note(f"checkpoint at {event.images} pictures" + (f", {event.grid}" if event.grid else ""))
        elif isinstance(event, Examined):
            self._examined(event)
        else:
            accuracy = f"; {event.accuracy}" if event.accuracy is not None else ""
            self._talk.note(f"trained in {event.seconds / 60:.1f} minutes{accuracy}")
            typer.echo(event.folder)

    def _report(self, event: Report, recipe: Recipe) -> None:
        facts = f"error {event.error:.4f}"
        facts += f", contrast {event.contrast:.4f}" if recipe.contrast else ""
        facts += f", rate {event.rate:.1e}, {event.pace:.0f} pictures/s, {clock(event.left)} left"
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("training", total=recipe.images, facts="")
            self._bar.update(self._task, completed=event.images, facts=facts)
        elif self._due():
            self._talk.note(f"{event.images}/{recipe.images} pictures, {facts}")

    def _examined(self, event: Examined) -> None:
        if self._bar is not None:
            if self._exam is None:
                self._exam = self._bar.add_task("classifying", total=event.count, facts="held-out pictures")
            self._bar.update(self._exam, completed=event.done)
        elif event.done == 1 or self._due():
            self._talk.note(f"{event.done}/{event.count} held-out pictures classified")

    def _due(self) -> bool:
        """Tell whether it is time for a line, and that it is said."""
        due = time.monotonic() - self._said > PAUSE
        self._said = time.monotonic() if due else self._said
        return due


def _pictures(wish: Wish, talk: Talk) -> tuple[Pictures, Pictures | None]:
    """Read what is trained on and what is held out."""
    from bigain_cli.train.pictures import split

    pictures = _read(wish.source, wish.recipe.size, talk)
    if isinstance(wish.held_out, str):
        return pictures, _read(wish.held_out, wish.recipe.size, talk)
    if not wish.held_out:
        return pictures, None
    kept, aside = split(pictures, wish.held_out, wish.recipe.seed)
    talk.note(f"{len(aside)} of them held out" if len(aside) else "none held out: every class has one picture only")
    return kept, aside


def _read(source: str, size: int, talk: Talk) -> Pictures:
    from bigain_cli.train.pictures import load_pictures

    started = time.monotonic()
    talk.detail(f"reading {source}")
    pictures = load_pictures(source, size)
    seconds = time.monotonic() - started
    talk.note(f"{source}: {len(pictures)} pictures of {len(pictures.classes)} classes, read in {seconds:.0f} s")
    if pictures.skipped:
        count = len(pictures.skipped)
        talk.note(f"{source}: {count} left out, the first: {pictures.skipped[0]}")
    for reason in pictures.skipped:
        talk.detail(f"left out: {reason}")
    return pictures


def _synonyms(path: str | None) -> dict[str, list[str]]:
    """Read other names of the classes."""
    if path is None:
        return {}
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as problem:
        raise UsageError(
            f"--synonyms {path}", f"cannot be read ({problem})", 'Write {"automobile": ["car"]}.'
        ) from problem
    fine = isinstance(content, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names)
        for names in content.values()
    )
    if not fine:
        raise UsageError(f"--synonyms {path}", "not a table of lists of names", 'Write {"automobile": ["car"]}.')
    return content
