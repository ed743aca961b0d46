"""Names of others are nothing but names on terminals, in spreadsheets and in Markdown; a bug of ours is one line."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import commands
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from bigain_cli.cli import app, exit_codes
from bigain_cli.cli.messages import Messages, write_line
from bigain_cli.cli.options import PANELS
from bigain_cli.errors import UsageError
from bigain_cli.generation.png_settings import read_previous
from bigain_cli.outputs.png import png
from bigain_cli.outputs.safe_terminal import SafeTerminal
from bigain_cli.outputs.text import markdown, safe
from bigain_cli.version import __version__

NASTY = "a\x1b]0;owned\x07\x1b[31m\u202eb\nc\x9b2J.png"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from([NASTY, "\r", "\x85", "\u2028"])


def written(monkeypatch: pytest.MonkeyPatch, write: object, text: str) -> str:
    stream = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        write(text)  # type: ignore[operator]
    return stream.getvalue()


@given(texts)
def test_a_message_is_one_line_whatever_names_hold(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for write in (Messages(False, True).note, Messages(True, False).error, Messages(False, True).closing):
            line = written(patch, write, text)
            assert line == f"bigain: {safe(text)}\n" and line.count("\n") == 1 and not CONTROLS.search(line)


@given(texts)
def test_what_is_written_in_several_lines_keeps_them_and_nothing_else(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for line in (written(patch, write_line, text), written(patch, Messages(False, True).detail, text)):
            assert not CONTROLS.search(line) and line.count("\n") == text.count("\n") + 1


@given(texts)
def test_a_terminal_gets_no_control_characters(text: str) -> None:
    inner = io.BytesIO()
    SafeTerminal(inner).write(text.encode())  # type: ignore[arg-type]
    assert not CONTROLS.search(inner.getvalue().decode())
    assert inner.getvalue().count(b"\n") == text.count("\n")


@contextmanager
def terminal() -> Iterator[tuple[str, bytearray]]:
    """Yield the name of a terminal, and what arrives on it."""
    master, slave = pty.openpty()
    found = bytearray()

    def read() -> None:
        while True:
            try:
                found.extend(os.read(master, 1 << 16))
            except OSError:
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield os.ttyname(slave), found
    finally:
        os.close(slave)
        reader.join()
        os.close(master)


@pytest.mark.parametrize("form", ["--csv", "--tsv", "--json", "--jsonl", "--wide"])
def test_names_reach_a_terminal_safe_and_a_file_as_they_are(tmp_path: Path, form: str) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / NASTY, "PNG")
    line = ("classify", NASTY, "no\x1b[2J.png", "-l", "red,blue", "--draws", "2", "-q", form)
    with terminal() as (name, found):
        assert commands.warm(*line, cwd=tmp_path, stdout=name).code == 1
    shown = found.decode().replace("\r\n", "\n")
    ours = re.sub(r"\x1b\[(3[123]|0)m", "", shown) if form == "--wide" else shown
    assert not CONTROLS.search(ours), repr(shown)
    assert "owned" in shown
    plain = commands.warm(*line, cwd=tmp_path)
    if form in ("--csv", "--tsv"):
        assert b"\x1b]0;owned" in plain.out
    assert not CONTROLS.search(plain.err)


def test_every_verb_says_names_in_one_safe_line(tmp_path: Path) -> None:
    for number, line in enumerate(
        (
            ("evaluate", NASTY),
            ("train", NASTY, "-o", "out"),
            ("inspect", NASTY),
            ("generate", "--again", NASTY),
            ("generate", NASTY, "-m", NASTY),
            ("bench", "-c", NASTY),
            ("classify", "a.png", "-l", f"{NASTY},{NASTY}"),
            ("classify", "a.png", "-l", "red,blue", "-o", f"{NASTY}/x.csv"),
            ("list", NASTY),
            (NASTY.removesuffix(".png"),),
        )
    ):
        done = commands.warm(*line, cwd=tmp_path)
        assert done.code in (1, 2) and not CONTROLS.search(done.err), (number, done.err)
        assert done.err.count("\n") == 1, done.err


@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_is_one_line_and_says_where_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], debug: bool
) -> None:
    def broken(arguments: list[str]) -> int:
        raise KeyError("a\nb\x1b[31m")

    monkeypatch.setattr(app, "run_command_line", broken)
    monkeypatch.setattr(sys, "argv", ["bigain", "list", *["--debug"] * debug])
    assert exit_codes._run_and_catch() == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == r"bigain: this is a bug in bigain: KeyError: 'a\nb\x1b[31m' (--debug shows where)"
    assert len(lines) == 1 or (debug and lines[0].startswith("Traceback") and "in broken" in "".join(lines))


def test_every_verb_knows_debug() -> None:
    command = typer.main.get_command(app.app)
    for verb in command.commands.values():  # type: ignore[attr-defined]
        (option,) = [each for each in verb.params if "--debug" in each.opts]
        assert option.rich_help_panel == PANELS[-1] and option.is_flag


SETTINGS = {
    "prompt": "--output=evil.png",
    "seed": 0,
    "version": __version__,
    "model": "colours",
    "weights": "w",
    "negative": "-x",
    "sampler": "ddim",
    "steps": 2,
    "guidance": 1.5,
    "size": [32, 32],
    "compress": "none",
    "dtype": "float32",
    "batch": 4,
    "libraries": {},
}


def picture(folder: Path, **changes: object) -> str:
    path = folder / "again.png"
    path.write_bytes(png(Image.new("RGB", (8, 8)), SETTINGS | changes))
    return str(path)


def test_a_picture_makes_no_download(tmp_path: Path) -> None:
    path = picture(tmp_path, model="evil/model")
    done = commands.warm("generate", "--again", path, "-o", str(tmp_path / "x.png"))
    assert done.code == 2 and "is not on this machine" in done.err and "Add -m evil/model" in done.err
    allowed = commands.warm("generate", "--again", path, "-m", "evil/model", "-o", str(tmp_path / "x.png"))
    assert allowed.code == 2 and "offline mode is on" in allowed.err


def test_a_prompt_of_a_picture_is_no_option_of_the_command_that_is_suggested(tmp_path: Path) -> None:
    previous = read_previous(picture(tmp_path))
    command = previous.command("colours")
    assert command.endswith("-- --output=evil.png") and "--negative=-x" in command
    done = commands.warm("generate", "--again", previous.path, "-o", str(tmp_path / "x.png"))
    assert done.code == 2 and "not the weights that generated" in done.err and command in done.err


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 10**12, "prompts": ["red"]},
        {"batch": 10**12},
        {"steps": 10**30},
        {"size": [10**6, 10**6]},
        {"seed": -1},
    ],
)
def test_counts_of_a_picture_are_refused_before_anything_is_made(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        read_previous(picture(tmp_path, **changes))


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.sampled_from(
    [
        "*a*",
        "_a_",
        "`a`",
        "<b>a</b>",
        "[a](http://b)",
        "a|b",
        "\\|",
        "![x](y)",
        "~~a~~",
        "&lt;",
        "a\nb",
        "**",
        "www.a.com",
    ]
)


@given(st.lists(names, min_size=1, max_size=4))
def test_names_in_markdown_tables_are_shown_as_they_are(cells: list[str]) -> None:
    text = markdown(("", *cells), [[name, *["1"] * len(cells)] for name in cells])
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    inlines = [token for token in tokens if token.type == "inline"]
    assert [token.type for token in tokens].count("tr_open") == len(cells) + 1
    assert len(inlines) == (len(cells) + 1) ** 2
    shown = [inlines[1 + place] for place in range(len(cells))]
    shown += [inlines[(place + 1) * (len(cells) + 1)] for place in range(len(cells))]
    for token, name in zip(shown, [*cells, *cells], strict=True):
        assert {child.type for child in token.children or []} <= {"text", "text_special"}
        assert "".join(child.content for child in token.children or []).split() == safe(name).split()
