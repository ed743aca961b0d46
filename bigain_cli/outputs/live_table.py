"""`classify --watch`: a live table of the image in progress, or a line about it where there is no terminal.

Each label has a bar for its gap's interval; eliminated labels are grey.
"""

from __future__ import annotations

from typing import Any

from bigain_cli.classification.ranking import RankedLabel, Ranking
from bigain_cli.outputs.interval_bars import axis_ends, beyond, fraction, in_order
from bigain_cli.outputs.table import gap_text
from bigain_cli.outputs.text import counted, safe

MOST_LABELS = 12  # in the table
WIDTH = 32  # of the bars, in cells


def plain(ranking: Ranking, pace: float) -> str:
    """Return one line with an image's ranking and the speed of the run."""
    state = "done" if ranking.finished else "running"
    first = ", ".join(f"{safe(ranked.label)} {ranked.probability:.2f}" for ranked in ranking.ranked[:3])
    cost = f"{counted(ranking.draws, 'draw')}, {counted(ranking.evaluations, 'evaluation')}, {pace:.1f}/s"
    interval = f"gap {gap_text({'gap': ranking.gap, 'gap_interval': ranking.gap_interval})}"
    return f"{ranking.id!r}: {state}, {cost}, {interval}, {counted(len(ranking.contenders), 'contender')}: {first}"


def table(ranking: Ranking) -> Any:
    """Return an image's ranking as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    contenders = f"{counted(len(ranking.contenders), 'contender')} of {counted(len(ranking.ranked), 'label')}"
    title = f"{safe(ranking.id)} · {counted(ranking.draws, 'draw')} · {contenders}"
    grid = Table(title=Text(title, overflow="ellipsis"), box=None, title_justify="left", header_style="dim")
    grid.add_column("label", overflow="ellipsis", no_wrap=True, max_width=30)
    grid.add_column("prob", justify="right")
    grid.add_column("gap to the leader", no_wrap=True)
    grid.add_column("draws", justify="right")
    first = in_order(ranking.ranked[:MOST_LABELS])
    ends = axis_ends(first)
    for number, ranked in enumerate(first):
        style = ("bold" if number == 0 else "") if ranked.is_contender else "bright_black"
        grid.add_row(
            Text(safe(ranked.label)), f"{ranked.probability:.2f}", bar(ranked, ends), str(ranked.draws), style=style
        )
    if hidden := len(ranking.ranked) - len(first):
        grid.add_row(Text(f"and {hidden} more"), style="bright_black")
    return grid


def bar(ranked: RankedLabel, ends: tuple[float, float]) -> str:
    """Return a bar of text: a label's gap to the leader as a dot on its interval; the upright line is the leader."""

    def cell(value: float) -> int:
        return min(int(fraction(value, ends) * WIDTH), WIDTH - 1)

    cells = [" "] * WIDTH
    if ranked.half_width is not None:
        first, last = cell(ranked.gap - ranked.half_width), cell(ranked.gap + ranked.half_width)
        cells[first : last + 1] = "─" * (last - first + 1)
    zero = cell(0.0)
    cells[zero] = "│" if cells[zero] == " " else "┼"
    cells[cell(ranked.gap)] = {-1: "‹", 0: "●", 1: "›"}[beyond(ranked.gap, ends)]
    return "".join(cells)


def most_evaluations_left(ranking: Ranking, before: tuple[int, int]) -> int:
    """Return the most evaluations that an image still needs, given its draws and evaluations `before` the last step."""
    draws, evaluations = before
    if ranking.draws == draws:
        return 0
    cost = (ranking.evaluations - evaluations) / (ranking.draws - draws)
    most = cost * (ranking.settings.get("max_draws", ranking.draws) - ranking.draws)
    budget = ranking.settings.get("budget")
    return int(most if budget is None else min(most, budget - ranking.evaluations))
