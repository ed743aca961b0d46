"""Closed vocabularies: names, synonyms, numbers; refusals with near names."""

from __future__ import annotations

import pytest
import tiny_models

import bigain_cli as bigain
from bigain_cli.backbones.vocabulary import HOMONYMS, ClassVocabulary
from bigain_cli.classification.label_prompts import as_label_set, label_prompts
from bigain_cli.errors import UsageError
from bigain_cli.labels import presets, read_labels

KNOWN = ClassVocabulary(tiny_models.NAMES, unconditional=6)


def test_names_synonyms_numbers_and_spellings_are_found() -> None:
    for name, number in {
        "tench": 0,
        "Tinca tinca": 0,
        "TABBY-cat": 1,
        "tench, Tinca tinca": 0,
        " airliner ": 5,
        "3": 3,
    }.items():
        assert KNOWN.find(name) == number
    assert KNOWN.find("") == 6
    assert ClassVocabulary({0: "café"}, None).find("cafe\u0301") == 0, "accents may be characters of their own"


def test_the_error_for_an_unknown_label_lists_near_names_and_another_model() -> None:
    with pytest.raises(UsageError) as problem:
        KNOWN.find("tabbi")
    assert "tabby" in str(problem.value) and "-m sd1.5" in str(problem.value)


def test_a_homonym_needs_a_number() -> None:
    with pytest.raises(UsageError, match=r"several classes of this model: 2 \(crane\); 3 \(crane\)"):
        KNOWN.find("crane")


def test_the_empty_prompt_needs_an_unconditional_class() -> None:
    with pytest.raises(UsageError, match="without an unconditional class"):
        ClassVocabulary({0: "a"}, None).find("")


def test_two_labels_of_one_class_are_refused() -> None:
    with pytest.raises(UsageError, match="are the same class 1"):
        label_prompts(as_label_set(["tabby", "tabby cat"]), (), False, KNOWN)


def test_a_label_may_be_matched_by_its_prompt() -> None:
    competing = label_prompts(as_label_set({"my cat": "tabby", "fish": ["tench"]}), (), False, KNOWN)
    assert [label.texts for label in competing] == [("tabby",), ("tench",)]


def test_templates_are_refused() -> None:
    with pytest.raises(UsageError, match="knows class names, not sentences"):
        label_prompts(as_label_set(["tabby", "tench"]), ("a {}",), False, KNOWN)


def test_imagenet_homonyms_of_the_preset_are_distinguished() -> None:
    names = dict(HOMONYMS.values())
    names |= {2: "Crane, not the bird"}
    vocabulary = ClassVocabulary({**names, 999: "crane bird house"}, None)
    for name, (number, _) in HOMONYMS.items():
        assert vocabulary.find(name) == number
    preset = {label.name for label in read_labels("imagenet", presets()).labels}
    assert {name.casefold() for name in preset} >= set(HOMONYMS)


def test_near_names_share_a_word_before_they_share_letters() -> None:
    known = ClassVocabulary({0: "crate", 1: "tabby cat", 2: "coast"}, None)
    with pytest.raises(UsageError, match=r"Did you mean tabby cat\? It knows: crate, tabby cat, coast\."):
        known.find("cat")


def test_dit_classifies_by_class(models, images) -> None:
    backbone = bigain.load(str(models["dit"]), device="cpu")
    result = next(bigain.classify(backbone, images[:1], ["tabby cat", "Tinca tinca"], reject=True))
    assert {place.label for place in result.ranked} == {"tabby cat", "Tinca tinca", "none"}
    with pytest.raises(UsageError, match="not among the 6 classes"):
        bigain.classify(backbone, images[:1], ["tabby", "spaceship"])
