"""The errors that a user can cause, in three parts: what failed, why, what to try.

Each class has the exit code of the command.
"""

from __future__ import annotations

from collections.abc import Iterable

from bigain_cli.near_names import did_you_mean


class BigainError(Exception):
    """A failure: what failed, why, and what to try."""

    exit_code = 1

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        self.what, self.why, self.hint = what, why, hint
        head = f"{what}: {why}" if why else what
        super().__init__(f"{head}. {hint}" if hint else head)

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return type(self), (self.what, self.why, self.hint)


class UsageError(BigainError):
    """The command or call cannot be carried out: unknown names, bad files, bad numbers."""

    exit_code = 2


class ModelError(UsageError):
    """The model is unknown, absent, unreadable or not supported."""


class InputError(BigainError):
    """One image of a run cannot be read or classified; the run continues. `kind` is stable, for programs."""

    def __init__(self, kind: str, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what, why, hint)
        self.kind = kind

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return type(self), (self.kind, self.what, self.why, self.hint)


def one_line(problem: object, most: int | None = None) -> str:
    """Return an exception's text in one line, cut if it is longer than `most`; of one without a text its kind."""
    return " ".join(str(problem).split())[:most] or type(problem).__name__


def check_known(kind: str, name: str, known: Iterable[str], why: str = "unknown") -> None:
    """Refuse a name that is not among the known ones, with similar ones as a hint."""
    known = list(known)
    if name not in known:
        raise UsageError(f"{kind} {name}", why, did_you_mean(name, known))
