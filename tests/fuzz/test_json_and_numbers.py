"""Wild JSON and numbers wherever texts of others are read without a network: understood, or refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from fuzz_cases import DEEP, LONG, check, generator, wild_bytes, wild_json, wild_value
from test_model_folders import CARD

from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.model_locations import resolve
from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.classification.label_prompts import check_prompts
from bigain_cli.compress import parse
from bigain_cli.generation.image_paths import image_names
from bigain_cli.generation.options import read_size
from bigain_cli.generation.prompts import read_prompts
from bigain_cli.labels import presets, read_labels
from bigain_cli.outputs.resume import read_recorded_ids
from bigain_cli.training.job import read_synonyms
from bigain_cli.training.recipe import load_recipe

FAST, ALL = 300, 8_000
SPECS = ("lgtm:0.7", "iekvd:2@0.9", "lgtm:0.5@stride=2x2@blocks=1-3,7+mlp", "tome:0.5@levels=all", "none")
NAMES = ("mini", "~nosuchuser/x", "owner/name", "weights.safetensors", "/", "~", "sd1.5", "a/b/c", "-", "x" * 300)
RECORD = {"id": "a.jpg", "label": "cat", "settings": {"fingerprint": "f"}}


def wild_text(dice: Random, text: str) -> str:
    """Return a text with changed letters, or a number without end in it."""
    if dice.random() < 0.2:
        place = dice.randrange(len(text) + 1)
        return text[:place] + dice.choice([LONG, DEEP, "-1", "1e999", "nan", "٣", "\0", "\ud800"]) + text[place:]
    return wild_bytes(dice, text.encode()).decode(errors="replace")


def written(place: Path, name: str, text: str) -> str:
    (place / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    return str(place / name)


def read_card(dice: Random, place: Path) -> object:
    written(place, "bigain.json", wild_json(dice, CARD))
    return ModelCard.read(place)


def read_label_file(dice: Random, place: Path) -> object:
    document = dice.choice([["cat", "dog"], {"cat": "a cat", "dog": ["a dog", "a puppy"]}])
    return read_labels(written(place, "labels.json", wild_json(dice, document)), presets())


def read_label_text(dice: Random, place: Path) -> object:
    name, text = dice.choice(
        [
            ("labels.txt", "# pets\ncat\ta cat\ta kitten\ndog\r\n\nsmall owl\n"),
            ("labels.csv", 'prompt,classname,classidx\n"a cat, say",cat,0\na kitten,cat,0\na dog,dog,1\n'),
            ("labels.tsv", "cat\ta cat\ndog\n"),
        ]
    )
    data = wild_bytes(dice, text.encode()) if dice.random() < 0.7 else wild_text(dice, text).encode(errors="replace")
    (place / name).write_bytes(data)
    found = read_labels(str(place / name), presets())
    vocabulary = PromptVocabulary({"cat": ["cat", "kitten"], "dog": ["dog"]}, ["a {}", "{}"])
    return check_prompts(
        found, dice.choice([(), ("a {}",), ("{}",)]), dice.random() < 0.5, dice.choice([None, vocabulary])
    )


def read_prompt_file(dice: Random, place: Path) -> object:
    (place / "prompts.txt").write_bytes(wild_bytes(dice, b"a cat\n# no\n\n a dog\r\n"))
    prompts = read_prompts(["x"] * dice.randrange(2), str(place / "prompts.txt"))
    return image_names(prompts, 2, 0)


def read_recipe(dice: Random, place: Path) -> object:
    key, value = dice.choice(["width", "rate", "arch", "steps", "flip", "x"]), wild_value(dice)
    text = f"{key} = {dice.choice([json.dumps(value), LONG, DEEP, '[' * 50, '{a=' * 5000, '1979-05-27'])}"
    return load_recipe(written(place, "recipe.toml", text), {})


def read_records(dice: Random, place: Path) -> object:
    lines = [wild_json(dice, RECORD) if dice.random() < 0.5 else json.dumps(RECORD) for _ in range(3)]
    return read_recorded_ids(written(place, "out.jsonl", "\n".join(lines)), "f")


READERS: dict[str, Callable[[Random, Path], object]] = {
    "card": read_card,
    "labels": read_label_file,
    "label text": read_label_text,
    "prompts": read_prompt_file,
    "recipe": read_recipe,
    "records": read_records,
    "synonyms": lambda dice, place: read_synonyms(written(place, "s.json", wild_json(dice, {"automobile": ["car"]}))),
    "spec": lambda dice, place: parse(wild_text(dice, dice.choice(SPECS))),
    "size": lambda dice, place: read_size(wild_text(dice, "512x768")),
    "model": lambda dice, place: resolve(wild_text(dice, dice.choice(NAMES))),
}


def run_case(number: int, kind: str, place: Path) -> str:
    """Read one wild text."""
    dice = generator(kind, number)
    return check(lambda: READERS[kind](dice, place))


@pytest.mark.parametrize("kind", READERS)
def test_some_wild_texts(kind: str, tmp_path: Path) -> None:
    assert {run_case(number, kind, tmp_path) for number in range(FAST // len(READERS))}


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_wild_texts(kind: str, tmp_path: Path) -> None:
    for number in range(FAST // len(READERS), ALL // len(READERS)):
        run_case(number, kind, tmp_path)


def test_names_of_no_user_and_of_any_length_are_no_models() -> None:
    for name in ("~nosuchuser/x", "~nosuchuser", "x" * 5000, "/" + "x" * 5000, "a\0b", "\ud800"):
        assert check(lambda name=name: resolve(name)) == "refused"  # type: ignore[misc]
