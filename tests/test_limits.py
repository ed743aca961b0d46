"""Asks without measure are refused with a word, before anything is allocated; long texts and silent pipes, too."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import commands
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from bigain_cli.benchmark.results import check_options
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.cli.app import app
from bigain_cli.errors import InputError, UsageError
from bigain_cli.evaluation.generated_image_options import GeneratedImagesOptions
from bigain_cli.generation.image_paths import image_names
from bigain_cli.generation.options import GenerationOptions, check_images, check_prompts
from bigain_cli.images import Source, find, opening, read_paths
from bigain_cli.images.opening import opened
from bigain_cli.labels import read_labels
from bigain_cli.limits import MOST, OTHERS, check_counts, read_text_bytes
from bigain_cli.training.recipe import load_recipe

HUGE = (10**10, 10**13, 10**30, 10**400, -(10**400), 1 << 20_000)
ASKS: dict[str, Callable[[int], object]] = {
    "draws": lambda n: StoppingRules(draws=n + 10**7),
    "budget": lambda n: StoppingRules(budget=n + 10**13),
    "steps": lambda n: GenerationOptions(steps=n),
    "batch": lambda n: GenerationOptions(batch=n),
    "size": lambda n: GenerationOptions(size=(n, n)),
    "count": lambda n: check_images(1, n),
    "prompts": lambda n: check_prompts(["red"], n, 0),
    "labels": lambda n: check_options(prefix=None, compile=False, labels=n),
    "generate": lambda n: GeneratedImagesOptions(n),
    "recipe": lambda n: load_recipe(None, {"width": n}),
    "training": lambda n: load_recipe(None, {"batch": n}),
}


@pytest.mark.parametrize("ask", ASKS)
def test_the_library_refuses_counts_beyond_all_measure(ask: str) -> None:
    for number in HUGE:
        with pytest.raises(UsageError) as refused:
            ASKS[ask](number)
        assert len(str(refused.value)) < 250


@given(st.sampled_from(sorted(MOST)), st.integers())
def test_a_count_is_refused_where_it_is_larger_than_its_limit(name: str, number: int) -> None:
    if abs(number) <= MOST[name]:
        check_counts(**{name: number})
        return
    with pytest.raises(UsageError, match=r"out of range: at most [\d,]+ is possible"):
        check_counts(**{name: number})


def test_every_whole_number_of_the_command_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of options that do not exist yet: a verb checks all of its numbers."""
    monkeypatch.setattr("os.environ", dict(os.environ))  # where --threads leaves its number
    command = typer.main.get_command(app)
    for verb in command.commands.values():  # type: ignore[attr-defined]
        needed = [each for each in verb.params if each.param_type_name == "argument" or each.required]
        words = [word for each in needed for word in ([each.opts[0]] if each.opts[0][0] == "-" else []) + ["x"]]
        for option in verb.params:
            if option.type.name.lower() in ("int", "integer", "integer range"):
                least = str(MOST.get(option.name, OTHERS) + 1)
                with pytest.raises(UsageError, match="out of range: at most"):
                    verb.make_context(verb.name, [option.opts[0], least, *words])


def test_so_many_images_are_refused_in_all() -> None:
    check_images(10, 100_000)
    with pytest.raises(UsageError, match="11 prompts make more than 1,000,000 images"):
        check_images(11, 100_000)


def test_many_prompts_get_names_in_a_moment() -> None:
    began = time.monotonic()
    names = image_names(["red"] * 20_000, 1, 0)
    assert len(set(names)) == 20_000 and names[:3] == ["red-0.png", "red-2-0.png", "red-3-0.png"]
    assert time.monotonic() - began < 5


def test_a_text_without_end_is_refused() -> None:
    assert read_text_bytes(io.BytesIO(b"abc"), "x") == b"abc"
    for name in ("--prompts-from", "-l"):
        verb = ("generate",) if name == "--prompts-from" else ("classify", "a.png")
        done = commands.warm(*verb, name, "/dev/zero")
        assert done.code == 2 and "too long for a text" in done.err, done.err
    with pytest.raises(UsageError, match="too long for a text"):
        read_labels("/dev/zero", {})


def test_a_list_of_paths_without_an_end_of_a_path_is_refused() -> None:
    with open("/dev/zero", "rb") as zeros, pytest.raises(UsageError, match="without an end of a path"):
        next(read_paths(zeros))


def test_what_a_pattern_matches_is_no_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.png")
    (only,) = find(["*.png"])
    assert only.error is not None and only.error.kind == "no-match"
    commands.image("a.png")
    assert [source.id for source in find(["*.png"])] == ["a.png"]


def test_a_named_pipe_is_read_once_somebody_writes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    data = b"\x89PNG\r\n\x1a\n" + bytes(3_000_000)

    def write() -> None:
        time.sleep(0.2)
        with pipe.open("wb") as file:
            file.write(data[:3])
            file.flush()
            time.sleep(0.1)
            file.write(data[3:])

    writer = threading.Thread(target=write)
    writer.start()
    with opened(Source("x", path=str(pipe))) as stream:
        assert stream.read() == data
    writer.join()
    monkeypatch.setattr(opening, "PATIENCE", 0.1)
    with pytest.raises(InputError, match="a pipe that nobody writes to"), opened(Source("x", path=str(pipe))):
        pass
