"""What a benchmark found, as numbers, text or Markdown: each spec's times, under which conditions. Torch-free.

Ratios are taken within a round, where both sides met the same machine, and only then summed up.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.outputs.text import aligned, markdown


@dataclass(frozen=True)
class Spread:
    """A median and the ends of the range around it."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Sum up what the rounds gave."""
        return Spread(statistics.median(values), min(values), max(values))

    def to_dict(self) -> dict[str, float]:
        """Return plain numbers."""
        return {"median": short(self.median), "low": short(self.low), "high": short(self.high)}


def ratios(base: Sequence[float], mine: Sequence[float]) -> list[float]:
    """Return how many times as fast each round was as the base's turn in the same round."""
    return [before / after for before, after in zip(base, mine, strict=True)]


@dataclass(frozen=True)
class Profile:
    """What an extra turn found out that watches the network more closely than a timed one may."""

    inside: float | None  # seconds inside the network
    outside: float | None  # and outside of it
    bookkeeping: float | None  # of those inside: making plans, merging, restoring, pooling
    memory: int  # bytes at the peak


@dataclass(frozen=True)
class Timing:
    """One spec's part of a benchmark."""

    compress: str
    evaluations: int  # a turn
    seconds: tuple[float, ...]  # of each turn
    base: tuple[float, ...]  # of the uncompressed network's turns in the same rounds
    flops: int | None  # of one pass by itself
    watched: Profile

    @property
    def per_second(self) -> float:
        """Return the evaluations per second of the median turn."""
        return self.evaluations / statistics.median(self.seconds)

    @property
    def milliseconds(self) -> Spread:
        """Return what an evaluation takes."""
        return Spread.of([1e3 * seconds / self.evaluations for seconds in self.seconds])

    @property
    def ratio(self) -> Spread:
        """Return how many times as fast this is as the uncompressed network."""
        return Spread.of(ratios(self.base, self.seconds))

    def share(self, peak: float) -> float | None:
        """Return the share of the machine's peak at which the pass by itself runs."""
        return None if self.flops is None else self.flops * self.per_second / peak

    def to_dict(self, peak: float) -> dict[str, Any]:
        """Return plain numbers; milliseconds are those of one evaluation."""
        share = self.share(peak)
        return {
            "compress": self.compress,
            "evaluations_per_second": short(self.per_second),
            "milliseconds": self.milliseconds.to_dict(),
            "ratio": self.ratio.to_dict(),
            "gflop": None if self.flops is None else round(self.flops / 1e9, 6),
            "share_of_peak": None if share is None else short(share),
            "outside_milliseconds": self._each(self.watched.outside),
            "bookkeeping_milliseconds": self._each(self.watched.bookkeeping),
            "peak_memory": self.watched.memory,
            "seconds": [short(seconds) for seconds in self.seconds],
        }

    def _each(self, seconds: float | None) -> float | None:
        return None if seconds is None else short(1e3 * seconds / self.evaluations)


@dataclass(frozen=True)
class BenchmarkSettings:
    """Under which conditions all specs were timed."""

    model: str
    weights: str  # random, or a digest of the real ones
    parameters: int | None
    size: tuple[int, int]  # width and height in pixels
    latent: tuple[int, int, int]
    device: str
    device_name: str
    dtype: str
    torch: str
    threads: int
    attention: str | None  # of the uncompressed network
    memory: str  # what peak memory counts
    labels: int
    draws: int
    batch: int
    filled: int  # rows of a turn that only fill up its last batch
    rounds: int
    warm_up: int
    prefix: bool  # whether what no label enters is computed once for all of them
    compile: bool

    @property
    def evaluations(self) -> int:
        """Return the evaluations of one turn."""
        return self.labels * self.draws

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        shapes = {"size": list(self.size), "latent": list(self.latent)}
        return {**asdict(self), **shapes, "evaluations": self.evaluations}


@dataclass(frozen=True)
class Benchmark:
    """All specs side by side; the uncompressed network first."""

    conditions: BenchmarkSettings
    timings: tuple[Timing, ...]
    peak: float  # operations per second of a plain matrix product in the same dtype
    seconds: dict[str, float]  # what the benchmark itself took, stage by stage

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **self.conditions.to_dict(),
            "peak_gflop_per_second": short(self.peak / 1e9),
            "seconds": {stage: short(seconds) for stage, seconds in self.seconds.items()},
            "timings": [timing.to_dict(self.peak) for timing in self.timings],
        }


def short(value: float) -> float:
    """Return a number to six digits."""
    return float(f"{value:.6g}")


def check_options(*, prefix: bool | None, compile: bool, **counts: int | None) -> None:
    """Refuse counts below one, and a prefix of its own in a network that runs as a whole."""
    for option, value in counts.items():
        if value is not None and value < 1:
            raise UsageError(f"--{option} {value}", "must be at least 1", "Leave it out for what suits the model.")
    if prefix and compile:
        why = "a compiled network runs as a whole: nothing of it is kept before the labels enter"
        raise UsageError("--prefix --compile", why, "Choose one of them.")


Found = dict[str, Any]
COLUMNS: dict[str, Callable[[Found], str]] = {
    "spec": lambda row: row["compress"],
    "evals/s": lambda row: f"{row['evaluations_per_second']:.4g}",
    "ms/eval [min, max]": lambda row: spread(row["milliseconds"]),
    "times as fast [min, max]": lambda row: spread(row["ratio"]),
    "GFLOP": lambda row: _number(row["gflop"], "{:.5g}"),
    "of peak": lambda row: _number(row["share_of_peak"], "{:.1%}"),
    "outside ms": lambda row: _number(row["outside_milliseconds"], "{:.3g}"),
    "bookkeeping ms": lambda row: _number(row["bookkeeping_milliseconds"], "{:.3g}"),
    "peak GiB": lambda row: f"{row['peak_memory'] / 2**30:.2f}",
}


def as_text(found: Found) -> str:
    """Lay out for a terminal."""
    return "\n".join([*conditions(found), "", aligned(tuple(COLUMNS), _rows(found))])


def as_markdown(found: Found) -> str:
    """Lay out for a document."""
    return "\n".join([*(f"{line}  " for line in conditions(found)), "", markdown(tuple(COLUMNS), _rows(found))])


def conditions(found: Found) -> list[str]:
    """Say under which conditions the numbers hold."""
    weights = "random weights" if found["weights"] == "random" else f"weights {found['weights']}"
    many = "" if found["parameters"] is None else f", {found['parameters'] / 1e6:.1f} M parameters"
    width, height = found["size"]
    filled = f", {found['filled']} rows of the last one filled up" if found["filled"] else ""
    shared = "what no label enters computed once a draw" if found["prefix"] else "everything computed for each label"
    made = "compiled" if found["compile"] else "not compiled"
    kernel = "" if found["attention"] is None else f"attention: {found['attention']}; "
    return [
        f"{found['model']} ({weights}{many}) at {width}x{height} in {found['dtype']}",
        f"{found['device_name']} ({found['device']}), {found['threads']} CPU threads, torch {found['torch']}",
        f"a turn: {found['labels']} labels x {found['draws']} draws = {found['evaluations']} evaluations "
        f"in batches of {found['batch']}{filled}; {shared}, {made}",
        f"{found['rounds']} rounds, every spec in turn, after {found['warm_up']} to warm up",
        f"{kernel}peak: {_peak(found['peak_gflop_per_second'])} in a matrix product; memory: {found['memory']}",
    ]


def spread(value: dict[str, float]) -> str:
    """Write a median with the range around it."""
    return f"{value['median']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"


def _rows(found: Found) -> list[list[str]]:
    return [[cell(row) for cell in COLUMNS.values()] for row in found["timings"]]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _peak(gflop: float) -> str:
    return f"{gflop:.4g} GFLOP/s" if gflop < 1e4 else f"{gflop / 1e3:.4g} TFLOP/s"
