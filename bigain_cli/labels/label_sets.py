"""Find the labels that a specification means: a path wins over a preset, a preset over an inline list.

`origin` says in words what was chosen. Nothing falls back silently: what looks like a path is one.
"""

# os.path says no where pathlib raises: names too long, folders that are closed.
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bigain_cli.errors import UsageError, did_you_mean
from bigain_cli.labels.label_files import FORMATS, Label, from_lines, from_list

LISTED = "inline list"  # the origin of labels that were written out
SUFFIXES = (".txt", ".csv", ".json", ".tsv")


@dataclass(frozen=True)
class LabelSet:
    """Labels of different names, and where they came from in words."""

    labels: tuple[Label, ...]
    origin: str


def read_labels(spec: str, presets: Mapping[str, Path]) -> LabelSet:
    """Read the labels that a path, a preset's name or an inline list stands for."""
    if spec == "-":
        raise UsageError("label file -", "labels are not read from stdin", "Name a file, or write cat,dog")
    folder = os.path.isdir(spec)
    if os.path.lexists(spec) and not folder:
        return LabelSet(_from_file(spec, spec), f"file {spec}")
    if spec in presets:
        return LabelSet(_from_file(os.fspath(presets[spec]), f"preset {spec}"), f"preset {spec}")
    looks_like_path = spec.lower().endswith(SUFFIXES) or ("," not in spec and (os.sep in spec or folder))
    if looks_like_path:
        raise _no_file(spec, presets)
    if "," in spec:
        return LabelSet(from_list(spec, LISTED), LISTED)
    known = did_you_mean(spec, presets, f"Presets: {', '.join(presets)}." if presets else "")
    hint = f"{known} An inline list has commas: cat,dog (one label: cat, with --reject)".strip()
    raise UsageError(f"labels {spec!r}", "neither a file nor a preset", hint)


def presets() -> dict[str, Path]:
    """Return the label presets by name: the CSV files that come with the package."""
    package = Path(__file__).parents[1]
    homes = (package / "prompts", package.parent / "prompts")  # in a wheel; in a source tree
    home = next((home for home in homes if home.is_dir()), homes[0])
    return {path.stem: path for path in sorted(home.glob("*.csv"))}


def list_presets() -> list[dict[str, object]]:
    """Return all label presets: how many labels each has, and where it comes from."""
    return [
        {"name": name, "labels": len(read_labels(str(path), {}).labels), "source": str(path)}
        for name, path in presets().items()
    ]


def _from_file(path: str, origin: str) -> tuple[Label, ...]:
    """Read a label file in the format of its suffix."""
    parse = FORMATS.get(Path(path).suffix.lower(), from_lines)
    text = _text(path, origin)
    if not text.strip():
        raise UsageError(origin, "the file is empty", "Write one label per line")
    return parse(text, origin)


def _text(path: str, origin: str) -> str:
    try:
        return decoded(Path(path).read_bytes(), origin)
    except PermissionError as error:
        raise UsageError(origin, "no permission to read it", "Check its permissions") from error
    except OSError as error:
        raise UsageError(origin, f"cannot be read ({error.strerror})", "Check the path") from error


def decoded(data: bytes, origin: str) -> str:
    """Read UTF-8, with or without a byte order mark; a mistake is named by its line."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = f"not UTF-8 (byte 0x{error.object[error.start]:02x})"
        raise UsageError(f"{origin}, line {line}", why, "Save it as UTF-8") from error


def _no_file(spec: str, presets: Mapping[str, Path]) -> UsageError:
    """Say that a path leads to no label file."""
    if os.path.isdir(spec):
        return UsageError(spec, "a folder, not a label file", "Name a text, CSV or JSON file in it")
    return UsageError(spec, "no such label file", did_you_mean(Path(spec).stem, presets, "Check the path"))
