"""Pillow's own libtiff: what it says while it decodes, as messages instead of lines on stderr.

By default it writes to stderr from C, such as "Fax4Decode: Bad code word" for a damaged TIFF, which no filter of
Python's reaches; redirecting the stream would silence other threads, too. Where it cannot be found, nothing is caught.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LONGEST = 300  # bytes of a message
Setter = Callable[[int | None], int | None]
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_listeners: list[list[Message]] = []


@dataclass(frozen=True)
class Message:
    """One message of libtiff, or of libjpeg in it; `source` is the function that it came from."""

    is_error: bool
    source: str
    text: str


@contextmanager
def caught_messages() -> Iterator[list[Message]]:
    """Catch messages in a list; one thread at a time, since the handlers are those of the process."""
    messages: list[Message] = []
    setters = _setters()
    before = [setter(handler) for setter, handler in zip(setters, _handlers(), strict=False)]
    _listeners.append(messages)
    try:
        yield messages
    finally:
        _listeners.pop()
        for setter, handler in zip(setters, before, strict=True):
            setter(handler)


@functools.cache
def library() -> Any:
    """Return Pillow's compiled module, through which the functions of its libtiff can be found, or None."""
    from PIL import _imaging

    try:
        found: Any = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler", "vsnprintf"):
            getattr(found, name)
    except (OSError, AttributeError):
        return None
    found.vsnprintf.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    return found


@functools.cache
def _setters() -> tuple[Setter, ...]:
    """Return the functions that set the handlers of errors and of warnings."""
    if (found := library()) is None:
        return ()
    for setter in (found.TIFFSetErrorHandler, found.TIFFSetWarningHandler):
        setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return found.TIFFSetErrorHandler, found.TIFFSetWarningHandler


@functools.cache
def _functions() -> tuple[Any, ...]:
    """Return our handlers, which must not be collected while libtiff may call them."""
    return tuple(_HANDLER(functools.partial(_listen, is_error)) for is_error in (True, False))


def _handlers() -> tuple[int | None, ...]:
    return tuple(ctypes.cast(function, ctypes.c_void_p).value for function in _functions())


def _listen(is_error: bool, source: bytes | None, form: bytes | None, arguments: int | None) -> None:
    """Handle a message: C's format and the pointer to its arguments."""
    text = ctypes.create_string_buffer(LONGEST)
    library().vsnprintf(text, LONGEST, form or b"", arguments)
    message = Message(is_error, (source or b"").decode(errors="replace"), text.value.decode(errors="replace"))
    for messages in _listeners[-1:]:
        messages.append(message)
