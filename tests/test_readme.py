"""The README is short, and its two tested lines are where .ci/run finds them."""

from __future__ import annotations

import re
from pathlib import Path

import doc_pages
import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
MOST_WORDS, MOST_LINES = 1500, 200
LINES = {
    "install-and-classify": ["python3 -m pip install .", "bigain generate", "bigain classify"],
    "install-and-test": ["python3 -m pip install '.[test]'", "python3 -m pytest"],
}


def test_it_can_be_read_to_the_end() -> None:
    assert len(TEXT.split()) <= MOST_WORDS
    assert TEXT.count("\n") <= MOST_LINES


@pytest.mark.parametrize(("name", "parts"), LINES.items())
def test_the_tested_command_lines_are_after_their_markers(name: str, parts: list[str]) -> None:
    (line,) = re.findall(rf"^<!-- {name} -->\n```\w*\n(.+)\n```$", TEXT, re.M)
    assert all(map(str.startswith, line.split(" && "), parts)) and line.count(" && ") == len(parts) - 1


def test_the_limits_are_said_before_the_installation() -> None:
    first = TEXT[: TEXT.index("## Install")]
    assert "CLIP is more accurate and far faster" in first
    assert re.search(r"61\.3 % \[58\.5, 64\.0\] of\s+1,200", first), "the embedded model's accuracy, interval and n"


def test_it_links_every_page_a_reader_may_need() -> None:
    linked = {Path(target.partition("#")[0]).name for target in doc_pages.links(TEXT)}
    names = "classify generate evaluate compress bench train command python reading-answers models-and-gpu measurements"
    assert {f"{name}.md" for name in (*names.split(), "CONTRIBUTING")} <= linked


def test_its_numbers_are_in_the_measurements() -> None:
    pages = [ROOT / "docs" / "measurements.md", *(ROOT / "docs" / "measurements").glob("*.md")]
    measured = "".join(page.read_text() for page in pages)
    results = TEXT[TEXT.index("## Results") : TEXT.index("## More")]
    numbers = re.findall(r"\[-?[\d.]+, -?[\d.]+\]|\d+\.\d+ %|\d+\.\d{3}", results)
    assert len(numbers) > 6 and not [number for number in numbers if number not in measured]
