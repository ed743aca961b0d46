"""JSON and numbers of others are read as Python reads them, or refused in words; never a crash."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.vocabulary import ClassVocabulary
from bigain_cli.compress import parse
from bigain_cli.errors import UsageError
from bigain_cli.generation.options import read_size
from bigain_cli.json_text import read_json
from bigain_cli.labels import presets, read_labels
from bigain_cli.training.recipe import load_recipe

PACKAGE = Path(__file__).parents[1] / "bigain_cli"
DEEP, LONG = "[" * 100_000, "9" * 5_000
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_json_writes_is_read_back(value: object) -> None:
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, LONG, f"[-{LONG}]", "[1", "", b"\xff", "9" * 400])
def test_whatever_is_wrong_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


def test_no_other_file_reads_the_json_of_others() -> None:
    own = {"json_text.py", "evaluation/array_cache.py", "training/export.py"}  # the last two read what they wrote
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("loads", "load")
        and getattr(node.value, "id", "") == "json"
    }
    assert found == own


def _labels(path: Path, text: str) -> object:
    path.write_text(text)
    return read_labels(str(path), presets())


READERS: dict[str, Callable[[Path, str], object]] = {
    "labels": lambda folder, text: _labels(folder / "labels.json", text),
    "card": lambda folder, text: (folder / "bigain.json").write_text(text) and ModelCard.read(folder),
    "recipe": lambda folder, text: (
        (folder / "a.toml").write_text(f"steps = {text}") and load_recipe(str(folder / "a.toml"), {})
    ),
    "factor": lambda folder, text: parse(f"iekvd:{text}"),
    "ratio": lambda folder, text: parse(f"lgtm:{text}"),
    "blocks": lambda folder, text: parse(f"lgtm:0.5@blocks=1-{text}"),
    "levels": lambda folder, text: parse(f"lgtm:0.5@levels={text}"),
    "stride": lambda folder, text: parse(f"lgtm:0.5@stride=2x{text}"),
    "size": lambda folder, text: read_size(f"32x{text}"),
    "class": lambda folder, text: ClassVocabulary({0: "cat"}, None).find(text),
}


@pytest.mark.parametrize("text", [DEEP, LONG, "9" * 4_000])
@pytest.mark.parametrize("reader", READERS)
def test_deep_nesting_and_long_numbers_are_refused_in_words(reader: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        READERS[reader](tmp_path, text)
