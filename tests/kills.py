"""Random kills of runs that write files: what is torn or lost after each, and what is left after the next start.

A test runs some; by hand: python tests/kills.py --kills 1000 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from commands import COLOURS, LABELS, Result
from forks import Forks
from PIL import Image
from safetensors import SafetensorError, safe_open

SLOWLY = ("--schedule", "fixed", "--draws", "16")
HOW: dict[str, tuple[signal.Signals, ...]] = {
    "kill": (signal.SIGKILL,),
    "term": (signal.SIGTERM,),
    "hup": (signal.SIGHUP,),
    "int": (signal.SIGINT,),
    "int twice": (signal.SIGINT, signal.SIGINT),
}
IMAGES = 12
TRIES = 6  # to kill a command at least once
COMMAND = ("bigain_cli.cli.app", "bigain_cli.evaluation.evaluation_run", "bigain_cli.outputs.html_report", "rich.live")
Contents = dict[str, bytes]  # of the outputs, before a run
Check = Callable[[Path, Contents, Result, str], Iterator[str]]


@dataclass(frozen=True)
class Case:
    """A command, what holds after it was killed (empty or not), and how it is started again."""

    command: tuple[str, ...]
    again: tuple[str, ...]
    check: Check  # yields "torn: …" and "lost: …"
    outputs: frozenset[str]  # all that a whole run leaves
    share: float = 1.0  # of the kills


@dataclass
class Counts:
    """What was found."""

    kills: Counter[str] = field(default_factory=Counter)  # by case and signal
    problems: list[str] = field(default_factory=list)


def make_place(folder: Path) -> None:
    """Fill a folder with photos, in a folder for each class."""
    noise = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(IMAGES // len(COLOURS)):
            pixels = np.clip(np.array(colour) + noise.normal(0, 60, (160, 160, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    (folder / "shallow.toml").write_text("contrast = 0.1\ndepth = 2\n")


def said(result: Result) -> int:
    """Return how many images the run has said to be done."""
    return len(re.findall(r"^'.*': done, ", result.err, re.M))


def check_lines(name: str, whole: bytes) -> Check:
    """Check a file that grows in place: a start of the whole one, with everything that was said to be done."""

    def check(folder: Path, before: Contents, result: Result, how: str) -> Iterator[str]:
        data = content(folder / name)
        lines, least = data.count(b"\n"), before[name].count(b"\n") + said(result)
        complete = data[: data.rfind(b"\n") + 1]
        if not timeless(whole).startswith(timeless(complete)) or (how != "kill" and data != complete):
            yield f"torn: {name} after {lines} lines"
        if lines < least:
            yield f"lost: {name} has {lines} of {least} lines"

    return check


def timeless(records: bytes) -> bytes:
    """Return records without clock readings."""
    return re.sub(rb'"seconds": [^,]+, ', b"", records)


def content(path: Path) -> bytes:
    """Return what is in a file, if there is one."""
    return path.read_bytes() if path.is_file() else b""


def check_document(name: str, count: Callable[[bytes], int]) -> Check:
    """Check a file that appears whole: the one before, or a valid one with everything that was said to be done."""

    def check(folder: Path, before: Contents, result: Result, how: str) -> Iterator[str]:
        data, least = content(folder / name), IMAGES if how == "kill" else said(result)
        if data == before[name] and (how == "kill" or not least):
            return
        try:  # the same bytes as before may be what this run has written: it said as many images
            found = count(data)
        except ValueError as problem:
            yield f"torn: {name}: {problem}"
            return
        if found < least:
            yield f"lost: {least} said, {found} in {name}"

    return check


def count_page(data: bytes) -> int:
    """Return how many images a page has."""
    if not data.endswith(b"</html>\n"):
        raise ValueError(f"{len(data)} bytes without an end")
    return data.count(b"<article")


def count_rows(data: bytes) -> int:
    """Return how many rows a table has."""
    rows = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
    if not data.endswith(b"\n") or len({len(row) for row in rows}) != 1:
        raise ValueError("rows of different lengths")
    return len(rows) - 1


def count_records(data: bytes) -> int:
    """Return how many records an array has."""
    return len(json.loads(data))


def count_parquet(data: bytes) -> int:
    """Return how many rows a Parquet file has."""
    from pyarrow import BufferReader
    from pyarrow.parquet import read_table

    return int(read_table(BufferReader(data)).num_rows)


def check_images(folder: Path, before: Contents, result: Result, how: str) -> Iterator[str]:
    """Check generated images: each is whole, and each whose path was printed is there."""
    for path in sorted(folder.glob("out/*.png")):
        try:
            with Image.open(path) as image:
                image.load()
            json.loads(image.info["bigain"])
        except (OSError, SyntaxError, KeyError, ValueError) as problem:
            yield f"torn: {path.name}: {problem!r}"
    for line in result.out.decode().split("\n")[:-1]:
        if not (folder / line).exists():
            yield f"lost: {line}"


def check_summary(whole: bytes) -> Check:
    """Check the records of an evaluation, and its summary."""
    lines = check_lines("records.jsonl", whole)

    def check(folder: Path, before: Contents, result: Result, how: str) -> Iterator[str]:
        yield from lines(folder, before, result, how)
        if data := content(folder / "summary.json"):
            try:
                json.loads(data)
            except ValueError as problem:
                yield f"torn: summary.json: {problem}"

    return check


def check_training(folder: Path, before: Contents, result: Result, how: str) -> Iterator[str]:
    """Check a checkpoint: it can be read, and never goes back."""
    checkpoint = folder / "model" / "training" / "checkpoint.safetensors"
    if not checkpoint.exists():
        if "checkpoint at" in result.err:
            yield "lost: the checkpoint"
        return
    try:
        with safe_open(checkpoint, framework="pt") as file:
            step = json.loads(file.metadata()["training"])["step"]
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                file.get_tensor(name)
    except (SafetensorError, KeyError, ValueError) as problem:
        yield f"torn: checkpoint: {problem}"
        return
    reached = max((int(images) for images in re.findall(r"checkpoint at (\d+) images", result.err)), default=0)
    if step * 8 < reached:
        yield f"lost: {reached} images said, {step * 8} in the checkpoint"


class Suite:
    """Runs cases in folders of their own."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.chance, self.counts = root, np.random.default_rng(seed), Counts()
        (root / "place").mkdir(parents=True)
        (root / "streams").mkdir()
        make_place(root / "place")
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background and nohup ignore them,
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and children would inherit that
        self.forks = Forks(root / "streams", COMMAND)
        self._number = 0
        self.cases = {case.command[0] + " " + ",".join(sorted(case.outputs)): case for case in self._cases()}
        self.seconds = {name: self._timed(case) for name, case in self.cases.items()}

    def _cases(self) -> Iterator[Case]:
        classify = ("classify", "photos", "-r", *LABELS, *SLOWLY, "--watch")
        whole = self._made((*classify, "-o", "x.jsonl"), "x.jsonl")
        lines = (*classify, "-o", "x.jsonl", "--resume")
        yield Case(lines, lines, check_lines("x.jsonl", whole), frozenset({"x.jsonl"}), 2)
        counts = {"html": count_page, "json": count_records, "csv": count_rows}
        with contextlib.suppress(ImportError):
            import pyarrow.parquet  # noqa: F401

            counts["parquet"] = count_parquet
        for suffix, count in counts.items():
            command = (*classify, "-o", f"x.{suffix}", "--force")
            check = check_document(f"x.{suffix}", count)
            yield Case(command, command, check, frozenset({f"x.{suffix}"}))
        generate = ("generate", *COLOURS, "-n", "3", "-m", "colours", "--steps", "8", "-o", "out/", "--force")
        images = frozenset(f"out/{name}-{seed}.png" for name in COLOURS for seed in range(3))
        yield Case(generate, generate, check_images, images)
        evaluate = ("evaluate", "photos", *SLOWLY, "-c", "none", "--records", "records.jsonl", "-o", "summary.json")
        records = self._made(evaluate, "records.jsonl")
        resumed = (*evaluate, "--resume")
        outputs = frozenset({"records.jsonl", "summary.json"})
        yield Case(resumed, resumed, check_summary(records), outputs)
        small = ("--size", "16", "--images", "32", "--batch", "8", "--arch", "dit", "--width", "16")
        train = ("train", "photos", "-o", "model", *small, "--held-out", "0", "--recipe", "shallow.toml")
        resumed = ("train", "--resume", "-o", "model")
        yield Case((*train, "--every", "16"), resumed, check_training, frozenset({"model"}), 0.3)

    def _folder(self) -> Path:
        """Make a folder for a run."""
        self._number += 1
        folder = self.root / f"run-{self._number}"
        folder.mkdir()
        for name in ("photos", "shallow.toml"):
            (folder / name).symlink_to(self.root / "place" / name)
        return folder

    def _made(self, command: tuple[str, ...], name: str) -> bytes:
        folder = self._folder()
        done = self.forks(*command, cwd=folder)
        assert done.code == 0, done.err
        return (folder / name).read_bytes()

    def _timed(self, case: Case) -> float:
        """Return how long a whole run takes."""
        began = time.monotonic()
        done = self.forks(*case.command, cwd=self._folder())
        assert done.code == 0, done.err
        return time.monotonic() - began

    def run(self, kills: int) -> Counts:
        """Kill so many runs at least: first some of each kind, then by chance.

        A run that ends before its kill does not count; the next one is killed earlier.
        """
        names, shares = list(self.cases), np.array([case.share for case in self.cases.values()])
        for name in names:
            for _ in range(TRIES):
                self._chain(name, int(self.chance.integers(1, 4)))
                if any(killed.startswith(f"{name}: ") for killed in self.counts.kills):
                    break
        while self.counts.kills.total() < kills:
            self._chain(str(self.chance.choice(names, p=shares / shares.sum())), int(self.chance.integers(1, 6)))
        self.forks.close()
        return self.counts

    def _chain(self, name: str, kills: int) -> None:
        """Kill a command a few times in the same folder, then run it to its end."""
        case, folder = self.cases[name], self._folder()
        for _ in range(kills):
            how = str(self.chance.choice(list(HOW)))
            before = {each: content(folder / each) for each in case.outputs}
            self.forks.start(*self._next(case, folder), cwd=folder)
            self._wait(folder, before)
            self._kill(HOW[how], self.seconds[name] * self.chance.uniform(0, 0.5))
            result = self.forks.result()
            if result.code in (0, 1, 2):  # it had ended before, or it could not start or go on
                if result.code:
                    self._note(name, how, f"exit code {result.code}: {result.err[-300:]}")
                self.seconds[name] *= 0.8
                break
            self.seconds[name] *= 1.05  # so that moments fit the machine, however busy it is now
            self.counts.kills[f"{name}: {how}"] += 1
            if "Traceback" in result.err or (result.code >= 0 and result.code not in (129, 130, 143)):
                self._note(name, how, f"exit code {result.code}: {result.err[-300:]}")
            if result.code < 0:  # maybe before it has begun, or after all is written
                how = "kill"
            for problem in case.check(folder, before, result, how):
                self._note(name, how, problem)
        before = dict.fromkeys(case.outputs, b"")
        done = self.forks(*self._next(case, folder), cwd=folder)
        if done.code or (case.command[0] == "train" and not (folder / "model" / "model_index.json").exists()):
            self._note(name, "end", f"exit code {done.code}: {done.err[-300:]}")
        for problem in case.check(folder, before, done, "kill"):
            self._note(name, "end", problem)
        left = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_symlink()}
        left = {each for each in left if not each.startswith("model/") or re.search(r"\.new|\.part|\.bigain", each)}
        if left - {"out"} != case.outputs:
            self._note(name, "end", f"left: {sorted(left ^ case.outputs)}")

    def _next(self, case: Case, folder: Path) -> tuple[str, ...]:
        """Return how to start: a training can be continued from a checkpoint only."""
        if case.command[0] != "train" or (folder / "model" / "training" / "checkpoint.safetensors").exists():
            return case.again
        return case.command

    def _wait(self, folder: Path, before: Contents) -> None:
        """Wait, most times, until the run has begun to write."""
        until = time.monotonic() + (10 if self.chance.uniform() < 0.9 else 0)
        while time.monotonic() < until and not list(folder.rglob(".bigain-*")) and self._is_running():
            if any(content(folder / name) != data for name, data in before.items()):
                break
            time.sleep(0.005)

    def _is_running(self) -> bool:
        try:
            os.kill(self.forks.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _kill(self, signals: tuple[signal.Signals, ...], seconds: float) -> None:
        time.sleep(seconds)
        for number, each in enumerate(signals):
            if number:
                time.sleep(self.chance.uniform(0, 0.05))
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.forks.pid, each)

    def _note(self, name: str, how: str, problem: str) -> None:
        self.counts.problems.append(f"{name}, {how}, run-{self._number}: {problem}")


def main() -> None:
    """Run by hand, and say what was found."""
    options = argparse.ArgumentParser()
    options.add_argument("--kills", type=int, default=1000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as root:
        began = time.monotonic()
        counts = Suite(Path(root) / "suite", given.seed).run(given.kills)
        for name, count in sorted(counts.kills.items()):
            print(f"{count:5} {name[:60]}")
        print(f"{counts.kills.total()} kills in {time.monotonic() - began:.0f} s, {len(counts.problems)} problems")
        print("\n".join(counts.problems))
    sys.exit(bool(counts.problems))


if __name__ == "__main__":
    main()
