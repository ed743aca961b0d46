"""Pairs in Winoground's format: a .jsonl file in, of each line two images and two captions; caption 0 is of image 0.

An image is named as in that data set, without suffix and without its folder, or by its path. Must not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bigain_cli.errors import InputError, UsageError
from bigain_cli.images import SUFFIXES, Source
from bigain_cli.json_text import read_json
from bigain_cli.labels.label_sets import decode_utf8
from bigain_cli.limits import is_readable, is_whole, read_text_file

FIELDS = ("image_0", "image_1", "caption_0", "caption_1")
FOLDERS = ("", "images")  # beside the file, where images are looked for
HINT = 'Write {"id": 1, "image_0": "a.png", "image_1": "b.png", "caption_0": "…", "caption_1": "…"}.'


@dataclass(frozen=True)
class Pair:
    """Two images and two captions; the first caption is of the first image, the second of the second."""

    id: str
    images: tuple[Source, Source]
    captions: tuple[str, str]


def read_pairs(path: str) -> list[Pair]:
    """Read a file of pairs; what a line lacks is refused with its number, a missing image is left to the run."""
    try:
        text = decode_utf8(read_text_file(path, path), path)
    except OSError as problem:
        raise UsageError(f"--pairs {path}", f"cannot be read ({problem.strerror})", "Check the path.") from problem
    pairs = list(_pairs(text, path))
    if not pairs:
        raise UsageError(f"--pairs {path}", "holds no pair", HINT)
    seen: dict[str, int] = {}
    for number, pair in enumerate(pairs, 1):
        if seen.setdefault(pair.id, number) != number:
            raise UsageError(f"--pairs {path}", f"the id {pair.id!r} is given twice", "Give each pair its own.")
    return pairs


def _pairs(text: str, path: str) -> Iterator[Pair]:
    folder = os.path.dirname(path)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            entry = read_json(line)
        except ValueError as problem:
            raise UsageError(where, f"not JSON ({problem})", HINT) from problem
        first, second, *captions = _texts(entry, where)
        images = (_source(folder, first), _source(folder, second))
        yield Pair(_id_of(entry, number, where), images, (captions[0].strip(), captions[1].strip()))


def _texts(entry: Any, where: str) -> list[str]:
    """Return the four texts of a line."""
    if not isinstance(entry, dict):
        raise UsageError(where, "not a JSON object", HINT)
    for name in FIELDS:
        if not isinstance(entry.get(name), str) or not is_readable(entry[name]):
            raise UsageError(where, f"has no text {name}", HINT)
    if entry["caption_0"].strip() == entry["caption_1"].strip():
        raise UsageError(where, "its captions are equal", "Write two different ones.")
    return [entry[name] for name in FIELDS]


def _id_of(entry: dict[str, Any], number: int, where: str) -> str:
    given = entry.get("id", number)
    if not (is_whole(given) or (isinstance(given, str) and given.strip())):
        raise UsageError(where, "its id is neither a number nor a text", "Correct it, or leave it out.")
    return str(given)


def _source(folder: str, name: str) -> Source:
    """Find an image beside the file or in its folder `images`, with its suffix or without."""
    bases = [os.path.join(folder, place, name) for place in FOLDERS]
    for base in bases:
        for path in (base, *(base + suffix for suffix in sorted(SUFFIXES))):
            if os.path.isfile(path):
                return Source(path, path=path)
    hint = f"Put it beside the file, or into {os.path.join(folder, FOLDERS[-1])}"
    return Source(bases[0], error=InputError("not-found", bases[0], "no such image", hint))
