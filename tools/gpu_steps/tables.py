"""The results as a page of the documentation; what has no result is said to be not measured yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bigain_cli.benchmark.results import as_markdown as bench_table
from bigain_cli.outputs.text import markdown
from gpu_steps.queue import results

Record = Mapping[str, Any]
NOTHING = "Not yet measured."
HEAD = """# On a GPU

What was measured on a GPU, with random weights of the real sizes where a model is too large to come with the project.
The page is written by a command, and what has no result is not measured yet:

```bash
pip install -e '.[test]'                                                    # or, beside a torch that is there:
python tools/gpu_report.py --requirements | xargs -d '\\n' pip install
python tools/gpu_report.py --minutes 8 -o results --data FOLDER             # FOLDER: the two CIFAR-10 files
python tools/gpu_report.py --tables results > docs/gpu.md
```

The steps run in order of worth until the time is up; a second run with the same folder goes on. `--toy` tries the queue
itself on a CPU.
"""


def as_markdown(folder: Path) -> str:
    """Return the page."""
    found = results(folder)
    parts = [HEAD]
    for title, name, about, table in SECTIONS:
        parts.append(f"## {title}\n\n{about}\n\n{_part(found.get(name), table)}\n")
    speeds = {name: line for name, line in found.items() if name.startswith("speed-")}
    about = "Evaluations a second, medians; ratios within a round, with the least and the largest. Random weights."
    tables = [f"### {line['about']}\n\n{_part(line, bench_table)}\n" for line in speeds.values()]
    parts.append("\n".join([f"## Speed\n\n{about}\n", *(tables or [f"{NOTHING}\n"])]))
    failed = [f"- {name}: {line['status']}" for name, line in found.items() if line["status"] != "ok"]
    if failed:
        parts.append("## What failed\n\n" + "\n".join(failed) + "\n")
    return "\n".join(parts)


def _part(line: Record | None, table: Callable[[Any], str]) -> str:
    """Return a result's table."""
    if line is None:
        return NOTHING
    if line["status"] == "ok" and line["result"] is not None:
        return table(line["result"])
    ended = f"The step ended with: {line['status']}."
    found = line["result"] if isinstance(line["result"], dict) else None
    return f"{table(found)}\n\n{ended}" if found else f"{NOTHING} {ended}"


def facts(result: Record) -> str:
    """Return names and values as a table."""
    return markdown(("what", "value"), [[name.replace("_", " "), _cell(value)] for name, value in _flat(result)])


def rows(result: Record) -> str:
    """Return a table with a row for each entry, whose values have the same names."""
    columns = list(dict.fromkeys(name for each in result.values() for name in each))
    lines = [[name, *(_cell(each.get(column, "")) for column in columns)] for name, each in result.items()]
    return markdown(("", *(column.replace("_", " ") for column in columns)), lines)


def rivals(result: Record) -> str:
    """Return the rivals' speeds, and on what they were measured."""
    size = f"{result['labels']} labels, {result['draws']} draws"
    what = f"`{result['model']}` with random weights in {result['dtype']}, {size}."
    return f"{what}\n\n{rows(result['evaluations_per_second'])}"


def compared(result: Record) -> str:
    """Return an evaluation's accuracies by compression."""
    specs = {}
    for name, each in result["specs"].items():
        share, low, high = (100 * each["top1"][key] for key in ("value", "low", "high"))
        specs[name] = {"top-1, %": f"{share:.1f} [{low:.1f}, {high:.1f}]"}
    return f"{result['pictures']} images.\n\n{rows(specs)}"


def _flat(result: Record, before: str = "") -> list[tuple[str, Any]]:
    """Return the values of a nest, each with the names that lead to it."""
    found: list[tuple[str, Any]] = []
    for name, value in result.items():
        found += _flat(value, f"{before}{name}, ") if isinstance(value, dict) else [(before + str(name), value)]
    return found


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


SECTIONS: tuple[tuple[str, str, str, Callable[[Any], str]], ...] = (
    ("The machine", "machine", "Matrix products and copies were measured, not read from a data sheet.", facts),
    ("Every verb", "smoke", "Each verb of the command on the embedded model.", rows),
    (
        "Answers against the CPU's",
        "answers",
        "The same images on the device and in float32 on the CPU. Differences are those between labels' scores, in "
        "units of their spread over the labels.",
        rows,
    ),
    ("Doubts", "doubts", "What the code for CUDA left open when it was read line by line.", facts),
    ("Tests", "tests", "`pytest -m gpu`.", str),
    ("Beside other ways", "rivals", "Evaluations a second on one network, in turn.", rivals),
    ("Memory", "memory", "Peaks of one batch of evaluations; a run that must halve its batch.", facts),
    ("Training a U-Net", "training", "The first and last trainings of `mini-late`, in the time available.", facts),
    ("Compressions on that U-Net", "grid", "Accuracy with its interval.", compared),
    ("Training a transformer", "training-dit", "Labels enter it late; in the minutes there were.", facts),
    ("Compressions on that transformer", "grid-dit", "Accuracy with its interval.", compared),
)  # fmt: skip
