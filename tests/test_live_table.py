"""Progress: lines now and then, a live table with bars that narrow, an honest bound on the time left."""

from __future__ import annotations

import dataclasses
import io
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

import bigain_cli as bigain
from bigain_cli.classification.ranking import RankedLabel
from bigain_cli.cli import live_table, progress
from bigain_cli.cli.live_table import WIDTH, ClassifyProgress, bar, most_evaluations_left, plain, table
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.progress import ProgressBar, clock

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


def lines_of(steps: list[bigain.Ranking], pause: float, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> list[str]:
    """Return the lines written without a terminal about steps that are so many seconds apart."""
    now = [100.0]
    for module in (progress, live_table):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with ClassifyProgress(Messages(quiet=False, verbose=False), watch=True) as display:
        for step in steps:
            now[0] += pause
            display.show(step)
            assert ("left" in display.status()) == bool(display._in_progress)
    assert not display._line_times, "nothing is kept of finished images"
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(("pause", "count"), [(0.0, 1), (0.1, 1), (0.3, 2), (0.5, 4), (1.0, 8), (60.0, 8)])
def test_plain_lines_are_a_second_apart(pause: float, count: int, steps, monkeypatch, capsys) -> None:
    assert len(steps) == 8
    lines = lines_of(steps, pause, monkeypatch, capsys)
    assert len(lines) == max(count - (pause >= 1), 1), "the first line is due a second after the start"
    assert lines[-1].startswith("'x\\x1b[31m.png': done, 64 draws")
    assert all(": running, " in line for line in lines[:-1])


def test_each_image_in_progress_has_lines_of_its_own(steps, monkeypatch, capsys) -> None:
    others = [dataclasses.replace(step, id="other.png") for step in steps]
    both = [step for pair in zip(steps, others, strict=True) for step in pair]
    lines = lines_of(both, 0.6, monkeypatch, capsys)
    assert len(lines) == 2 * 8 - 2 and sum("'other.png'" in line for line in lines) == 7


def test_a_plain_line_tells_pace_and_gap(steps, monkeypatch, capsys) -> None:
    (line,) = lines_of(steps, 0.1, monkeypatch, capsys)
    last = steps[-1]
    low, high = last.gap_interval
    assert f"64 draws, {last.evaluations} evaluations, {last.evaluations / 0.8:.1f}/s, " in line
    assert f", gap {last.gap:.3g} [{low:.2g}, {high:.2g}], {len(last.contenders)} contenders: {last.label} " in line
    one = dataclasses.replace(steps[0], draws=1, evaluations=1, gap=None, gap_interval=None)
    assert ": running, 1 draw, 1 evaluation, 2.0/s, gap -, " in plain(one, 2.0)


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
        console.print(progress._bar("training 5/10 images", 0.5, "1:00 left, " + "loss 0.1234, " * 8))
        (line,) = console.file.getvalue().splitlines()
        assert line.startswith("training 5/10 images ") and " 1:00 left, loss" in line
