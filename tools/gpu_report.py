"""Run everything that needs a GPU, the most valuable first, within some minutes, and write down what was found.

    python tools/gpu_report.py --minutes 8 -o OUT [--data FOLDER] [--device cuda|cpu] [--toy]
    python tools/gpu_report.py --tables OUT > docs/gpu.md
    python tools/gpu_report.py --requirements

Each step is a process of its own with a time limit; its result is in OUT/results.jsonl as soon as it is there, and
what it said in OUT/logs. A step that fails stops no other. A second run with the same OUT goes on with the steps that
have no result (`--retry`: and with those that failed). FOLDER holds cifar10_train.safetensors and
cifar10_val.safetensors; without it nothing is trained. `--toy` runs the whole queue with tiny shapes, on a CPU in a
few minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bigain_cli" / "alias"))
sys.path.insert(0, str(HERE.parent))

from gpu_steps.queue import run_queue  # noqa: E402
from gpu_steps.steps import CHECKS, Plan, steps  # noqa: E402
from gpu_steps.tables import as_markdown  # noqa: E402

MISSING = ("diffusers", "accelerate", "safetensors", "typer", "rich", "pytest", "hypothesis", "tomesd")


def main() -> int:
    """Run the queue, or one of its steps, or write the tables."""
    asked = _arguments()
    if asked.requirements:
        sys.stdout.write("\n".join(_requirements()) + "\n")
        return 0
    if asked.tables is not None:
        sys.stdout.write(as_markdown(asked.tables))
        return 0
    if asked.output is None:
        sys.stderr.write("gpu_report: -o OUT is missing\n")
        return 2
    plan = Plan(asked.output.resolve(), asked.device, asked.toy, asked.data and asked.data.resolve())
    if asked.step is not None:
        from bigain_cli.registry import attribute

        result = attribute(CHECKS[asked.step])(plan, asked.seconds)
        sys.stdout.write("\n" + json.dumps(result) + "\n")
        return 0
    failed = run_queue(steps(plan), plan.folder, 60 * asked.minutes, asked.retry)
    (plan.folder / "report.md").write_text(as_markdown(plan.folder), encoding="utf-8")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="no step is begun that could not end by then")
    parser.add_argument("-o", "--output", type=Path, help="folder of the results")
    parser.add_argument("--data", type=Path, help="folder of the two CIFAR-10 files")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true", help="tiny shapes, to try the queue itself")
    parser.add_argument("--retry", action="store_true", help="run the steps that failed again")
    parser.add_argument("--tables", type=Path, metavar="OUT", help="print the tables of earlier results")
    parser.add_argument("--requirements", action="store_true", help="print what a machine with torch alone lacks")
    parser.add_argument("--step", choices=CHECKS, help=argparse.SUPPRESS)  # what the queue calls
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    return parser.parse_args()


def _requirements() -> list[str]:
    """Return the project's requirements that are often missing where torch is, as pip reads them."""
    import tomllib

    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return [line for line in lines if line.split(">")[0].split("=")[0] in MISSING]


if __name__ == "__main__":
    sys.exit(main())
