"""The live table: bars that close in, what is out of the race in grey, an honest bound on the time left."""

from __future__ import annotations

import dataclasses

import pytest
from PIL import Image
from rich.console import Console

import bigain_cli as bigain
from bigain_cli.cli.standings import WIDTH, bar, clock, most_left, table
from bigain_cli.cli.talk import Progress, Talk
from bigain_cli.ranking import Standing

LABELS = ["red", "orange", "pink", "brown", "purple", "grey"]


@pytest.fixture(scope="module")
def steps() -> list[bigain.Ranking]:
    run = bigain.Run(bigain.load("colours"), LABELS, rules=bigain.Rules(draws=64))
    return list(run.standings([("x\x1b[31m.png", Image.new("RGB", (8, 8), (185, 80, 40)))]))


def place(behind: float, radius: float | None, alive: bool = True) -> Standing:
    return Standing("cat", 0.5, -0.1, 16, alive, behind, radius)


def test_bars_close_in_around_their_dot() -> None:
    ends = (-1.0, 3.0)
    wide, narrow, none = (bar(place(1.0, radius), ends) for radius in (1.5, 0.5, None))
    assert len(wide) == len(narrow) == len(none) == WIDTH
    assert wide.index("●") == narrow.index("●") == none.index("●") == WIDTH // 2
    assert wide.count("─") > narrow.count("─") > none.count("─") == 0
    assert "┼" in wide and "│" in narrow, "an interval that reaches the leader crosses its line"
    assert bar(place(9.0, 0.5), ends).endswith("›")


def test_the_table_greys_out_who_is_out(steps: list[bigain.Ranking]) -> None:
    console = Console(width=90, force_terminal=True, color_system="standard", no_color=False)
    with console.capture() as captured:
        console.print(table(steps[-1]))
    lines = captured.get().splitlines()
    assert "\x1b[31m" not in captured.get() and "x\\x1b[31m.png" in lines[0], "names move no cursor"
    for line, standing in zip(lines[2:], steps[-1].standings, strict=True):
        assert standing.label in line
        assert ("\x1b[90m" in line) == (not standing.alive)
    assert any(not standing.alive for standing in steps[-1].standings)


def test_the_time_left_is_a_bound_that_falls(steps: list[bigain.Ranking]) -> None:
    before, bounds = (0, 0), []
    for step in steps:
        bounds.append(most_left(step, before))
        spent = steps[-1].evaluations - step.evaluations
        assert bounds[-1] >= spent
        before = (step.draws, step.evaluations)
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] == 0
    short = dataclasses.replace(steps[0], settings={**steps[0].settings, "budget": steps[0].evaluations + 5})
    assert most_left(short, (0, 0)) == 5
    assert [clock(seconds) for seconds in (0.4, 75, 3700)] == ["0:00", "1:15", "1:01:40"]


def test_plain_lines_where_there_is_no_terminal(steps: list[bigain.Ranking], capsys) -> None:
    with Progress(Talk(quiet=False, verbose=False), watch=True) as progress:
        for step in steps:
            progress.show(step)
            assert ("left" in progress._status()) == (not step.finished)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(steps) and lines[-1].startswith("'x\\x1b[31m.png': done, 64 draws")
