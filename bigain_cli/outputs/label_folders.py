"""Images sorted into a folder for each label: copies of their files, or links to them, each written whole.

A file of another image is never replaced: where its name is taken, a digest of the image's id is added. Failed images
are left alone. Images without a file, from stdin or a URL, are held in memory until their label is known.
"""

# os.path returns False where pathlib raises: names that are too long, folders without permission.
from __future__ import annotations

import filecmp
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.images import SUFFIXES, Source, held, suffix_of
from bigain_cli.images.urls import is_url
from bigain_cli.outputs.file_names import folder_name, with_digest
from bigain_cli.outputs.part_folders import remove_leftovers
from bigain_cli.outputs.renamed_file import replacing
from bigain_cli.outputs.text import counted
from bigain_cli.outputs.whole_files import check_folder


class LabelFolders:
    """The folders; `labels` are all that can be answered, so that their folders' names differ in more than case."""

    def __init__(self, folder: str, labels: Sequence[str], link: bool = False) -> None:
        self._folder, self._link = Path(folder), link
        self._names: dict[str, str] = {}
        taken: set[str] = set()
        for label in labels:
            name = folder_name(label)
            self._names[label] = name if name.casefold() not in taken else with_digest(name, label)
            taken.add(self._names[label].casefold())
        self._waiting: dict[str, Source] = {}
        self._owners: dict[Path, str] = {}  # the id of the image in each file that this run has written or found
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()  # sources are read in another thread

    def watch(self, sources: Iterable[Source], recorded: Mapping[str, str | None]) -> Iterator[Source]:
        """Yield the sources to classify; those with an answer from an earlier run are sorted, if they are files."""
        for source in sources:
            if source.id not in recorded:
                self._waiting[source.id] = source = held(source)
                yield source
            elif source.path is not None:
                self._waiting[source.id] = source
                self.add(source.id, recorded[source.id])

    def add(self, id: str, answer: str | None) -> None:
        """Sort an image by its answer; None: it failed."""
        source = self._waiting.pop(id)
        if answer is None or (source.path is not None and not os.path.isfile(source.path)):
            return
        with self._lock:
            folder = self._folder / self._names.setdefault(answer, folder_name(answer))
            remove_leftovers(folder.resolve())
            name = _name_of(source)
            target = folder / name
            if self._owners.get(target, id) != id or (os.path.lexists(target) and not self._is_there(source, target)):
                target = folder / with_digest(name, id)
            self._write(source, target)
            self._owners[target] = id
            self._counts[folder.name] += 1

    def _is_there(self, source: Source, target: Path) -> bool:
        """Return whether a file is this image already."""
        if self._link and source.path is not None:
            return target.is_symlink() and os.readlink(target) == os.path.abspath(source.path)
        if target.is_symlink() or not target.is_file():
            return False
        if source.path is None:
            return target.read_bytes() == source.data
        return filecmp.cmp(source.path, target, shallow=False)

    def _write(self, source: Source, target: Path) -> None:
        try:
            if os.path.lexists(target) and self._is_there(source, target):
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target, str(target)) as part:
                if source.path is None:
                    part.write_bytes(source.data or b"")
                elif self._link:
                    part.symlink_to(os.path.abspath(source.path))
                else:
                    shutil.copy2(source.path, part)
        except OSError as problem:
            what = "linked" if self._link else "copied"
            raise BigainError(str(target), f"cannot be {what} ({problem.strerror})", "Check the disk.") from problem

    def __str__(self) -> str:
        kind = "linked" if self._link else "copied"
        each = ", ".join(f"{name} {count}" for name, count in sorted(self._counts.items()))
        total = counted(self._counts.total(), "image")
        return f"{self._folder}: {total} {kind} into {counted(len(self._counts), 'folder')}" + f" ({each})" * bool(each)


def _name_of(source: Source) -> str:
    """Return the name of a source's file, or one made of its URL, with the suffix of its format."""
    if source.path is not None:
        return os.path.basename(source.path)
    last = unquote(urlsplit(source.id).path).rpartition("/")[2] if is_url(source.id) else "stdin"
    plain = re.sub(r"[^\w.()-]+", "_", last).strip("._")[-100:] or "image"
    known = os.path.splitext(plain)[1].lower() in SUFFIXES
    return plain if known else plain + suffix_of(source.data or b"")


def check_sorting(folder: str, inputs: Sequence[str], recursive: bool, may_hold_files: bool) -> None:
    """Refuse a folder that holds files already, that cannot be written to, or whose files would be classified."""
    if not folder.strip():
        raise UsageError(f"--sort-into {folder!r}", "names nothing", "Write --sort-into sorted.")
    check_folder(folder)
    if os.path.isdir(folder) and os.listdir(folder) and not may_hold_files:
        raise UsageError(
            folder, "holds files already", "--force to add to them, --resume to continue, or another name."
        )
    real = os.path.realpath(folder)
    for name in inputs if recursive else ():
        if os.path.isdir(name) and Path(real).is_relative_to(os.path.realpath(name)):
            why = f"inside {name}, where -r would find the sorted images, too"
            raise UsageError(folder, why, "Name a folder elsewhere.")
