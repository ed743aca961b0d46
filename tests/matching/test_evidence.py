"""Evidence and Winoground's scores: right on a table made by hand, and laws of gaps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bigain_cli.errors import UsageError
from bigain_cli.matching.evidence import Evidence, level_of_each, paired_interval
from bigain_cli.matching.image_match import best_images, match_of
from bigain_cli.matching.options import MatchOptions
from bigain_cli.matching.pair_match import PairMatch, PairSummary, pair_match
from bigain_cli.matching.pairs import read_pairs

# By hand: the evidence of image 0 and of image 1, each for caption 0 and caption 1; then text, image and group score.
TABLE = [
    ((2.0, 1.0), (1.0, 2.0), True, True, True),
    ((2.0, 1.0), (3.0, 4.0), True, False, False),  # both captions have more evidence from image 1
    ((2.0, 3.0), (1.0, 4.0), False, True, False),  # image 0 has more evidence for caption 1
    ((1.0, 2.0), (2.0, 1.0), False, False, False),
    ((1.0, 1.0), (0.0, 1.0), False, False, False),  # ties are wrong
    ((2.0, 1.0), (1.0, 1.0), False, False, False),
    ((-1.0, -2.0), (-2.0, -1.0), True, True, True),  # all captions worse than the empty prompt
    ((5.0, 0.0), (4.0, 1.0), False, True, False),
]
DRAWS = 16


def evidence(means: tuple[float, ...], noise: float = 0.0, seed: int = 0) -> Evidence:
    """Return evidence with exactly these means; its noise has a mean of zero."""
    spread = np.random.default_rng(seed).normal(0, noise, (DRAWS, len(means))) if noise else np.zeros((DRAWS, 1))
    return Evidence(np.array(means) + spread - spread.mean(axis=0), (np.arange(DRAWS) + 0.5) / DRAWS)


def matched(first: tuple[float, float], second: tuple[float, float], noise: float = 0.0) -> PairMatch:
    found = [evidence(first, noise), evidence(second, noise, seed=1)]
    return pair_match("1", ("a", "b"), ("x", "y"), found, 0.95, draws=DRAWS, evaluations=6 * DRAWS)


@pytest.mark.parametrize(("first", "second", "text", "image", "group"), TABLE)
def test_the_three_scores_are_those_of_the_table(first, second, text: bool, image: bool, group: bool) -> None:
    found = matched(first, second)
    assert (found.text, found.image, found.group) == (text, image, group)
    assert [found.to_dict()[name] for name in ("text", "image", "group")] == [text, image, group]
    assert found.to_dict()["evidence"] == [list(first), list(second)]


def test_shares_of_the_table_have_wilsons_intervals() -> None:
    summary = PairSummary.of([matched(first, second) for first, second, *_ in TABLE])
    assert summary is not None and summary.pairs == 8
    shares = {name: found.value for name, found in summary.scores.items()}
    assert shares == {"text": 3 / 8, "image": 4 / 8, "group": 2 / 8}
    assert summary.scores["text"].low == pytest.approx(0.1368, abs=1e-4)  # of 3 among 8, from a published table
    assert summary.scores["text"].high == pytest.approx(0.6943, abs=1e-4)
    assert summary.to_dict()["group"]["by_chance"] == 1 / 6
    assert PairSummary.of([]) is None


@given(st.lists(st.integers(-9, 9), min_size=4, max_size=4))
def test_exchanging_both_images_and_both_captions_changes_no_score(values: list[int]) -> None:
    first, second = (float(values[0]), float(values[1])), (float(values[2]), float(values[3]))
    one, other = matched(first, second), matched(second[::-1], first[::-1])  # type: ignore[arg-type]
    assert (one.text, one.image, one.group) == (other.text, other.image, other.group)


@given(st.lists(st.integers(-9, 9), min_size=4, max_size=4), st.integers(-50, 50), st.integers(-50, 50))
def test_a_harder_image_changes_no_text_score_and_a_longer_caption_no_image_score(
    values: list[int], image: int, caption: int
) -> None:
    a, b, c, d = map(float, values)
    plain = matched((a, b), (c, d))
    assert matched((a + image, b + image), (c, d)).text == plain.text
    assert matched((a + caption, b), (c + caption, d)).image == plain.image


def test_noise_leaves_a_pair_open_and_few_draws_leave_no_interval() -> None:
    assert matched((2, 1), (1, 2), noise=0.01).settled and not matched((2, 1), (1, 2), noise=30).settled
    few = Evidence(np.ones((4, 2)), np.arange(4) / 4)
    assert match_of("a", few, ["x", "y"], 0.95, draws=4, evaluations=12).to_dict()["gap_interval"] is None


def test_an_interval_of_what_is_turned_is_turned() -> None:
    """Also where draws are skewed: an end that they reach farther to is farther away."""
    skewed, times = np.random.default_rng(0).exponential(1, 64) - 2, (np.arange(64) + 0.5) / 64
    found, turned = paired_interval(skewed, times, 0.95), paired_interval(-skewed, times, 0.95)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    assert found.high - found.value > found.value - found.low > 0


def test_captions_are_ranked_and_ties_do_not_go_by_place() -> None:
    found = match_of("a", evidence((1.0, 3.0, 2.0)), ["x", "y", "z"], 0.95, draws=DRAWS, evaluations=64)
    assert [each.caption for each in found.captions] == ["y", "z", "x"] and found.settled and found.fits
    for order in (["b", "a"], ["a", "b"]):
        assert match_of("a", evidence((1.0, 1.0)), order, 0.95, draws=DRAWS, evaluations=48).caption == "a"
    below = match_of("a", evidence((-1.0, -3.0)), ["x", "y"], 0.95, draws=DRAWS, evaluations=48)
    assert below.settled and not below.fits


def test_the_best_image_of_a_caption_has_the_most_evidence_for_it() -> None:
    tables = {"a": (5.0, 1.0), "b": (4.0, 3.0), "c": (0.0, 2.0)}
    matches = [match_of(id, evidence(row), ["x", "y"], 0.95, draws=DRAWS, evaluations=48) for id, row in tables.items()]
    first, second = best_images(matches, ["x", "y"], 0.95)
    assert (first.image, second.image) == ("a", "b") and first.gap is not None and first.gap.value == 1.0
    assert best_images([], ["x", "y"], 0.95) == []
    assert best_images(matches[:1], ["x", "y"], 0.95)[0].gap is None


def test_several_intervals_share_the_level() -> None:
    assert level_of_each(0.95, 1) == pytest.approx(0.95) and level_of_each(0.95, 5) == pytest.approx(0.99)


def test_votes_are_refused() -> None:
    with pytest.raises(UsageError, match="votes are among one image's captions"):
        MatchOptions(score="vote")
    with pytest.raises(UsageError, match="votes"):
        MatchOptions().score_of("vote")
    for wrong in ({"draws": 0}, {"confidence": 1.0}, {"score": "l3"}):
        with pytest.raises(UsageError):
            MatchOptions(**wrong)  # type: ignore[arg-type]


LINE = {
    "id": 0,
    "image_0": "ex_0_img_0",
    "image_1": "b.png",
    "caption_0": "a dog on a cat",
    "caption_1": "a cat on a dog",
}


def write(path: Path, *entries: object) -> str:
    path.write_text("".join((entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in entries))
    return str(path)


def test_images_are_found_as_in_winoground_or_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "ex_0_img_0.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    (pair,) = read_pairs(write(tmp_path / "examples.jsonl", {**LINE, "tag": "Object"}, ""))
    assert pair.id == "0" and pair.captions == ("a dog on a cat", "a cat on a dog")
    assert [image.path for image in pair.images] == [str(tmp_path / "images/ex_0_img_0.png"), str(tmp_path / "b.png")]
    odd = "a cat \u2028on\x85 a dog"
    (pair,) = read_pairs(write(tmp_path / "odd.jsonl", json.dumps({**LINE, "caption_1": odd}, ensure_ascii=False)))
    assert pair.captions[1] == odd, "no line ends there"
    (lost,) = read_pairs(write(tmp_path / "lost.jsonl", {**LINE, "image_1": "gone"}))
    assert lost.images[0].error is None and "no such image" in str(lost.images[1].error)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ((), "holds no pair"),
        (("{",), "line 1: not JSON"),
        (("[1]",), "not a JSON object"),
        (({**LINE, "caption_1": 3},), "has no text caption_1"),
        (({**LINE, "image_0": " "},), "has no text image_0"),
        (({**LINE, "caption_1": " a dog on a cat"},), "its captions are equal"),
        (({**LINE, "id": True},), "its id is neither"),
        ((LINE, LINE), "the id '0' is given twice"),
    ],
)
def test_what_is_no_file_of_pairs_is_refused(entries: tuple[object, ...], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        read_pairs(write(tmp_path / "pairs.jsonl", *entries))
    with pytest.raises(UsageError, match="cannot be read"):
        read_pairs(str(tmp_path / "gone.jsonl"))
