"""A report as sections, each a title, a text and a table; written as text for a terminal or as Markdown.

In: sections; out: text. Must not know what they report.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from bigain_cli.outputs.text import COLUMNS, aligned, markdown, plain_markdown, room_for_names, short_names


@dataclass(frozen=True)
class ReportSection:
    """A title, a text below it, and a table, of which any may be missing."""

    title: str = ""
    text: str = ""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def as_plain(sections: Iterable[ReportSection], wide: bool = False) -> str:
    """Return text for a terminal; unless it is wide, no row takes more than 80 cells, and names are alike in all."""
    sections = list(sections)
    if wide:
        return "\n\n".join(part for each in sections for part in _plain_parts(each, None))
    return "\n\n".join(part for each in _with_short_names(sections) for part in _plain_parts(each, COLUMNS))


def _with_short_names(sections: Sequence[ReportSection]) -> Iterator[ReportSection]:
    """Shorten the first column's names as the narrowest of the tables that begin with the same head requires."""
    tables = [each for each in sections if each.rows]
    short = {}
    for head in {each.head[0] for each in tables}:
        alike = [each for each in tables if each.head[0] == head]
        room = min(room_for_names(each.head, each.rows, COLUMNS) for each in alike)
        short[head] = short_names([row[0] for each in alike for row in each.rows], room)
    for each in sections:
        yield replace(each, rows=[[short[each.head[0]][row[0]], *row[1:]] for row in each.rows])
    names = {brief: name for known in short.values() for name, brief in known.items() if brief != name}
    if names:
        yield ReportSection(text="; ".join(f"{brief} is {name}" for brief, name in names.items()) + ".")


def as_markdown(sections: Iterable[ReportSection]) -> str:
    """Return Markdown."""
    return "\n\n".join(part for each in sections for part in _markdown_parts(each))


def _plain_parts(section: ReportSection, width: int | None) -> Iterable[str]:
    for text in filter(None, (section.title, section.text)):
        yield wrapped(text, width)
    if section.head:
        yield aligned(section.head, section.rows, width=width)


def _markdown_parts(section: ReportSection) -> Iterable[str]:
    if section.title:
        yield f"### {plain_markdown(section.title)}"
    if section.text:
        yield plain_markdown(section.text)
    if section.head:
        yield markdown(section.head, section.rows)


def wrapped(text: str, width: int | None) -> str:
    """Break a text into lines of at most so many letters, at blanks."""
    if width is None:
        return text
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
