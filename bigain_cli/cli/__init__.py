"""The command: a thin last layer that parses, calls the library and hands records to an output.

`main` turns every outcome into an exit code: 0 good, 1 some inputs failed, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bigain_cli.errors import BigainError

INTERRUPTED, TERMINATED = 130, 143
SELDOM = (20_000, 50, 100)  # importing makes much and drops nothing: looking for garbage all the while takes a second


class Terminated(KeyboardInterrupt):
    """The process was terminated (SIGTERM)."""


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    gc.set_threshold(*SELDOM)
    _leave(respond())


def respond() -> int:
    """Run the command and return its exit code, after the last output."""
    _open_standard_streams()
    signal.signal(signal.SIGTERM, _terminate)
    code = _guarded()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget(1)
    except OSError as problem:
        code = _say(f"bigain: stdout: {problem.strerror}", 1)
        _forget(1)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is written; nobody needs a traceback from the clearing up
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return code


def _leave(code: int) -> NoReturn:
    """End at once: Python would clear every module of torch and diffusers away first, which takes two seconds."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _open_standard_streams() -> None:
    """Replace streams that the caller has closed, lest a file of ours takes their number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115 (for good)


def _guarded() -> int:
    import typer

    from bigain_cli.cli.app import answer

    try:
        return answer(sys.argv[1:])
    except typer.Exit as leave:
        return leave.exit_code
    except typer.TyperException as problem:
        message = problem.format_message()
        end = "" if message.endswith((".", "?")) else "."
        command = getattr(getattr(problem, "ctx", None), "command_path", "bigain")
        return _say(f"bigain: {message}{end} See: {command} --help", problem.exit_code)
    except BrokenPipeError:
        _forget(1)
        return 0
    except BigainError as problem:
        return _say(f"bigain: {problem}", problem.exit_code)
    except Terminated:
        return _say("bigain: terminated", TERMINATED)
    except KeyboardInterrupt:
        return _say("bigain: interrupted", INTERRUPTED)
    except OSError as problem:
        name = f"{problem.filename}: " if problem.filename else ""
        return _say(f"bigain: {name}{problem.strerror or problem}", 1)


def _say(message: str, code: int) -> int:
    try:
        sys.stderr.write(message.encode(errors="backslashreplace").decode() + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        _forget(2)
    return code


def _forget(stream: int) -> None:
    """Point a standard stream nowhere, so that the interpreter's last flush finds an open pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
