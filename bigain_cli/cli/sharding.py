"""The options that spread a run over processes and machines, for `classify` and `evaluate`. Must not load torch."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.cli.options import more_option
from bigain_cli.errors import UsageError

Shard = Annotated[str | None, more_option("--shard", metavar="K/N", help="Do the K-th of N shares, into -o FOLDER/.")]
Workers = Annotated[
    int | None, more_option("--workers", min=1, metavar="N", help="Do the work in N processes, into -o FOLDER/.")
]
RecordWorkers = Annotated[
    int | None, more_option("--workers", min=1, metavar="N", help="Do the work in N processes, into --records FOLDER/.")
]
Engine = Annotated[
    str | None,
    more_option("--engine", metavar="NAME", help="processes, ray, auto or ray://HOST:PORT.", show_default="processes"),
]
ShardSize = Annotated[
    int | None,
    more_option("--shard-size", min=1, metavar="N", help="Images in a file of -o FOLDER/.", show_default="256"),
]
RecordShardSize = Annotated[
    int | None,
    more_option("--shard-size", min=1, metavar="N", help="Records in a file of that folder.", show_default="256"),
]
Pace = Annotated[
    float | None,
    more_option("--pace", metavar="E", help="Evaluations per second of one worker, for the time that --dry-run shows."),
]
PROCESSES, RAY, AUTO = "processes", "ray", "auto"  # the last: Ray where this machine is part of a cluster already
PART_FORMAT = "jsonl"


@dataclass(frozen=True)
class Sharding:
    """Which share of the shards to do, or how many workers do all of them, and where."""

    share: tuple[int, int] | None
    workers: int | None
    engine: str
    size: int | None
    with_logs: bool = False  # show what Ray's workers print

    @property
    def sharers(self) -> int:
        """How many workers share the work."""
        return self.share[1] if self.share is not None else self.workers or 1

    @property
    def on_ray(self) -> bool:
        """Whether the workers are actors of Ray."""
        return self.engine != PROCESSES


def read_sharding(
    shard: str | None, workers: int | None, engine: str | None, size: int | None, verbose: bool = False
) -> Sharding | None:
    """Read the options; None: the run is a plain one."""
    if shard is None and workers is None and engine is None:
        if size is not None:
            raise UsageError("--shard-size", "is about a folder of results", "Add --shard, --workers or --engine.")
        return None
    if engine not in (None, PROCESSES, RAY, AUTO) and not re.fullmatch(r"ray://[^\s/]+:\d+|[\w.-]+:\d+", str(engine)):
        hint = "Use processes, ray (this machine), auto (its cluster), or ray://HOST:PORT."
        raise UsageError(f"--engine {engine}", "no such engine", hint)
    if shard is not None and (workers is not None or engine is not None):
        other = "--workers" if workers is not None else "--engine"
        raise UsageError(f"--shard {other}", "one is a share of the work, the other all of it", "Choose one.")
    share = None if shard is None else _read_share(shard)
    return Sharding(share, workers, engine or PROCESSES, size, verbose)


def _read_share(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of:
        raise UsageError(f"--shard {text}", "is no share", "Shares are 1/64, 2/64, … 64/64 of the work.")
    return number, of


def prepare_ray(engine: str) -> None:
    """Refuse what is not installed; let Ray send no statistics and, where it is started here, write no token file."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(f"--engine {engine}", "Ray is not installed", "pip install 'bigain[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # it warns of what it will do one day
    if engine == RAY:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")


def variables_of_options() -> dict[str, str]:
    """Return the variables by which `--offline` and `--threads`, or the user, tell libraries what to do."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DYNAMIC")
    return {name: os.environ[name] for name in names if name in os.environ}


def check_folder_run(request: ClassifyRequest, formats: Mapping[str, bool]) -> None:
    """Refuse what a run over shards cannot do, and an output that is no folder."""
    output = request.output
    if output is None:
        raise UsageError("--shard, --workers or --engine", "the results need a folder", "Add -o results/.")
    if os.path.isfile(output) or (os.path.splitext(output)[1] and not output.endswith(os.sep)):
        why = "a file, and the results of several processes need a folder"
        raise UsageError(f"-o {output}", why, "Write -o results/; bigain gather makes one file of it.")
    for name, given in formats.items():
        if given and name != PART_FORMAT:
            raise UsageError(f"--{name}", "a folder of results has lines of JSON", "Use bigain gather afterwards.")
    others = {"--heatmap": request.heatmap, "--sort-into": request.sort_into, "--watch": request.watch}
    for name, value in {**others, "--force": request.force, "--raw-csv": request.raw_csv}.items():
        if value:
            raise UsageError(name, "is not for a folder of results", "Leave it out.")
