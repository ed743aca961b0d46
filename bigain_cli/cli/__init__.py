"""The command: a thin last layer that parses, calls the library and hands records to an output.

`main` turns every outcome into an exit code: 0 good, 1 some inputs failed, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from bigain_cli.errors import BigainError

INTERRUPTED, TERMINATED = 130, 143


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM)."""


def main() -> None:
    """Run the command and leave with its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    code = _guarded()
    try:
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        _forget_stdout()
    sys.stderr.flush()
    sys.exit(code)


def _guarded() -> int:
    import click

    from bigain_cli.cli.app import app

    try:
        return int(app(standalone_mode=False) or 0)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.exceptions.NoArgsIsHelpError as problem:
        problem.show()
        return 2
    except click.ClickException as problem:
        return _say(f"bigain: {problem.format_message()}", problem.exit_code)
    except BrokenPipeError:
        _forget_stdout()
        return 0
    except BigainError as problem:
        return _say(f"bigain: {problem}", problem.exit_code)
    except Terminated:
        return _say("bigain: terminated", TERMINATED)
    except (KeyboardInterrupt, click.exceptions.Abort):
        return _say("bigain: interrupted", INTERRUPTED)
    except OSError as problem:
        name = f"{problem.filename}: " if problem.filename else ""
        return _say(f"bigain: {name}{problem.strerror or problem}", 1)


def _say(message: str, code: int) -> int:
    sys.stderr.write(message.encode(errors="backslashreplace").decode() + "\n")
    return code


def _forget_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's last flush finds an open pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
