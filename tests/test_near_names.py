"""Near names: a distance with its laws against the plain definition, and hints that suggest nothing far-fetched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain_cli.errors import UsageError, check_known
from bigain_cli.near_names import SHOWN, did_you_mean, distance, near

WORDS = st.text(alphabet="abc", max_size=6)
ANIMALS = ("cat", "dog", "deer", "horse", "tabby cat", "crate")


def defined(one: str, other: str) -> int:
    """Return the restricted distance by its recursive definition."""
    if not one or not other:
        return len(one) + len(other)
    last = defined(one[:-1], other[:-1]) + (one[-1] != other[-1])
    found = min(last, defined(one[:-1], other) + 1, defined(one, other[:-1]) + 1)
    if len(one) > 1 and len(other) > 1 and (one[-2], one[-1]) == (other[-1], other[-2]):
        found = min(found, defined(one[:-2], other[:-2]) + 1)
    return found


@given(WORDS, WORDS)
def test_the_distance_is_as_defined(one: str, other: str) -> None:
    assert distance(one, other) == defined(one, other) == distance(other, one)


@given(st.text(alphabet="abcdefgh", min_size=4, max_size=8), st.data())
def test_one_slip_is_always_near(word: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(word) - 2))
    slips = (
        word[:at] + word[at + 1 :],
        word[:at] + "z" + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    assert all(near(slip, [word]) == [word] for slip in slips)


@given(st.text(max_size=9), st.lists(st.text(max_size=9), unique=True, max_size=30))
def test_what_is_near_is_known_and_the_known_names_follow(name: str, known: list[str]) -> None:
    assert set(near(name, known)) <= set(known)
    hint = did_you_mean(name, known)
    assert hint.endswith(f"({len(known)} in all)." if len(known) > SHOWN else f"Known: {', '.join(known)}.")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hrose", ["horse"]),
        ("Horse", ["horse"]),
        ("horses", ["horse"]),
        ("hor", ["horse"]),
        ("old cat", ["cat"]),
        ("tabby", ["tabby cat"]),
        ("cat", ["cat", "tabby cat"]),
        ("bear", []),  # two letters from deer, as far as from anything
        ("caterpillar", []),
        ("elephant", []),
        ("", []),
    ],
)
def test_only_what_is_really_near_is_suggested(name: str, expected: list[str]) -> None:
    assert near(name, ANIMALS) == expected


def test_a_name_in_the_misspelt_one_does_not_hide_one_that_is_a_slip_away() -> None:
    assert near("mini-lat", ["mini", "mini-late", "mini-dit"]) == ["mini", "mini-late"]


def test_a_refusal_ends_with_the_known_names() -> None:
    with pytest.raises(UsageError, match=r"^animal doog: unknown\. Did you mean dog\? Known: cat, dog, deer, horse"):
        check_known("animal", "doog", ANIMALS)
    with pytest.raises(UsageError, match=r"^animal owl: unknown\. Known: cat, dog"):
        check_known("animal", "owl", ANIMALS)
