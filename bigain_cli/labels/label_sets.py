"""Read the labels that a specification names: a path goes before a preset, a preset before an inline list.

`origin` describes what was found. There is no silent fallback: what looks like a path is one.
"""

# os.path returns False where pathlib raises: names that are too long, folders without permission.
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bigain_cli.errors import UsageError
from bigain_cli.labels.label_files import FORMATS, Label, from_lines, from_list
from bigain_cli.limits import read_text_file
from bigain_cli.near_names import did_you_mean, listed

INLINE_LIST = "inline list"  # an origin
SUFFIXES = (".txt", ".csv", ".json", ".tsv")


@dataclass(frozen=True)
class LabelSet:
    """Labels of different names, and a description of where they come from."""

    labels: tuple[Label, ...]
    origin: str


def read_labels(spec: str, presets: Mapping[str, Path]) -> LabelSet:
    """Read the labels of a file, a preset or an inline list."""
    if spec == "-":
        raise UsageError("label file -", "labels are not read from stdin", "Name a file, or write cat,dog.")
    folder = os.path.isdir(spec)
    if os.path.lexists(spec) and not folder:
        return LabelSet(_from_file(spec, spec), f"file {spec}")
    if spec in presets:
        return LabelSet(_from_file(os.fspath(presets[spec]), f"preset {spec}"), f"preset {spec}")
    looks_like_path = spec.lower().endswith(SUFFIXES) or ("," not in spec and (os.sep in spec or folder))
    if looks_like_path and folder:
        raise UsageError(spec, "a folder, not a label file", "Name a text, CSV or JSON file in it.")
    if looks_like_path:
        path = f"Check the path, or name a preset: {listed(presets)}." if presets else "Check the path."
        raise UsageError(spec, "no such label file", did_you_mean(Path(spec).stem, presets, path))
    if "," in spec:
        return LabelSet(from_list(spec, INLINE_LIST), INLINE_LIST)
    known = did_you_mean(spec, presets, f"Presets: {listed(presets)}." if presets else "")
    hint = f"{known} An inline list has commas: cat,dog. One label alone ends with one: -l cat, --reject.".strip()
    raise UsageError(f"labels {spec!r}", "neither a file nor a preset", hint)


def presets() -> dict[str, Path]:
    """Return the label presets by name: the CSV files that come with the package."""
    package = Path(__file__).parents[1]
    in_wheel, in_source_tree = package / "prompts", package.parent / "prompts"
    folder = in_wheel if in_wheel.is_dir() else in_source_tree
    return {path.stem: path for path in sorted(folder.glob("*.csv"))}


def list_presets() -> list[dict[str, object]]:
    """Return the name of each label preset, its number of labels and its file."""
    return [
        {"name": name, "labels": len(read_labels(str(path), {}).labels), "source": str(path)}
        for name, path in presets().items()
    ]


def _from_file(path: str, origin: str) -> tuple[Label, ...]:
    """Read a label file in the format of its suffix."""
    try:
        text = decode_utf8(read_text_file(path, origin), origin)
    except PermissionError as error:
        raise UsageError(origin, "no permission to read it", "Check its permissions.") from error
    except OSError as error:
        raise UsageError(origin, f"cannot be read ({error.strerror})", "Check the path.") from error
    if not text.strip():
        raise UsageError(origin, "the file is empty", "Write one label per line.")
    return FORMATS.get(Path(path).suffix.lower(), from_lines)(text, origin)


def decode_utf8(data: bytes, origin: str) -> str:
    """Decode UTF-8 with or without a byte order mark; an error names the line."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = f"not UTF-8 (byte 0x{error.object[error.start]:02x})"
        raise UsageError(f"{origin}, line {line}", why, "Save it as UTF-8.") from error
