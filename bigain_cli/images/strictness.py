"""Hold Pillow to be strict and silent for a while: no truncated images, no bombs, not a word on stderr.

Its switches are global, so one thread at a time, and they are given back as they were.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.RLock()


@contextmanager
def strict(pixels: int) -> Iterator[None]:
    """Refuse truncated images and those of more pixels; hush Pillow, its log and the libraries below it."""
    from PIL import Image, ImageFile

    log = logging.getLogger("PIL")
    with _LOCK:
        # Not catch_warnings: it swaps all filters of the process, and reading may go on beside other threads.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, log.level, _libtiff(None)
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = pixels // 2, False  # it warns there, fails at twice
        log.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before[:2]
            log.setLevel(before[2])
            _libtiff(before[3])


def _libtiff(handlers: tuple[int | None, ...] | None) -> tuple[int | None, ...]:
    """Set libtiff's error and warning handlers, which by default write to stderr; return those before."""
    setters = _libtiff_setters()
    return tuple(setter(handler) for setter, handler in zip(setters, handlers or (None, None), strict=False))


@functools.cache
def _libtiff_setters() -> tuple[Callable[[int | None], int | None], ...]:
    """Find the setters in the library that Pillow brings; where they are out of reach, libtiff stays talkative."""
    from PIL import _imaging

    try:
        library: Any = ctypes.CDLL(_imaging.__file__)
        found = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
    except (OSError, AttributeError):
        return ()
    for setter in found:
        setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return found
