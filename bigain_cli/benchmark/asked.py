"""What can be refused of a benchmark before anything is loaded. Torch-free."""

from __future__ import annotations

from bigain_cli.errors import UsageError


def check_asked(*, prefix: bool | None, compile: bool, **counts: int | None) -> None:
    """Refuse counts below one, and a prefix of its own in a network that runs as a whole."""
    for option, value in counts.items():
        if value is not None and value < 1:
            raise UsageError(f"--{option} {value}", "must be at least 1", "Leave it out for what suits the model.")
    if prefix and compile:
        why = "a compiled network runs as a whole: nothing of it is kept before the labels enter"
        raise UsageError("--prefix --compile", why, "Choose one of them.")
