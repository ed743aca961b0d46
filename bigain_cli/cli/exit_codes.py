"""`main` runs the command and turns every outcome into an exit code.

0 good (a closed pipe, too), 1 some inputs failed or a file could not be written, 2 usage, 70 a bug of ours,
130 interrupted by Ctrl-C, 143 terminated (SIGTERM), 129 hung up (SIGHUP).
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from bigain_cli.cli.messages import guard_terminal, redirect_to_null, write_line
from bigain_cli.cli.signals import EndingSignal, catch_signals, release_signals, settle_signals, signal_behind
from bigain_cli.cli.threads import sleep_while_waiting
from bigain_cli.errors import BigainError
from bigain_cli.outputs.target_stream import WriteError
from bigain_cli.outputs.text import safe, shortened

BUG, INTERRUPTED = 70, 130
SIGNAL_SECONDS = 0.2
LONGEST_REASON = 300  # letters of a message that repeats what it was given
GC_THRESHOLDS = (20_000, 50, 100)  # the usual ones cost a second while modules are imported


def main() -> NoReturn:
    """Run the command and end the process with its exit code."""
    gc.set_threshold(*GC_THRESHOLDS)
    sleep_while_waiting()
    _exit_at_once(run_command())


def run_command() -> int:
    """Run the command and return its exit code, after the last output."""
    try:
        _replace_closed_streams()
        guard_terminal()
        catch_signals()
        code = _run_and_flush()
    except EndingSignal as end:  # while the last words were said
        code = end.code
    except KeyboardInterrupt:  # before signals were caught
        code = INTERRUPTED
    release_signals()
    return code


def _run_and_flush() -> int:
    threading.excepthook = lambda failed: _report_bug(failed.exc_value)
    sys.unraisablehook = _ignore_signals(sys.unraisablehook)
    code = _run_and_catch()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        redirect_to_null(1)
    except OSError as problem:
        code = _report(f"bigain: stdout: {problem.strerror}", 1)
        redirect_to_null(1)
    return code


def _ignore_signals(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """Return a hook that says nothing of a signal inside a destructor, which comes again."""

    def ignore(lost: Any) -> None:
        if not isinstance(lost.exc_value, EndingSignal):
            hook(lost)

    return ignore


def _exit_at_once(code: int) -> NoReturn:
    """End without clearing every module of torch and diffusers away first, which takes two seconds."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _replace_closed_streams() -> None:
    """Replace standard streams that the caller has closed, so that no file of ours gets their number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115 (until the end)


def _run() -> int:
    import typer

    from bigain_cli.cli.app import run_command_line

    try:
        return run_command_line(sys.argv[1:])
    except typer.Exit as end:
        return end.exit_code
    except typer.TyperException as problem:
        message = problem.format_message()
        stop = "" if message.endswith((".", "?")) else "."
        command = getattr(getattr(problem, "ctx", None), "command_path", "bigain")
        reason = shortened(safe(message), LONGEST_REASON)
        return _report(f"bigain: {reason}{stop} See: {command} --help", problem.exit_code)


def _run_and_catch() -> int:
    try:
        return _run()
    except BrokenPipeError:
        redirect_to_null(1)
        return 0
    except EndingSignal as end:
        return _report_end(end)
    except KeyboardInterrupt:
        return _report("bigain: interrupted", INTERRUPTED)
    except Exception as problem:  # noqa: BLE001 — the last net, so that nobody meets a traceback
        ended = None if isinstance(problem, WriteError) else signal_behind(problem)  # a failed write is always reported
        return _report_end(ended) if ended else _report_problem(problem)


def _report_end(end: EndingSignal) -> int:
    return _report(f"bigain: {end.word}", end.code)


def _report_problem(problem: Exception) -> int:
    if isinstance(problem, BigainError):
        return _report(f"bigain: {safe(str(problem))}", problem.exit_code)
    if isinstance(problem, OSError):
        if problem.errno == errno.EIO:  # a terminal that is closed refuses what is written a moment before its signal
            time.sleep(SIGNAL_SECONDS)
        name = f"{problem.filename}: " if problem.filename else ""
        return _report(f"bigain: {safe(f'{name}{problem.strerror or problem}')}", 1)
    if isinstance(problem, MemoryError):
        return _report("bigain: out of memory: the command needs more than there is. Ask for less at once.", 1)
    return _report_bug(problem)


def _report_bug(problem: BaseException | None) -> int:
    """Say that this should not have happened; with --debug, also where."""
    if "--debug" in sys.argv:
        _report("".join(traceback.format_exception(problem)).rstrip(), BUG)
    text = shortened(" ".join(str(problem).split()), LONGEST_REASON)
    reason = f"{type(problem).__name__}: {text}" if text else type(problem).__name__
    return _report(f"bigain: this is a bug in bigain: {reason} (--debug shows where)", BUG)


def _report(message: str, code: int) -> int:
    if threading.current_thread() is threading.main_thread():
        settle_signals()  # none comes again in the middle of the last words
    write_line(message)
    return code
