"""A profile: what it does to answers, what it belongs to, and what is refused; `tune` and `--profile` as commands."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import COLOURS, Result, image, warm
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import eliminate

import bigain_cli as bigain
from bigain_cli.classification.asking import Asking
from bigain_cli.classification.label_search import TreeSearch
from bigain_cli.classification.profiles import Profile
from bigain_cli.classification.tuned_losses import tuned_losses
from bigain_cli.errors import UsageError
from bigain_cli.shortlist.label_tree import tree_of_vectors

PLAIN = Profile("weights", "l2", 0.5)
NAMES = ("red", "green", "blue")


def test_a_profile_without_weights_and_bias_changes_no_order(models) -> None:
    generator = np.random.default_rng(0)
    errors = generator.normal(1, 0.1, (64, 5)) + np.linspace(0, 0.1, 5)
    rules = bigain.StoppingRules(draws=64, score="l2")
    plain, other = eliminate(errors, rules), eliminate(errors, rules.with_profile(PLAIN))
    assert dataclasses.replace(plain, settings={}) == dataclasses.replace(other, settings={})


def test_a_bias_moves_the_gap_by_itself() -> None:
    errors = np.random.default_rng(0).normal(1, 0.01, (64, 2)) + np.array([0, 0.1])
    profile = Profile("w", "l2", 0.5, bias={"0": 0.5, "1": 0.0})
    plain = eliminate(errors, bigain.StoppingRules("fixed", score="l2"))
    moved = eliminate(errors, bigain.StoppingRules("fixed", score="l2").with_profile(profile))
    assert (plain.label, moved.label) == ("0", "1")
    assert plain.gap is not None and moved.gap == pytest.approx(0.5 - plain.gap)


@settings(max_examples=30, deadline=None)
@example(0, [])
@given(st.integers(0, 2**32), st.lists(st.floats(-0.3, 0.3), max_size=3))
def test_the_search_of_a_tree_judges_labels_as_the_race_does(seed: int, weights: list[float]) -> None:
    rng, names = np.random.default_rng(seed), [str(number) for number in range(120)]
    tree = tree_of_vectors(rng.standard_normal((120, 4)), names)
    errors, times = rng.normal(1, 0.01, (8, 120)) + rng.normal(0, 0.1, 120), np.linspace(0, 1, 8)
    profile = Profile("w", "l2", 0.5, tuple(weights), dict(zip(names, rng.normal(0, 0.3, 120).tolist(), strict=True)))

    def asked(table: np.ndarray, rules: bigain.StoppingRules) -> list[int]:
        asking = Asking(TreeSearch(tree, beam=3), names, [1] * 120, rules, 0, at_once=False)
        while asking.labels:
            asking.add(table[:, asking.labels], times)
        return asking.asked

    rules = bigain.StoppingRules(score="l2")
    found = asked(errors, rules.with_profile(profile))
    assert found == asked(tuned_losses(errors, times, names, profile), rules)
    assert len(found) < 120
    assert seed or found != asked(errors, rules), "by chance a profile may change nothing; with seed 0 it does"


@settings(max_examples=15)
@given(st.lists(st.floats(-1, 1), max_size=3), st.dictionaries(st.text(max_size=4), st.floats(-1, 1), max_size=3))
def test_a_profile_survives_its_file(weights: list[float], bias: dict[str, float]) -> None:
    from tempfile import NamedTemporaryFile

    made = Profile("w", "log", 0.1, tuple(weights), bias, ("a {}",), ("x",), "m", ("00",), {"n": 1})
    with NamedTemporaryFile("w", suffix=".json") as file:
        file.write(made.to_json())
        file.flush()
        assert Profile.read(file.name) == made and Profile.read(file.name).digest == made.digest


def test_only_what_changes_answers_is_in_the_digest() -> None:
    assert dataclasses.replace(PLAIN, images=("1",), about={"a": 1}, model="x").digest == PLAIN.digest
    for change in ({"temperature": 0.4}, {"time_weights": (0.1,)}, {"bias": {"a": 1.0}}, {"templates": ("{}",)}):
        assert dataclasses.replace(PLAIN, **change).digest != PLAIN.digest  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"score": "vote"}, "cannot be tuned"),
        ({"score": 3}, "not a text"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"time_weights": [1, 2, 3, 4]}, "at most 3"),
        ({"bias": [1]}, "bias"),
        ({"bias": {"a": "b"}}, "bias"),
        ({"templates": ["a cat"]}, "has no {}"),
        ({"extra": 1}, "unknown entry 'extra'"),
        ({"images": 7}, "not a profile"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(change: dict, why: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps({**json.loads(PLAIN.to_json()), **change}))
    with pytest.raises(UsageError, match=why):
        Profile.read(str(tmp_path / "p.json"))


def test_what_does_not_fit_a_profile_is_refused() -> None:
    colours = bigain.load("colours")
    mine = dataclasses.replace(PLAIN, weights=colours.identity, bias=dict.fromkeys(NAMES, 0.0))
    rules = bigain.StoppingRules().with_profile(mine)
    assert bigain.Classification(colours, NAMES, rules=rules).settings["temperature"] == 0.5
    for options, why in (
        ({"labels": (*NAMES, "black")}, "label 'black' with a profile"),
        ({"reject": True}, "--reject with a profile"),
        ({"maps": True}, "heatmaps with a profile"),
        ({"rules": bigain.StoppingRules().with_profile(PLAIN)}, "was tuned for another model"),
    ):
        with pytest.raises(UsageError, match=why):
            bigain.Classification(colours, **{"labels": NAMES, "rules": rules, **options})
    for options in ({"score": "log"}, {"times": (0.1, 0.5)}, {"error_in": "sample"}):
        with pytest.raises(UsageError, match="with a profile"):
            bigain.StoppingRules(**options).with_profile(mine)


# The commands.


def command(*arguments: str) -> Result:
    return warm(*arguments)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in COLOURS:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            image(tmp_path / "photos" / name / f"{number}.png", name, number)
    colours = bigain.load("colours")
    profile = Profile(colours.identity, "l2", 0.01, (0.5,), labels=NAMES, model="colours")
    (tmp_path / "p.json").write_text(profile.to_json())
    return tmp_path


def test_a_profile_is_in_the_record_and_in_the_fingerprint(place: Path) -> None:
    line = ("classify", "photos/red/0.png", "-l", "red,green,blue", "--jsonl")
    (plain,), (tuned,) = command(*line).records, command(*line, "--profile", "p.json").records
    (none,) = command(*line, "--profile", "none").records
    assert none == plain and "profile" not in plain["settings"]
    assert tuned["settings"]["profile"] == Profile.read("p.json").digest and tuned["settings"]["temperature"] == 0.01
    assert tuned["settings"]["fingerprint"] != plain["settings"]["fingerprint"] and tuned["gap"] != plain["gap"]
    refused = command(*line, "--profile", "p.json", "--score", "log")
    assert refused.code == 2 and "--score with a profile" in refused.err
    assert "cannot be read" in command(*line, "--profile", "gone.json").err


def test_evaluation_leaves_out_what_was_tuned_on(place: Path) -> None:
    from PIL import Image

    from bigain_cli.images import digest

    with Image.open("photos/red/0.png") as opened:
        used = digest(opened.convert("RGB")).hex()
    profile = dataclasses.replace(Profile.read("p.json"), images=(used,))
    (place / "p.json").write_text(profile.to_json())
    line = ("evaluate", "photos", "-c", "none", "--profile", "p.json", "--per-class", "2", "--json")
    found = command(*line, "--seed", "1", "--records", "r.jsonl")
    records = [json.loads(text) for text in Path("r.jsonl").read_text().splitlines()]
    failed = {each["id"]: each["error"]["kind"] for each in records if "error" in each}
    every = command(*line[:-3], "--json")
    document = json.loads(every.out)
    assert failed in ({}, {"photos/red/0.png": "tuned-on"})
    assert every.code == 1 and list(document["failed"]) == ["photos/red/0.png"] and "tuned on" in every.err
    assert found.code == bool(failed)


def test_a_profile_is_written_once_and_errors_are_kept(place: Path) -> None:
    line = ("tune", "colours", "photos", "-o", "new.json", "--per-class", "5", "--keep", "kept")
    found = command(*line, "--draws", "8")
    assert found.code == 0 and b"kept" in found.out and "15 images: kept" in found.err, found.err
    profile = Profile.read("new.json")
    assert len(profile.images) == 15 and set(profile.labels) == set(NAMES)
    again = command(*line, "--draws", "8", "--force", "--json")
    document = json.loads(again.out)
    assert Profile.read("new.json") == profile and len(list(Path("kept").glob("errors-*.npz"))) == 15
    assert document["images"] == 15 and document["refused"] is None
    changed = command(*line[:4], "other.json", *line[5:], "--draws", "16")
    assert changed.code == 2 and "was made with another draws" in changed.err
    more = command(*line[:4], "more.json", *line[5:], "--draws", "8", "-l", "red,green,blue,pink")
    assert more.code == 0 and len(list(Path("kept").glob("errors-*.npz"))) == 30, "each choice of labels has its own"


def test_a_seed_below_zero_is_a_seed(place: Path) -> None:
    line = ("tune", "colours", "photos", "-o", "below.json", "--per-class", "5", "--draws", "8", "--seed", "-1")
    assert command(*line).code == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("colours", "photos", "-o", "p.json"), "exists"),
        (("colours", "photos", "-o", "p.txt"), "a profile is a .json file"),
        (("colours", "gone", "-o", "n.json"), "no such folder"),
        (("colours", "photos", "-o", "n.json", "--per-class", "4"), "too few images"),
        (("colours", "photos", "-o", "n.json", "--draws", "4"), "must be 8 at least"),
        (("colours", "photos", "-o", "n.json", "--keep", ""), "--keep '': names nothing"),
        (("colours", "photos", "-o", "n.json", "-t", "x"), "has no {}"),
        (("colours", "photos", "-o", "n.json", "-t", "a {}"), "knows class names"),
    ],
)
def test_what_cannot_be_tuned_is_a_usage_error(arguments: tuple[str, ...], why: str, place: Path) -> None:
    found = command("tune", *arguments)
    assert (found.code, found.out) == (2, b"") and why in found.err


def test_a_class_with_few_images_is_named(place: Path) -> None:
    for number in range(2):
        Path(f"photos/blue/{number}.png").unlink()
    with pytest.raises(UsageError, match="class 'blue' of photos: has 4 images"):
        bigain.tune("colours", "photos")


def test_a_random_network_is_refused(models, place: Path) -> None:
    options = ("--per-class", "5", "--draws", "8", "-t", "a {}")
    found = command("tune", str(models["pixels"]), "photos", "-o", "new.json", *options)
    assert found.code == 1 and not Path("new.json").exists(), found.err
    assert "no profile for" in found.err and "in cross-validation" in found.err and b"refused" in found.out


def test_the_same_image_twice_counts_once(place: Path) -> None:
    Path("photos/blue/0.png").write_bytes(Path("photos/red/0.png").read_bytes())
    Path("photos/green/1.png").write_bytes(Path("photos/green/0.png").read_bytes())
    Path("photos/green/2.png").write_bytes(b"no image")
    found = bigain.tune("colours", "photos", bigain.TuneOptions(6, draws=8)).tuning()
    assert found.images == 15 and len(found.skipped) == 3


def test_fewer_different_images_than_folds_are_refused(place: Path) -> None:
    for colour in ("red", "green"):
        (folder := Path("twins", colour)).mkdir(parents=True)
        for number in range(5):
            shutil.copy(f"photos/{colour}/{min(number, 1)}.png", folder / f"{number}.png")
    with pytest.raises(UsageError, match="too few images could be used"):
        bigain.tune("colours", "twins", bigain.TuneOptions(draws=8)).tuning()


def test_a_profile_beside_a_model_is_used_and_can_be_left_out(models, place: Path) -> None:
    import shutil

    model = str(shutil.copytree(models["pixels"], place / "model"))
    identity = bigain.load(model).identity
    Path(model, "profile.json").write_text(Profile(identity, "l2", 0.01).to_json())
    assert bigain.load(model).identity == identity
    line = ("classify", "photos/red/0.png", "-l", "red,green", "--draws", "8", "--jsonl", "-m", model)
    found, without, other = command(*line), command(*line, "--profile", "none"), command(*line, "--score", "log")
    assert "profile" in found.records[0]["settings"] and "--profile none leaves it out" in found.err
    assert "profile" not in without.records[0]["settings"] and "profile" not in other.records[0]["settings"]
    assert "not used, because of --score" in other.err
