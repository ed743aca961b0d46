"""The live standings of an image: labels with interval bars that close in, those out of the race in grey."""

from __future__ import annotations

from typing import Any

from bigain_cli.outputs.interval_bars import beyond, part, span
from bigain_cli.outputs.text import counted, safe
from bigain_cli.ranking import Ranking, Standing

MOST = 12  # labels shown
WIDTH = 32  # of the bars, in cells


def table(ranking: Ranking) -> Any:
    """Return a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    racing = len(ranking.contenders)
    title = f"{safe(ranking.id)} · {counted(ranking.draws, 'draw')} · {racing} of {len(ranking.standings)} in the race"
    grid = Table(title=Text(title, overflow="ellipsis"), box=None, title_justify="left", header_style="dim")
    grid.add_column("label", overflow="ellipsis", no_wrap=True, max_width=30)
    grid.add_column("prob", justify="right")
    grid.add_column("gap to the leader", no_wrap=True)
    grid.add_column("draws", justify="right")
    shown = ranking.standings[:MOST]
    ends = span(shown)
    for number, place in enumerate(shown):
        style = ("bold" if number == 0 else "") if place.alive else "bright_black"
        grid.add_row(
            Text(safe(place.label)), f"{place.probability:.2f}", bar(place, ends), str(place.draws), style=style
        )
    if hidden := len(ranking.standings) - len(shown):
        grid.add_row(Text(f"and {hidden} more"), style="bright_black")
    return grid


def bar(place: Standing, ends: tuple[float, float], width: int = WIDTH) -> str:
    """Draw a label's gap to the leader as a dot on its interval; the leader is the upright line."""

    def cell(value: float) -> int:
        return min(int(part(value, ends) * width), width - 1)

    cells = [" "] * width
    if place.radius is not None:
        first, last = cell(place.behind - place.radius), cell(place.behind + place.radius)
        cells[first : last + 1] = "─" * (last - first + 1)
    zero = cell(0.0)
    cells[zero] = "│" if cells[zero] == " " else "┼"
    cells[cell(place.behind)] = {-1: "‹", 0: "●", 1: "›"}[beyond(place.behind, ends)]
    return "".join(cells)


def most_left(ranking: Ranking, before: tuple[int, int]) -> int:
    """Return the evaluations that an image may still take; `before` it had so many draws and evaluations."""
    draws, evaluations = before
    if ranking.draws == draws:
        return 0
    cost = (ranking.evaluations - evaluations) / (ranking.draws - draws)
    most = cost * (ranking.settings.get("max_draws", ranking.draws) - ranking.draws)
    budget = ranking.settings.get("budget")
    return int(most if budget is None else min(most, budget - ranking.evaluations))


def clock(seconds: float) -> str:
    """Write a duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
