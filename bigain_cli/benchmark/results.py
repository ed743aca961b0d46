"""The results of a benchmark as numbers, text or Markdown: each spec's times, and the settings. Torch-free.

Ratios are taken within a round, where both sides had the same load on the machine, and only then summarised.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bigain_cli.classification.ranking import significant
from bigain_cli.compress.spec import in_short
from bigain_cli.errors import UsageError
from bigain_cli.limits import check_counts
from bigain_cli.outputs.report_sections import wrapped
from bigain_cli.outputs.text import COLUMNS as TERMINAL
from bigain_cli.outputs.text import aligned, counted, markdown, plain_markdown, spoken_time


@dataclass(frozen=True)
class Spread:
    """A median and the ends of the range around it."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Summarise one value per round."""
        return Spread(statistics.median(values), min(values), max(values))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {name: significant(value, 6) for name, value in asdict(self).items()}


def ratios(base: Sequence[float], seconds: Sequence[float]) -> list[float]:
    """Return, round by round, how many times as fast as the base a spec was."""
    return [before / after for before, after in zip(base, seconds, strict=True)]


@dataclass(frozen=True)
class Profile:
    """The result of an extra turn that measures the network in more detail than a timed one."""

    inside_network: float | None  # seconds
    outside_network: float | None
    overhead: float | None  # of those inside: making plans, merging, restoring, pooling
    memory: int  # bytes at the peak


@dataclass(frozen=True)
class Timing:
    """The results of one spec."""

    compress: str
    evaluations: int  # per turn
    seconds: tuple[float, ...]  # of each turn
    base: tuple[float, ...]  # of the uncompressed network's turns in the same rounds
    gflop: float | None  # of an evaluation: its share of what the labels of a draw share, and the rest
    gflop_pass: float | None  # of one forward pass by itself
    profile: Profile

    @property
    def per_second(self) -> float:
        """Return the evaluations per second of the median turn."""
        return self.evaluations / statistics.median(self.seconds)

    @property
    def milliseconds(self) -> Spread:
        """Return the milliseconds per evaluation."""
        return Spread.of([1e3 * seconds / self.evaluations for seconds in self.seconds])

    @property
    def ratio(self) -> Spread:
        """Return how many times as fast this is as the uncompressed network."""
        return Spread.of(ratios(self.base, self.seconds))

    def share(self, peak: float) -> float | None:
        """Return the share of the machine's peak."""
        return None if self.gflop is None else 1e9 * self.gflop * self.per_second / peak

    def to_dict(self, peak: float) -> dict[str, Any]:
        """Return plain numbers; milliseconds are those of one evaluation."""
        share = self.share(peak)
        return {
            "compress": self.compress,
            "evaluations_per_second": significant(self.per_second, 6),
            "milliseconds": self.milliseconds.to_dict(),
            "ratio": self.ratio.to_dict(),
            "gflop": None if self.gflop is None else round(self.gflop, 6),
            "gflop_pass": None if self.gflop_pass is None else round(self.gflop_pass, 6),
            "share_of_peak": significant(share, 6),
            "outside_milliseconds": self._milliseconds_each(self.profile.outside_network),
            "bookkeeping_milliseconds": self._milliseconds_each(self.profile.overhead),
            "peak_memory": self.profile.memory,
            "seconds": [significant(seconds, 6) for seconds in self.seconds],
        }

    def _milliseconds_each(self, seconds: float | None) -> float | None:
        return None if seconds is None else significant(1e3 * seconds / self.evaluations, 6)


@dataclass(frozen=True)
class BenchmarkSettings:
    """The model, the machine and the options that all specs were timed with."""

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
    filled: int  # rows that pad the last batch of a turn
    rounds: int
    warm_up: int
    prefix: bool  # whether the blocks before the first prompt are computed once for all labels
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

    settings: BenchmarkSettings
    timings: tuple[Timing, ...]
    peak: float  # operations per second of a plain matrix product in the same dtype
    seconds: dict[str, float]  # of each stage of the benchmark itself

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **self.settings.to_dict(),
            "peak_gflop_per_second": significant(self.peak / 1e9, 6),
            "seconds": {stage: significant(seconds, 6) for stage, seconds in self.seconds.items()},
            "timings": [timing.to_dict(self.peak) for timing in self.timings],
        }


def check_options(*, prefix: bool | None, compile: bool, **counts: int | None) -> None:
    """Refuse counts below one, and a separate prefix in a compiled network, which runs as a whole."""
    check_counts(**counts)
    for option, value in counts.items():
        if value is not None and value < 1:
            raise UsageError(f"--{option} {value}", "must be at least 1", "Leave it out for what suits the model.")
    if prefix and compile:
        why = "a compiled network runs as a whole: nothing of it is kept before the labels enter"
        raise UsageError("--prefix --compile", why, "Choose one of them.")


Result = dict[str, Any]
COLUMNS: dict[str, Callable[[Result], str]] = {
    "spec": lambda row: row["compress"],
    "evals/s": lambda row: f"{row['evaluations_per_second']:.4g}",
    "ms/eval [min, max]": lambda row: _spread(row["milliseconds"]),
    "times as fast [min, max]": lambda row: _spread(row["ratio"]),
    "GFLOP": lambda row: _number(row["gflop"], "{:.5g}"),
    "of peak": lambda row: _number(row["share_of_peak"], "{:.1%}"),
    "outside network ms": lambda row: _number(row["outside_milliseconds"], "{:.3g}"),
    "overhead ms": lambda row: _number(row["bookkeeping_milliseconds"], "{:.3g}"),
    "peak GiB": lambda row: f"{row['peak_memory'] / 2**30:.2f}",
}
NARROW = ("spec", "evals/s", "times as fast [min, max]", "GFLOP", "peak GiB")


def as_text(result: Result, wide: bool = False) -> str:
    """Return the text for a terminal: what matters in 80 columns, or everything."""
    if wide:
        return "\n".join([*_settings_lines(result), "", aligned(tuple(COLUMNS), _rows(result, COLUMNS))])
    names = in_short([row["compress"] for row in result["timings"]])
    rows = [[names[spec], *cells] for spec, *cells in _rows(result, NARROW)]
    lines = [wrapped(line, TERMINAL) for line in _settings_lines(result)]
    unlike = "" if all(name == short for name, short in names.items()) else "Specs are shown without @share=level. "
    note = f"{unlike}--wide shows more columns, --json everything."
    return "\n".join([*lines, "", aligned(NARROW, rows, width=TERMINAL), "", wrapped(note, TERMINAL)])


def as_markdown(result: Result) -> str:
    """Return Markdown for a document."""
    lines = [f"{plain_markdown(line)}  " for line in _settings_lines(result)]
    return "\n".join([*lines, "", markdown(tuple(COLUMNS), _rows(result, COLUMNS))])


def closing(result: Result) -> str:
    """Return what was timed, and how long each stage took, as the run's last sentence."""
    seconds = result["seconds"]
    stages = ", ".join(f"{spoken_time(each)} {stage.replace('_', ' ')}" for stage, each in seconds.items())
    what = f"{counted(len(result['timings']), 'spec')} timed in {counted(result['rounds'], 'round')}"
    return f"{what} in {spoken_time(sum(seconds.values()))} ({stages})"


def _settings_lines(result: Result) -> list[str]:
    """Describe the settings that the numbers belong to."""
    weights = "random weights" if result["weights"] == "random" else f"weights {result['weights']}"
    parameters = "" if result["parameters"] is None else f", {result['parameters'] / 1e6:.1f} M parameters"
    width, height = result["size"]
    filled = f", {counted(result['filled'], 'row')} of the last one filled up" if result["filled"] else ""
    shared = "what no label enters computed once a draw" if result["prefix"] else "everything computed for each label"
    compiled = "compiled" if result["compile"] else "not compiled"
    kernel = "" if result["attention"] is None else f"attention: {result['attention']}; "
    return [
        f"{result['model']} ({weights}{parameters}) at {width}x{height} in {result['dtype']}",
        f"{result['device_name']} ({result['device']}), {counted(result['threads'], 'CPU thread')}, "
        f"torch {result['torch']}",
        f"a turn: {counted(result['labels'], 'label')} x {counted(result['draws'], 'draw')} = "
        f"{counted(result['evaluations'], 'evaluation')} "
        f"in batches of {result['batch']}{filled}; {shared}, {compiled}",
        f"{counted(result['rounds'], 'round')}, every spec in turn, after {result['warm_up']} to warm up",
        f"{kernel}peak: {_peak(result['peak_gflop_per_second'])} in a matrix product; memory: {result['memory']}",
    ]


def _spread(value: dict[str, float]) -> str:
    """Write a median with the range around it."""
    return f"{value['median']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"


def _rows(result: Result, columns: Iterable[str]) -> list[list[str]]:
    return [[COLUMNS[name](row) for name in columns] for row in result["timings"]]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _peak(gflop: float) -> str:
    return f"{gflop:.4g} GFLOP/s" if gflop < 1e4 else f"{gflop / 1e3:.4g} TFLOP/s"
