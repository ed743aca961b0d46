"""`--watch` and bars: lines now and then, a live table with bars that narrow, an honest bound on the time left."""

from __future__ import annotations

import dataclasses
import io
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.console import Console

import bigain_cli as bigain
from bigain_cli.classification.ranking import RankedLabel
from bigain_cli.cli import progress
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.outputs.live_table import WIDTH, bar, most_evaluations_left, table
from bigain_cli.outputs.text import clock

LABELS = ["red", "orange", "pink", "brown", "purple", "grey"]


@pytest.fixture(scope="module")
def steps() -> list[bigain.Ranking]:
    run = bigain.Classification(bigain.load("colours"), LABELS, rules=bigain.StoppingRules(draws=64))
    return list(run.rankings([("x\x1b[31m.png", Image.new("RGB", (8, 8), (185, 80, 40)))]))


def place(gap: float, half_width: float | None, is_contender: bool = True) -> RankedLabel:
    return RankedLabel("cat", 0.5, -0.1, 16, is_contender, gap, 0.0, half_width)


def test_bars_narrow_around_their_dot() -> None:
    ends = (-1.0, 3.0)
    wide, narrow, none = (bar(place(1.0, half_width), ends) for half_width in (1.5, 0.5, None))
    assert len(wide) == len(narrow) == len(none) == WIDTH
    assert wide.index("●") == narrow.index("●") == none.index("●") == WIDTH // 2
    assert wide.count("─") > narrow.count("─") > none.count("─") == 0
    assert "┼" in wide and "│" in narrow, "an interval that reaches the leader crosses its line"
    assert bar(place(9.0, 0.5), ends).endswith("›") and bar(place(-9.0, 0.5), ends).startswith("‹")


def test_the_table_greys_out_dropped_labels(steps: list[bigain.Ranking]) -> None:
    console = Console(width=90, force_terminal=True, color_system="standard", no_color=False)
    with console.capture() as captured:
        console.print(table(steps[-1]))
    lines = captured.get().splitlines()
    assert "\x1b[31m" not in captured.get() and "x\\x1b[31m.png" in lines[0], "names move no cursor"
    for line, standing in zip(lines[2:], steps[-1].ranked, strict=True):
        assert standing.label in line
        assert ("\x1b[90m" in line) == (not standing.is_contender)
    assert any(not standing.is_contender for standing in steps[-1].ranked)


def test_the_time_left_is_a_bound_that_falls(steps: list[bigain.Ranking]) -> None:
    before, bounds = (0, 0), []
    for step in steps:
        bounds.append(most_evaluations_left(step, before))
        spent = steps[-1].evaluations - step.evaluations
        assert bounds[-1] >= spent
        before = (step.draws, step.evaluations)
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] == 0
    short = dataclasses.replace(steps[0], settings={**steps[0].settings, "budget": steps[0].evaluations + 5})
    assert most_evaluations_left(short, (0, 0)) == 5
    assert [clock(seconds) for seconds in (0.4, 75, 3700)] == ["0:00", "1:15", "1:01:40"]


def test_a_progress_bar_writes_a_line_now_and_then(monkeypatch, capsys) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with ProgressBar(Messages(quiet=False, verbose=False), "training", "images", before=100) as display:
        for done in range(100, 140, 4):
            display.show(done, 200, "loss 0.1")
            now[0] += 4.0
    expected = [f"bigain: {done}/200 images, loss 0.1, {clock(200 - done)} left" for done in (112, 124, 136)]
    assert capsys.readouterr().err.splitlines() == expected, "an earlier run's steps make this one no faster"
    with ProgressBar(Messages(quiet=True, verbose=False), "training", "images") as display:
        now[0] += 60.0
        display.show(1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_long_note_is_cut_before_the_count_and_the_time_left() -> None:
    for width in (60, 80, 120):
        console = Console(width=width, file=io.StringIO())
        console.print(progress.progress_bar("training 5/10 images", 0.5, "1:00 left, " + "loss 0.1234, " * 8))
        (line,) = console.file.getvalue().splitlines()
        assert line.startswith("training 5/10 images ") and " 1:00 left, loss" in line
