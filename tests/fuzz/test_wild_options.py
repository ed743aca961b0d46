"""Wild command lines: every option of every verb, with values of any kind; the command ends with a word, in time."""

from __future__ import annotations

import functools
import os
import random
from pathlib import Path
from typing import Any

import commands
import pytest
import typer
from fuzz_cases import LONG, generator

from bigain_cli.cli.app import app

FAST, ALL = 16, 2_000
FORBIDDEN = {"help", "help_all", "download", "threads"}  # these end at once, need a network, or make many threads
NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "3",
    "10000000000",
    "1000000000000",
    "9" * 400,
    LONG,
    "-" + "9" * 400,
    "1.5",
    "x",
    "",
    "٣",
)
FRACTIONS = ("0", "-1", "0.5", "0.9", "1", "1e999", "nan", "-inf", "1e-320", "9" * 400, LONG, "x", "", "0,5")
WORDS = (
    "",
    " ",
    "-",
    "--",
    "red,blue",
    "red,,blue",
    "labels.txt",
    "labels.json",
    "missing.txt",
    "a.png",
    "photos",
    "*.png",
    "out.jsonl",
    "out.csv",
    "out.html",
    "new/x.png",
    "new",
    "/dev/null",
    "/dev/full",
    "loop",
    "loop.jsonl",
    "~nosuchuser/x",
    "a\x1b[31mb\n",
    "é",
    "\udcff",
    "x" * 300,
    LONG,
    "[" * 2000,
    "none",
    "lgtm:0.5",
    "iekvd:2@0.9",
    "lgtm:" + LONG,
    "colours",
    "owner/name",
    "auto",
    "cpu",
    "cuda:99",
    "float16",
    "race",
    "fixed",
    "ttest",
    "staged",
    "l2",
    "vote",
    "ddim",
    "1",
    "0.5",
    "4:lanczos",
    "16x16",
    "999999x999999",
    "100,500",
    "=cmd",
    "--output=evil.png",
    "photos.safetensors",
    "http://127.0.0.1:9/a.png",
    "records.jsonl",
    "image.png",
    "pets:photos",
    "coco:photos",
    "recipe.toml",
)
BASES: dict[str, tuple[str, ...]] = {
    "classify": ("a.png", "-l", "red,blue", "--draws", "2"),
    "generate": ("red", "--steps", "1"),
    "evaluate": ("photos", "--draws", "2"),
    "inspect": ("a.png",),
    "bench": ("--labels", "2", "--rounds", "1"),
    "train": ("photos", "-o", "model", "--images", "2", "--batch", "2", "--size", "8", "--width", "8"),
    "list": (),
}
WEIGHTS = (6, 4, 5, 2, 2, 1, 1)


@functools.cache
def options(verb: str) -> list[Any]:
    """Return the options of a verb, from the command itself."""
    command: Any = typer.main.get_command(app)
    return [
        each
        for each in command.commands[verb].params
        if each.param_type_name == "option" and each.name not in FORBIDDEN
    ]


def wild_line(dice: random.Random) -> list[str]:
    """Return a command line."""
    verb = dice.choices(list(BASES), WEIGHTS)[0]
    words = [verb, *BASES[verb]] if dice.random() < 0.9 else [verb]
    for option in dice.choices(options(verb), k=dice.choice([0, 1, 1, 2, 2, 3, 5])):
        words.append(dice.choice(option.opts))
        if not option.is_flag:
            name = option.type.name.lower()
            words.append(dice.choice(NUMBERS if "int" in name else FRACTIONS if "float" in name else WORDS))
    if dice.random() < 0.3:
        words.insert(dice.randrange(1, len(words) + 1), dice.choice(WORDS))
    return [word.replace("\0", "") for word in words]


def fill(folder: Path) -> None:
    """Make the files that command lines name."""
    folder.mkdir()
    commands.image(folder / "a.png")
    commands.image(folder / "image.png", "blue")
    for name in ("red", "blue"):
        (folder / "photos" / name).mkdir(parents=True)
        for turn in range(2):
            commands.image(folder / "photos" / name / f"{turn}.png", name, turn)
    (folder / "labels.txt").write_text("red\nblue\n")
    (folder / "labels.json").write_text('{"red": "red", "blue": ["blue", "blue"]}')
    (folder / "records.jsonl").write_text('{"id": "a.png", "settings": {"fingerprint": 3}, "probability": NaN}\n')
    (folder / "recipe.toml").write_text("width = 8\n")
    (folder / "photos.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    os.mkfifo(folder / "pipe.png")
    for name in ("loop", "loop.jsonl"):
        (folder / name).symlink_to(name)


def run_case(number: int, place: Path) -> int:
    """Run one wild command line; return its exit code."""
    dice = generator("options", number)
    words, folder = wild_line(dice), place / str(number)
    fill(folder)
    stdin = dice.choice([b"", (folder / "a.png").read_bytes(), b"a.png\n", dice.randbytes(200)])
    done = commands.warm(*words, cwd=folder, input=stdin)
    shown = [word[:60] for word in words]
    assert done.code in (0, 1, 2), (shown, done.code, done.err[-800:])
    assert "Traceback" not in done.err and "\x1b" not in done.err, (shown, done.err[-800:])
    assert done.code == 0 or done.err.strip(), shown
    return done.code


def test_a_few_wild_command_lines(tmp_path: Path) -> None:
    assert {0, 2} <= {run_case(number, tmp_path) for number in range(FAST)}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_wild_command_lines(part: int, tmp_path: Path) -> None:
    for number in range(FAST + part, ALL, 20):
        run_case(number, tmp_path)
