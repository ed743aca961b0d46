"""Ways to run the command in the tests: `run` as its users do, `warm`, for most, in a fork of a warmed interpreter.

A fork starts from a fresh interpreter that has imported the slow libraries and nothing else, with its own working
directory, environment, arguments and standard streams; what it leaves out is the seconds of importing.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

LONGEST = 300  # seconds that a command may take in a fork
SCRIPT = Path(sys.executable).with_name("bigain")
COMMAND = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "bigain_cli"]  # beside a torch that is there
LABELS = ("-l", "red,green,blue")
COLOURS = {"red": (220, 30, 30), "green": (40, 150, 60), "blue": (40, 80, 200)}
SLOW = (
    "torch",
    "diffusers",
    "transformers",
    "bigain_cli.backbones.gaussian_mixture",
    "bigain_cli.generation.generator",
)
SLOW += ("diffusers.models.transformers.dit_transformer_2d", "diffusers.models.autoencoders.autoencoder_kl")


@dataclass(frozen=True)
class Result:
    """What a run left behind."""

    code: int
    out: bytes
    err: str

    @property
    def problems(self) -> str:
        """What stderr holds beside the sentence that ends a run."""
        return re.sub(r"^bigain: \d+ images?: \d+ settled, .*\n", "", self.err, flags=re.MULTILINE)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a plain environment: offline, one thread, the model in closed form, nothing else that is read."""
    kept = {name: value for name, value in os.environ.items() if name not in ("BIGAIN_MODEL", "NO_COLOR", "COLUMNS")}
    plain = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "LC_ALL": "C.UTF-8", "BIGAIN_MODEL": "colours"}
    return {**kept, **plain, **(changes or {})}


def start(*arguments: str, prefix: tuple[str, ...] = (), env: Mapping[str, str] | None = None, **popen: Any) -> Any:
    """Start the command; by default with nothing on stdin and with pipes to read from."""
    streams: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    options = {"stdin": subprocess.DEVNULL, **streams, **popen}
    return subprocess.Popen([*prefix, *COMMAND, *arguments], env=environment(env), **options)


def run(*arguments: str, input: bytes = b"", **options: Any) -> Result:
    """Run the command to its end."""
    with start(*arguments, stdin=subprocess.PIPE, **options) as process:
        out, err = process.communicate(input, timeout=120)
    return Result(process.returncode, out or b"", (err or b"").decode())


class _Oven:
    """Runs commands in forks of an interpreter that has torch and diffusers imported."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def __call__(
        self,
        *arguments: str,
        cwd: str | Path = ".",
        input: bytes = b"",
        stdout: str | None = None,
        stderr: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        with tempfile.TemporaryDirectory() as scratch:
            given, out, err = (os.path.join(scratch, name) for name in ("in", "out", "err"))
            Path(given).write_bytes(input)
            request = {
                "arguments": [str(argument) for argument in arguments],
                "cwd": os.path.abspath(cwd),
                "env": environment(env),
                "streams": [given, stdout or out, stderr or err],
            }
            assert self._server.stdin and self._server.stdout
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            code = int(self._server.stdout.readline() or "70")
            if code == -signal.SIGALRM:
                raise TimeoutError(f"{LONGEST} s were not enough for {' '.join(request['arguments'])}")
            written = [Path(path).read_bytes() if Path(path).exists() else b"" for path in (out, err)]
        return Result(code, written[0], written[1].decode())

    def close(self) -> None:
        self._server.communicate()


@cache
def _oven() -> _Oven:
    oven = _Oven()
    atexit.register(oven.close)
    return oven


def warm(*arguments: str | Path, **options: Any) -> Result:
    """Run a command; `stdout` and `stderr` name files or terminals to write to, maybe the same one."""
    return _oven()(*arguments, **options)


def serve() -> None:
    """Answer each line of stdin, a request, with a line on stdout, the exit code."""
    import importlib

    for module in ("bigain_cli.classification.classifier", *SLOW):
        importlib.import_module(module)
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as answers:
        for line in requests:
            request = json.loads(line)
            if (child := os.fork()) == 0:
                _become(request)
            answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
            answers.flush()


def _become(request: dict[str, Any]) -> None:
    from bigain_cli.cli.exit_codes import run_command

    code = 70
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command catches it
    signal.alarm(LONGEST)
    try:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        for number, path in enumerate(request["streams"]):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOCTTY if number else os.O_RDONLY
            shared = number == 2 and path == request["streams"][1]
            os.dup2(1 if shared else os.open(path, flags), number)
        sys.argv = ["bigain", *request["arguments"]]
        code = run_command()
    except BaseException:  # noqa: BLE001 (the last line of a process)
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def image(name: str | Path, colour: str = "red", turn: int = 0, size: tuple[int, int] = (32, 24)) -> None:
    """Save an image of one colour under a shadow that depends on `turn`."""
    shadow = Image.linear_gradient("L").rotate(37 * turn, fillcolor=turn % 251).resize(size).point(lambda v: v // 3)
    flat = Image.new("RGB", size, COLOURS[colour])
    Image.composite(Image.new("RGB", size, (60 + turn % 90, 60, 60)), flat, shadow).save(name)


def gallery(folder: Path, count: int) -> list[str]:
    """Fill a folder with numbered images of three colours, and return their names."""
    folder.mkdir()
    names = [f"{number:02}.png" for number in range(count)]
    for number, name in enumerate(names):
        image(folder / name, list(COLOURS)[number % 3], number)
    return names


if __name__ == "__main__":
    serve()
