"""A file name for every id, and a folder name for every label. Must not know what is in them."""

from __future__ import annotations

import hashlib
import os
import re

LONGEST = 120  # bytes of a name without its digest; file systems allow 255
_PLAIN = re.compile(r"\w[\w.() -]*")
_NOT_IN_NAMES = re.compile('[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\\\:*?"<>|]+')
_WITH_DIGEST = re.compile(r".*-[0-9a-f]{12}")


def file_name(id: str, suffix: str) -> str:
    """Return a plain id with the suffix; of any other id, its readable part and a digest that makes it unique."""
    if _PLAIN.fullmatch(id) and not _WITH_DIGEST.fullmatch(id) and len(os.fsencode(id)) <= LONGEST:
        return id + suffix
    last = id.rstrip("/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    last = re.sub(r"[^\w.()-]+", "_", stem).strip("._-")
    last = last.encode("utf-8", "ignore")[:LONGEST].decode("utf-8", "ignore")
    return f"{last or 'image'}-{_digest(id)}{suffix}"


def folder_name(label: str) -> str:
    """Return a label as the name of a folder; one that cannot be a name everywhere is replaced, with a digest added."""
    plain = _NOT_IN_NAMES.sub("_", label).strip(" .").encode("utf-8", "ignore")[:LONGEST].decode("utf-8", "ignore")
    return label if plain == label else f"{plain.strip(' .') or 'label'}-{_digest(label)}"


def with_digest(name: str, id: str) -> str:
    """Return another name for a file or a folder: one that an id of its own makes unique, with the same suffix."""
    stem, suffix = os.path.splitext(name)
    return f"{os.fsdecode(os.fsencode(stem)[:LONGEST])}-{_digest(id)}{suffix}"


def _digest(id: str) -> str:
    return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
