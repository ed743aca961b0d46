"""Parse the text of a label file: lines, CSV or JSON in, labels out in the file's order, without duplicate names.

`origin` names the file in messages. Must not know where the text comes from.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.json_text import read_json

HEADER = ("prompt", "classname", "classidx")
_JSON_SHAPE = 'Write ["cat", "dog"] or {"cat": ["a cat", "a kitten"]}.'
_CSV_SHAPE = f"Its first line must be {','.join(HEADER)} and each row must fill prompt and classname."
_Entry = tuple[str, str, list[str]]  # where it is in the file, name, prompts


@dataclass(frozen=True)
class Label:
    """A class's name and the prompts that describe it; if there are none, they are made from templates."""

    name: str
    prompts: tuple[str, ...] = ()


def from_lines(text: str, origin: str) -> tuple[Label, ...]:
    """Read one label per line, its prompts after tabs; blank lines and lines that start with # are skipped."""
    entries: list[_Entry] = []
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, *prompts = line.split("\t")
            entries.append((f"line {number}", name, prompts))
    return _labels_of(entries, origin)


def from_list(text: str, origin: str) -> tuple[Label, ...]:
    """Read names separated by commas; `red,` is a list of one."""
    names = text.split(",")
    if len(names) == 2 and names[0].strip() and not names[1].strip():
        names.pop()
    return _labels_of([(f"entry {number}", name, []) for number, name in enumerate(names, 1)], origin)


def from_json(text: str, origin: str) -> tuple[Label, ...]:
    """Read `["cat", "dog"]` or `{"cat": "a cat", "dog": ["a dog", "a puppy"]}`."""
    try:
        document = read_json(text, object_pairs=_Pairs)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{origin}, line {error.lineno}", f"not valid JSON ({error.msg})", "Correct the file."
        ) from error
    except ValueError as error:
        raise UsageError(origin, str(error), _JSON_SHAPE) from error
    if not isinstance(document, list):
        raise UsageError(origin, "neither an object nor an array", _JSON_SHAPE)
    is_object = isinstance(document, _Pairs)
    pairs: list[tuple[Any, Any]] = document if is_object else [(name, []) for name in document]
    lines = _json_lines(text, is_object) + ["at its end"] * len(pairs)
    entries = [_json_entry(where, name, texts, origin) for where, (name, texts) in zip(lines, pairs, strict=False)]
    return _labels_of(entries, origin)


def from_csv(text: str, origin: str) -> tuple[Label, ...]:
    """Read rows of prompt, classname and classidx; the rows of one class are its prompts."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    classes = _Classes(origin)
    try:
        prompt, name, index = _columns_of(next(reader, []), origin)
        for row in reader:
            if any(cell.strip() for cell in row):
                if len(row) <= max(prompt, name):
                    raise UsageError(f"{origin}, line {reader.line_num}", f"only {len(row)} columns", _CSV_SHAPE)
                class_index = row[index].strip() if 0 <= index < len(row) else ""
                classes.add(f"line {reader.line_num}", row[name].strip(), class_index, row[prompt].strip())
    except csv.Error as error:
        raise UsageError(
            f"{origin}, line {reader.line_num}", f"not valid CSV ({error})", "Correct the file."
        ) from error
    entries = [(where, name, prompts) for name, (where, _, prompts) in classes.rows.items()]
    return _labels_of(entries, origin)


class _Pairs(list[tuple[str, Any]]):
    """The pairs of a JSON object, in which duplicate names are not lost."""


class _Classes:
    """The rows of a CSV file by class, in the order of the classes' first rows."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.rows: dict[str, tuple[str, str, list[str]]] = {}  # name → first line, classidx, prompts
        self.names: dict[str, str] = {}  # classidx → name

    def add(self, where: str, name: str, index: str, prompt: str) -> None:
        """Add one row; a class has one name and one index."""
        if not (name and prompt):
            raise UsageError(f"{self.origin}, {where}", f"an empty {'prompt' if name else 'label'}", _CSV_SHAPE)
        first, first_index, prompts = self.rows.setdefault(name, (where, index, []))
        if first_index != index:
            raise _duplicate(self.origin, where, name, first, f" with classidx {first_index or '(none)'}")
        if index and self.names.setdefault(index, name) != name:
            other = self.names[index]
            why = f"classidx {index} is {other!r} on {self.rows[other][0]} already"
            raise UsageError(f"{self.origin}, {where}", why, "Give each class a different index.")
        if prompt in prompts:
            raise _duplicate(self.origin, where, name, first, " with this prompt")
        prompts.append(prompt)


def _columns_of(header: list[str], origin: str) -> tuple[int, int, int]:
    """Return the columns of prompt, classname and classidx (-1 if there is none)."""
    found = [cell.strip().lower() for cell in header]
    if not {"prompt", "classname"} <= set(found):
        raise UsageError(f"{origin}, line 1", f"expected the header {','.join(HEADER)}, found {','.join(header)!r}")
    return found.index("prompt"), found.index("classname"), found.index("classidx") if "classidx" in found else -1


def _json_entry(where: str, name: Any, prompts: Any, origin: str) -> _Entry:
    """Check one entry of a JSON document."""
    prompts = [prompts] if isinstance(prompts, str) else prompts
    strings = isinstance(prompts, list) and all(isinstance(prompt, str) for prompt in prompts)
    if not isinstance(name, str) or not strings:
        raise UsageError(f"{origin}, {where}", f"label {name!r} or its prompts are not strings", _JSON_SHAPE)
    return where, name, prompts


def _json_lines(text: str, is_object: bool) -> list[str]:
    """Return the lines of an object's keys, or of an array's strings."""
    lines, line, before = [], 1, 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"(\s*:)?', text):
        line, before = line + text.count("\n", before, token.start()), token.start()
        if token[1] or not is_object:
            lines.append(f"line {line}")
    return lines


def _labels_of(entries: Sequence[_Entry], origin: str) -> tuple[Label, ...]:
    """Make labels of entries without blanks around names; refuse empty and duplicate names."""
    found: dict[str, str] = {}
    labels = []
    for where, raw, prompts in entries:
        name = raw.strip()
        if not name:
            raise UsageError(f"{origin}, {where}", "an empty label", "Remove it, or give it a name.")
        if name in found:
            raise _duplicate(origin, where, name, found[name])
        found[name] = where
        labels.append(Label(name, tuple(dict.fromkeys(text for prompt in prompts if (text := prompt.strip())))))
        _check_text(labels[-1], f"{origin}, {where}")
    if not labels:
        raise UsageError(origin, "holds no labels", "Write one label per line.")
    return tuple(labels)


def _check_text(label: Label, where: str) -> None:
    """Refuse what is not UTF-8 text: surrogates, and the zeros of a file in another encoding."""
    text = "".join((label.name, *label.prompts))
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(where, "not UTF-8 text", "Save it as UTF-8.")


def _duplicate(origin: str, where: str, name: str, first: str, detail: str = "") -> UsageError:
    """Return the error for a label that is in the file twice."""
    return UsageError(
        f"{origin}, {where}", f"the label {name!r} is on {first} already{detail}", "Remove one of the two."
    )


FORMATS: dict[str, Callable[[str, str], tuple[Label, ...]]] = {".csv": from_csv, ".json": from_json}
