"""Read images ahead, in order, in a thread, so that decoding overlaps with the network.

In: sources; out: images or the errors of single images. Must not know tensors.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bigain_cli.errors import BigainError, InputError, UsageError
from bigain_cli.images.decoding import Decoded, digest, read_and_check, upright
from bigain_cli.images.file_digests import sha256_of
from bigain_cli.images.sources import Found, OneImage, Source, sources_of

if TYPE_CHECKING:
    from PIL.Image import Image

AHEAD = 4  # images in the queue


@dataclass(frozen=True)
class LoadedImage:
    """An upright RGB image with the digest of its pixels."""

    id: str
    image: Image
    digest: bytes
    damage: str = ""  # what its decoder had to make up a part of it for
    sha256: str | None = None  # of its file, if it has one


class FailedImage(NamedTuple):
    """The id of an image that cannot be read, and why."""

    id: str
    error: InputError
    sha256: str | None = None  # of its file; "": that could not be read


Item = LoadedImage | FailedImage


class ImageReader:
    """Reads images in a thread into a bounded queue."""

    def __init__(self, sources: Iterable[Found]) -> None:
        self._queue: queue.Queue[Item | BaseException | None] = queue.Queue(AHEAD)
        self._stopped = threading.Event()
        self.at_end = False
        threading.Thread(target=self._fill, args=(sources,), daemon=True, name="bigain-reader").start()

    def next(self, wait: bool) -> Item | None:
        """Return the next image; None at the end, or, without `wait`, when none is ready yet."""
        if self.at_end:
            return None
        try:
            item = self._queue.get(block=wait)
        except queue.Empty:
            return None
        self.at_end = item is None or isinstance(item, BaseException)
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """Stop reading."""
        self._stopped.set()

    def _fill(self, sources: Iterable[Found]) -> None:
        try:
            for source in sources:
                self._put(read_or_error(source))
                if self._stopped.is_set():
                    return
            self._put(None)
        except BaseException as problem:  # noqa: BLE001 — raised in the consumer's thread
            self._put(problem)

    def _put(self, item: Item | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue


def read_or_error(source: Found) -> Item:
    """Read one image, or return its id and what is wrong with it, whatever its decoder raises."""
    id, sha256 = (source[0], None) if isinstance(source, tuple) else (source.id, _sha256_of_file(source))
    try:
        found = Decoded(upright(source[1])) if isinstance(source, tuple) else read_and_check(source)
        return LoadedImage(id, found.image, digest(found.image), found.damage, sha256)
    except InputError as problem:
        return FailedImage(id, problem, sha256)
    except BigainError:
        raise
    except Exception as problem:  # noqa: BLE001 — one bad file must not end the run
        broken = InputError("unreadable-image", id, f"{type(problem).__name__}: {problem}")
        return FailedImage(id, broken, sha256)


def _sha256_of_file(source: Source) -> str | None:
    """Return the digest of a source's file; a record of bytes in memory has none, as one of an array has none."""
    return None if source.data is not None else sha256_of(source)


def load_image(image: OneImage) -> Image:
    """Read one image, in whatever form it is given, or raise what is wrong with it."""
    found = [read_or_error(source) for source in itertools.islice(sources_of(image), 2)]
    if len(found) != 1:
        why = f"{'several images' if found else 'no image'} where one is needed"
        raise UsageError("image", why, "Give one path, PIL image or array.")
    [item] = found
    if isinstance(item, FailedImage):
        raise item.error
    return item.image
