"""The closed language of a trained model: what is accepted, what is refused, and how it is read."""

from __future__ import annotations

import unicodedata

import pytest
import train_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain_cli.backbones.vocabulary import PromptVocabulary, plain
from bigain_cli.errors import UsageError
from bigain_cli.training.recipe import TEMPLATES
from bigain_cli.training.tokenizer import (
    byte_pairs,
    make_tokenizer,
    make_vocabulary,
    prompts_by_class,
    refuse_identical_prompts,
)

ODD = ("passenger-car", "T_shirt", "Boîte", "F-16", "747", "No. 5", "cat", "catfish boat", "big cat", "日本語", "猫")
ODD += ("photo", "a+b", "Straße", unicodedata.normalize("NFD", "Café"), "St. Bernard", "\N{CAT FACE}", "x" * 60)
KNOWN = cases.vocabulary(("automobile", "cat", "big cat", "dog"), {"automobile": ["car", "motor-car"]})


@pytest.mark.parametrize("name", KNOWN.classes)
def test_every_name_in_every_template_in_every_spelling_is_accepted(name: str) -> None:
    for text in KNOWN.sentences(name):
        read = KNOWN.normalise(text)
        for variant in (text.upper(), f"  {text} ", text.replace(" ", "  "), text.replace("-", "_"), text.title()):
            assert KNOWN.normalise(variant) == read
        for variant in (text.rstrip(".") + "!", text.rstrip(".") + "..", text.rstrip(".")):
            assert plain(KNOWN.normalise(variant)) == plain(read)


def test_a_spelling_that_no_sentence_has_is_read_as_words_that_were_learnt() -> None:
    vocabulary = PromptVocabulary({"cat": ("cat",), "dog": ("dog",)}, ("a {}",))
    assert vocabulary.normalise("A cat!") == vocabulary.normalise("a cat...") == "a cat"
    tokenizer = make_tokenizer([text for group in prompts_by_class(vocabulary) for text in group])
    assert tokenizer.unk_token_id not in tokenizer(vocabulary.normalise("a cat.")).input_ids[1:-1]


@pytest.mark.parametrize("prompt", ["", " ", ".", "!"])
def test_the_empty_prompt_is_no_condition(prompt: str) -> None:
    assert KNOWN.normalise(prompt) == ""


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("a photo of a caat", r"does not know the word 'caat'. Did you mean cat\? It knows: "),
        ("a photo of a zebra", r"does not know the word 'zebra'. It knows: automobile, cat, big cat, dog"),
        ("a photo of a cat and", "does not know the word 'and'"),
        ("cat dog", r"names several classes \(cat, dog\)"),
        ("a photo of a", "names none of its classes"),
        ("big", "names none of its classes"),
    ],
)
def test_the_rest_is_refused(prompt: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        KNOWN.normalise(prompt)


def test_a_name_inside_another_is_not_taken_for_it() -> None:
    assert KNOWN._classes_in(["a", "big", "cat"]) == ["big cat"]
    assert KNOWN._classes_in(["a", "cat"]) == ["cat"]


@pytest.mark.parametrize("arch", ["unet", "dit"])
def test_odd_names_are_each_read_as_themselves(arch: str) -> None:
    vocabulary = cases.vocabulary(ODD)
    groups = prompts_by_class(vocabulary)
    assert [len(group) for group in groups] == [len(TEMPLATES)] * len(ODD)
    for name, group in zip(ODD, groups, strict=True):
        assert vocabulary.normalise(vocabulary.prompt(name)) in group
        assert vocabulary.normalise(unicodedata.normalize("NFD", name).upper()) == vocabulary.normalise(name)
    texts = [text for group in groups for text in group]
    tokenizer = make_tokenizer([*texts, ""])
    rows = [tuple(ids) for ids in tokenizer(texts).input_ids]
    assert len(set(rows)) == len(set(texts)) == len(texts)
    assert max(map(len, rows)) <= tokenizer.model_max_length < max(map(len, rows)) + 4
    assert not any({tokenizer.unk_token_id, tokenizer.bos_token_id} & set(row[1:-1]) for row in rows)
    assert cases.training(cases.recipe(arch), cases.toy(classes=ODD)).trainable.empty > 0


WORD = st.text(st.characters(categories=("Ll", "Lu", "Lo", "Nd")), min_size=1, max_size=6)


@settings(max_examples=15, deadline=None)
@given(st.lists(WORD, min_size=2, max_size=6))
def test_names_of_any_letters_are_told_apart_or_refused(names: list[str]) -> None:
    try:
        vocabulary = cases.vocabulary(tuple(dict.fromkeys(names)), templates=("{}", "a photo of a {}."))
        groups = prompts_by_class(vocabulary)
        tokenizer = make_tokenizer([text for group in groups for text in group] + [""])
        refuse_identical_prompts(vocabulary, tokenizer)
    except UsageError:
        return
    rows = [{tuple(ids) for ids in tokenizer(group).input_ids} for group in groups]
    assert len(set.union(*rows)) == sum(map(len, rows))
    assert not any(tokenizer.unk_token_id in row[1:-1] for group in rows for row in group)


def test_the_vocabulary_is_made_of_the_texts_and_nothing_else() -> None:
    texts = ["a photo of a cat.", "a dog"]
    assert byte_pairs(texts) == byte_pairs(reversed(texts)) == byte_pairs(texts * 2)
    vocabulary, merges = byte_pairs(texts)
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert {"cat</w>", "photo</w>", ".</w>"} <= set(vocabulary)
    assert all(left in vocabulary and right in vocabulary and left + right in vocabulary for left, right in merges)


@pytest.mark.parametrize(
    ("classes", "synonyms", "why"),
    [
        (
            ("passenger-car", "passenger car"),
            {},
            "'passenger-car' and 'passenger car': both are called 'passenger car'",
        ),
        (("T_shirt", "t-SHIRT"), {}, "both are called 't shirt'"),
        (("Boîte", unicodedata.normalize("NFD", "boîte")), {}, "both are called"),
        (("cat", "cat."), {}, "both are called 'cat'"),
        (("cat", "dog"), {"dog": ["Cat"]}, "both are called 'cat'"),
        (("cat, small", "cat"), {}, "both are called 'cat'"),
        (("cat", "photo of a cat"), {}, "both are called 'a photo of a cat'"),
        (("cat", "dog"), {"bird": ["gull"]}, "'bird' is no class of this data. Classes: cat, dog."),
        (("cat", "---"), {}, "'---': a name without a letter"),
        (("cat", "_"), {}, "a name without a letter"),
        (("cat", ""), {}, "a name without a letter"),
        (("cat", "a\nb"), {}, "not plain text"),
        (("cat", "\udcff"), {}, "not plain text"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(classes: tuple[str, ...], synonyms: dict, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        make_vocabulary(classes, synonyms, TEMPLATES)


def test_names_that_a_tokenizer_cannot_tell_apart_are_refused_before_training() -> None:
    with pytest.raises(UsageError, match="'type 2' and 'type2': the model would read them alike"):
        cases.training(cases.recipe(), cases.toy(classes=("type 2", "type2")))


def test_a_template_without_a_place_for_the_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"template 'a thing': has no \{\}"):
        make_vocabulary(cases.CLASSES, {}, ("a thing",))


def test_the_question_is_the_commands_own_or_the_first_that_was_learnt() -> None:
    assert cases.vocabulary(("airplane", "cat")).prompt("airplane") == "a photo of an airplane."
    assert cases.vocabulary(templates=("an X-ray of {}", "{}")).prompt("bird") == "an X-ray of bird"
