"""Plot what `bigain train` keeps in training/losses.jsonl: python tools/plot_losses.py FOLDER... FILE.svg

A column for each folder, in the order given, and a row for each loss, on one scale. Lines are means of some reports.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LOSSES = {  # in the order of the rows
    "error": "error of the predicted noise",
    "contrast": "loss of comparing labels",
    "classifier": "loss of the classifier",
}
POINTS = 30  # of a line, at most


def read_losses(folder: Path) -> list[dict[str, Any]]:
    """Return the reports of a training."""
    text = (folder / "training" / "losses.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def smoothed(reports: list[dict[str, Any]], loss: str) -> tuple[list[float], list[float]]:
    """Return thousands of images and the means of the reports up to each, weighted by their images."""
    images, values, before, weight, total = list[float](), list[float](), 0, 0, 0.0
    step = reports[-1]["images"] / POINTS
    for report in reports:
        count, before = report["images"] - before, report["images"]
        if loss in report:
            weight, total = weight + count, total + count * report[loss]
        if weight and (before >= step * (len(images) + 1) or report is reports[-1]):
            images.append(before / 1000)
            values.append(total / weight)
            weight, total = 0, 0.0
    return images, values


def main() -> None:
    from matplotlib import pyplot

    *folders, target = sys.argv[1:]
    trainings = [read_losses(Path(folder)) for folder in folders]
    rows = [loss for loss in LOSSES if any(loss in report for reports in trainings for report in reports)]
    pyplot.rcParams["svg.hashsalt"] = "bigain"
    size = (4.5 * len(folders), 2.4 * len(rows))
    figure, grid = pyplot.subplots(len(rows), len(folders), figsize=size, sharey="row", sharex="col", squeeze=False)
    for row, loss in zip(grid, rows, strict=True):
        for axes, folder, reports in zip(row, folders, trainings, strict=True):
            axes.plot(*smoothed(reports, loss), lw=1.2)
            axes.grid(alpha=0.3)
            if loss == rows[0]:
                axes.set_title(Path(folder).name)
            if loss == rows[-1]:
                axes.set_xlabel("thousand images")
        row[0].set_ylabel(LOSSES[loss])
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None} if target.endswith(".svg") else None)


if __name__ == "__main__":
    main()
