"""The README, docs/, help texts and messages do without words that readers stumbled over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import doc_pages
import pytest

ROOT = Path(__file__).parents[1]
LINES = (Path(__file__).parent / "unreadable_words.txt").read_text().splitlines()
WORDS = dict(line.split("\t") for line in LINES if line and not line.startswith("#"))

# Keys of records and documents, which keep the names of version 0.1; `decided` is an alias of `settled`.
KEYS = {"decided", "pictures", "other_real_pictures", "looks", "serves", "arms", "bookkeeping_milliseconds"}
ALLOWED = {"a picture of a {}", "Ranking.decided is now called Ranking.settled"}  # a trained template, a deprecation
COLUMNS = re.compile(r"[a-z_]+( [a-z_]+){4,}")  # names of columns in one literal


def found(text: str) -> list[str]:
    """Return the unreadable words of a text, each with what to write instead."""
    return [
        f"{match[0]!r} in {text[max(0, match.start() - 30) : match.end() + 20]!r}: write {instead}"
        for pattern, instead in WORDS.items()
        for match in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text, re.IGNORECASE)
    ]


def without_keys(text: str) -> str:
    """Return a page without the keys, where it explains or prints records."""
    keys = "|".join(sorted(KEYS))
    text = re.sub(rf"`({keys})`", "``", text)
    return re.sub(rf"(?<![\w ])({keys})(?=[:,\"\n])", "", text)


def literals(path: Path) -> Iterator[str]:
    """Yield the strings of a module: help texts, messages, docstrings; the pieces of an f-string one by one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_list_finds_words_and_their_forms() -> None:
    assert found("Two flights, and a Wish.") and found("12 undecided") and found("it was drawn")
    assert not found("a warm armchair, squeezebox, wishful") and not found("this looks like one part")


@pytest.mark.parametrize("page", doc_pages.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_readable(page: Path) -> None:
    assert not found(without_keys(page.read_text()))


def test_help_and_messages_are_readable() -> None:
    for path in sorted((ROOT / "bigain_cli").rglob("*.py")):
        texts = (text for text in set(literals(path)) - KEYS - ALLOWED if not COLUMNS.fullmatch(text.strip()))
        problems = [problem for text in texts for problem in found(without_keys(text))]
        assert not problems, (path.relative_to(ROOT), problems)


def test_web_pages_of_the_report_are_readable() -> None:
    templates = list((ROOT / "bigain_cli").rglob("*.j2"))
    assert templates
    for path in templates:
        assert not found(without_keys(path.read_text())), path.name
