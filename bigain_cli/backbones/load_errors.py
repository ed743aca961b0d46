"""Errors of the libraries that load models: what they raise for the files of others becomes a `ModelError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bigain_cli.backbones.batch_sizes import out_of_memory
from bigain_cli.backbones.folder_checks import FETCH_AGAIN
from bigain_cli.errors import BigainError, ModelError

OUR_OWN = "bigain_cli."
SPEAKING = ("OSError", "ValueError", "RuntimeError", "SafetensorError")  # their messages need not name their kind


@contextmanager
def load_errors(what: str) -> Iterator[None]:
    """Turn whatever is raised into a `ModelError`: tokenizers, for one, raises a bare Exception."""
    try:
        yield
    except BigainError:
        raise
    except Exception as problem:
        if _wants_memory(problem):
            hint = "Try --dtype float16 or bfloat16, a smaller model, or --device cpu."
            raise BigainError("out of memory", f"{what} does not fit", hint) from problem
        raise ModelError(what, f"cannot be loaded ({reason_of(problem)})", FETCH_AGAIN) from problem


@contextmanager
def run_errors(what: str) -> Iterator[None]:
    """Do the same while a model runs whose configuration does not fit it.

    Passed on are too little memory, a failed assertion, and all exceptions of our own, some of which end a pass early.
    """
    try:
        yield
    except AssertionError:
        raise
    except Exception as problem:
        if _wants_memory(problem) or type(problem).__module__.startswith(OUR_OWN):
            raise
        raise ModelError(what, f"cannot be run ({reason_of(problem)})", FETCH_AGAIN) from problem


def reason_of(problem: Exception) -> str:
    """Return a library's message in one line."""
    kind, text = type(problem).__name__, " ".join(str(problem).split())[:300]
    return text if kind in SPEAKING and text else f"{kind}: {text}"


def _wants_memory(problem: Exception) -> bool:
    return isinstance(problem, MemoryError) or (isinstance(problem, RuntimeError) and out_of_memory(problem))
