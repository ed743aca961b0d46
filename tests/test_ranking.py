"""A ranking prints as one line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain_cli.classification.ranking import RankedLabel, Ranking

RANKED = (
    RankedLabel("cat", 0.9712345, -0.1, 48),
    RankedLabel("dog", 0.02, -0.2, 48),
    RankedLabel("owl", 0.0087655, -0.3, 20, is_contender=False),
)
SETTLED = Ranking("photo.jpg", RANKED, settled=True, gap=0.1, gap_interval=(0.08, 0.12), draws=48, evaluations=116)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "<Ranking 'cat' 0.971, settled, 48 draws, 'photo.jpg'>"),
        ({"settled": False}, "<Ranking 'cat' 0.971, open between 2 labels, 48 draws, 'photo.jpg'>"),
        ({"draws": 1, "finished": False}, "<Ranking 'cat' 0.971, settled, 1 draw so far, 'photo.jpg'>"),
        ({"ranked": RANKED[:1]}, "<Ranking 'cat' 0.971, settled, 48 draws, 'photo.jpg'>"),
    ],
)
def test_a_ranking_is_one_plain_line(changes: dict[str, object], expected: str) -> None:
    assert repr(replace(SETTLED, **changes)) == expected


@given(st.text(), st.text())
def test_it_is_one_line_whatever_the_names(name: str, label: str) -> None:
    line = repr(replace(SETTLED, id=name, ranked=(replace(RANKED[0], label=label),)))
    assert len(line.splitlines()) == 1
