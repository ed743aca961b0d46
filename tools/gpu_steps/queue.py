"""Runs steps one by one until the time is up; each is a process with a time limit, its result one line of a file.

In: steps; out: OUT/results.jsonl and OUT/logs. Must not know what the steps do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS, LOGS = "results.jsonl", "logs"
GRACE = 15.0  # seconds between asking a process to end and ending it
TAIL = 400  # letters of what a failed step said last


@dataclass(frozen=True)
class Step:
    """A command, and how long it may take."""

    name: str
    about: str
    command: tuple[str, ...]
    least: float  # seconds without which it is not worth beginning
    seconds: float  # at most
    needs: Path | None = None  # what must exist

    def arguments(self, seconds: float) -> list[str]:
        """Return the command, told how long it may take where it asks for that."""
        return [part.replace("{seconds}", f"{seconds:.0f}") for part in self.command]


def run_queue(steps: Sequence[Step], folder: Path, seconds: float, retry: bool = False) -> int:
    """Run the steps that have no result yet; return how many have failed."""
    (folder / LOGS).mkdir(parents=True, exist_ok=True)
    done = {name for name, line in results(folder).items() if line["status"] == "ok" or not retry}
    end = time.monotonic() + seconds
    for step in steps:
        left = end - time.monotonic()
        if step.name in done:
            _say(f"{step.name}: has a result")
        elif step.needs is not None and not step.needs.exists():
            _say(f"{step.name}: left out, there is no {step.needs}")
        elif left < step.least:
            _say(f"{step.name}: left out, it takes {step.least:.0f} s and {max(left, 0):.0f} are left")
        else:
            _keep(folder, _run(step, folder, min(step.seconds, left)))
    return sum(line["status"] != "ok" for line in results(folder).values())


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the last result of each step; a line that a killed run left torn is none."""
    found = {}
    with suppress(FileNotFoundError):
        for line in (folder / RESULTS).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                found[record["name"]] = record
    return found


def _run(step: Step, folder: Path, seconds: float) -> dict[str, Any]:
    """Run one step; end it when its time is up."""
    _say(f"{step.name}: {step.about}")
    log, began = folder / LOGS / f"{step.name}.txt", time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            step.arguments(seconds),
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,
            env=_environment(),
        )
        try:
            out, status = process.communicate(timeout=seconds)[0], "ok"
        except subprocess.TimeoutExpired:
            out, status = _end(process), "time is up"
        except BaseException:
            _end(process)
            raise
        file.write(out)
    if status == "ok" and process.returncode:
        status = f"exit code {process.returncode}"
    took = time.monotonic() - began
    _say(f"{step.name}: {status}, {took:.0f} s")
    record = {"name": step.name, "about": step.about, "status": status, "seconds": round(took, 1)}
    found = _result_in(out)
    if status != "ok":
        record["said"] = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
    return record | {"command": list(step.command), "result": found}


def _end(process: subprocess.Popen[str]) -> str:
    """Ask a process and its children to end, and end them if they do not; return what was said."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=GRACE)[0]
    return ""


def _result_in(out: str) -> Any:
    """Return the JSON that a step printed, whole or as its last line that is JSON, or else its last line.

    So a step that prints what it has found so far, again and again, loses nothing when it fails.
    """
    lines = out.strip().splitlines()
    for text in (out, *(line for line in reversed(lines) if line.startswith("{"))):
        with suppress(ValueError):
            return json.loads(text)
    return lines[-1] if lines else None


def tell(found: Any) -> None:
    """Print what a step has found so far, in case it does not end."""
    sys.stdout.write(f"\n{json.dumps(found)}\n")
    sys.stdout.flush()


def _keep(folder: Path, record: dict[str, Any]) -> None:
    """Add a line to the results, on the disk before anything else is done."""
    path = folder / RESULTS
    torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * torn + json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _environment() -> dict[str, str]:
    """Return the environment of a step: this tree's modules before all others, and no downloads."""
    root = Path(__file__).resolve().parents[2]
    paths = [str(root), str(root / "bigain_cli" / "alias"), str(root / "tools")]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}


def _say(text: str) -> None:
    sys.stderr.write(f"gpu_report: {text}\n")
    sys.stderr.flush()
