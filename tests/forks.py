"""Run the command so that it can be killed, or meets a full disk: in forks of an interpreter that is already warm."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import commands

HEAVY = (*commands.SLOW, "accelerate", "torch._dynamo", "bigain_cli.training.trainer", "bigain_cli.backbones.dit")
LAZY = {  # imported at their first use only
    "diffusers": ("UNet2DConditionModel", "DiTTransformer2DModel", "DDIMScheduler", "DDPMScheduler"),
    "transformers": ("CLIPTextModel", "CLIPTokenizer", "CLIPTextConfig"),
}


class Forks:
    """Runs commands one after the other, each in a fork of a warm interpreter."""

    def __init__(self, scratch: Path, modules: tuple[str, ...] = ()) -> None:
        self.pid, self._scratch, self._waiting = 0, scratch, False
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=commands.environment(),
        )

    def start(self, *arguments: str, cwd: Path, limit: int | None = None, stdout: Path | None = None) -> None:
        """Start a command; with a limit no file of its can grow beyond so many bytes, as on a full disk."""
        self.end()
        streams = [str(self._scratch / name) for name in ("in", "out", "err")]
        for path in streams:
            Path(path).write_bytes(b"")
        streams[1] = str(stdout or streams[1])
        plain = {"arguments": arguments, "cwd": str(cwd), "env": commands.environment()}
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps({**plain, "streams": streams, "limit": limit}) + "\n")
        self._server.stdin.flush()
        self.pid, self._waiting = int(self._server.stdout.readline()), True

    def kill(self, how: int) -> commands.Result:
        """Send a signal to the command under way."""
        os.kill(self.pid, how)
        return self.result()

    def said(self) -> str:
        return (self._scratch / "err").read_text()

    def result(self) -> commands.Result:
        """Wait for the end."""
        assert self._server.stdout
        code = int(self._server.stdout.readline())
        self._waiting = False
        return commands.Result(code, (self._scratch / "out").read_bytes(), self.said())

    def __call__(self, *arguments: str, cwd: Path, limit: int | None = None) -> commands.Result:
        self.start(*arguments, cwd=cwd, limit=limit)
        return self.result()

    def end(self) -> None:
        """Clear away a command that a test has left behind."""
        if self._waiting:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
            self.result()

    def close(self) -> None:
        self.end()
        self._server.communicate()


def serve() -> None:
    """Answer each line of stdin, a request, with two lines on stdout: the process's id, and at its end its code."""
    import importlib

    for module in (*HEAVY, *sys.argv[1:]):
        importlib.import_module(module)
    for module, names in LAZY.items():
        for name in names:
            getattr(importlib.import_module(module), name)
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as answers:
        for line in requests:
            request = json.loads(line)
            if (child := os.fork()) == 0:
                if request["limit"] is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"],) * 2)
                commands._become(request)
            print(child, file=answers, flush=True)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
    os._exit(0)  # clearing away all modules takes seconds


if __name__ == "__main__":
    serve()
