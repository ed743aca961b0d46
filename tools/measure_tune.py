"""What `tune` is worth on images that it was not tuned on: by three seeds, some are tuned on and all others judged.

python tools/measure_tune.py MODEL DATA.safetensors [--table errors.npz] [--per-class 5 16] [--untuned] [--noise 20]

Every label's error in every draw is recorded once, and kept in `--table`. `--noise` also tunes on so many tables
without any signal, as a random network gives: each must be refused.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bigain_cli import load
from bigain_cli.classification.error_tables import ErrorRecorder, ErrorTable, RecordingOptions
from bigain_cli.classification.label_prompts import as_label_set, label_prompts
from bigain_cli.datasets.dataset import choose
from bigain_cli.datasets.opening import open_dataset
from bigain_cli.evaluation.calibration import calibration_error
from bigain_cli.intervals import mean_interval, wilson
from bigain_cli.tuning.cross_validation import cross_validated
from bigain_cli.tuning.fitting import Fitted, fit, log_losses
from bigain_cli.tuning.recorded_errors import RecordedErrors

SEEDS = 3


def record(model: str, path: str, per_class: int, draws: int, table: Path) -> None:
    """Record the errors of so many images a class, and save them now and then."""
    backbone, dataset = load(model), choose(open_dataset(path), None, per_class, 0)
    labels = label_prompts(as_label_set(list(dataset.classes)), (), False, backbone.vocabulary, backbone.template)
    recorder = ErrorRecorder(backbone, RecordingOptions(draws))
    found = recorder.tables((case.opened() for case in dataset.cases), [label.texts[0] for label in labels])
    rows = []
    for number, (each, case) in enumerate(zip(found, dataset.cases, strict=True), 1):
        assert isinstance(each, ErrorTable)
        rows.append((each.errors, each.times, case.truth[0]))
        if number % 40 == 0 or number == len(dataset.cases):
            errors, times, truth = (np.stack(column) for column in zip(*rows, strict=True))
            np.savez(table, errors=errors, times=times, truth=truth)
            print(f"{number}/{len(dataset.cases)}", flush=True)


def part(data: RecordedErrors, images: np.ndarray) -> RecordedErrors:
    """Return some of the images."""
    return RecordedErrors(data.errors[:, images], data.times[images], data.truth[images], data.labels)


def judge(name: str, before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> None:
    """Print accuracy, log loss and calibration error, and how they change."""
    right = [found.argmax(axis=1) == truth for found in (before, after)]
    losses = [log_losses(found, truth) for found in (before, after)]
    errors = [calibration_error(hits, found.max(axis=1)) for hits, found in zip(right, (before, after), strict=True)]
    gain = mean_interval(list(right[1].astype(float) - right[0]), -1, 1)
    change = mean_interval(list(losses[1] - losses[0]), -np.inf, np.inf)
    shares = " → ".join(wilson(float(hits.mean()), len(hits)).percent() for hits in right)
    print(f"{name}, n = {len(truth)}: top-1 {shares}, {gain.percent('+', ' points')};")
    print(f"    NLL {losses[0].mean():.3f} → {losses[1].mean():.3f}, {change}; ECE {errors[0]:.3f} → {errors[1]:.3f}")


def tuned_on(data: RecordedErrors, baseline: Fitted, per_class: int, seed: int) -> tuple[np.ndarray, ...]:
    """Tune on some random images of each class, and return the others' probabilities before and after."""
    generator = np.random.default_rng(seed)
    classes = [np.flatnonzero(data.truth == label) for label in range(len(data.labels))]
    images = np.sort(np.concatenate([generator.permutation(found)[:per_class] for found in classes]))
    others = np.setdiff1d(np.arange(len(data)), images)
    inside = part(data, images)
    found = cross_validated(inside, baseline, seed)
    steps = ", ".join(
        f"{step.part} {step.gain:+.3f} ± {step.standard_error:.3f} {'kept' if step.kept else 'refused'}"
        for step in found.steps
    )
    print(f"  seed {seed}: {steps}; {found.why_refused or 'a profile'}")
    fitted = baseline if found.why_refused else fit(found.choice, baseline, inside, np.arange(len(inside)))
    return baseline.probabilities(data, others), fitted.probabilities(data, others), data.truth[others]


def noise(times: int, labels: int, per_class: int, draws: int) -> None:
    """Tune on tables without signal, with the model's temperature and without one."""
    refused = {"with a temperature": 0, "without": 0}
    for seed in range(times):
        generator = np.random.default_rng(seed)
        truth = np.tile(np.arange(labels), per_class)
        errors = 0.1 + generator.normal(0, 1e-3, (1, len(truth), draws, labels))
        errors += generator.normal(0, 1e-3, (1, 1, 1, labels))  # some labels are always better
        data = RecordedErrors(errors, generator.random((len(truth), draws)), truth, tuple(map(str, range(labels))))
        for name, temperature in zip(refused, (1e-3, None), strict=True):
            refused[name] += bool(cross_validated(data, Fitted("norm", temperature), seed).why_refused)
    print(f"tables without signal, {per_class} images a class: {refused} of {times} refused")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--table", type=Path, default=Path("errors.npz"))
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--images", type=int, default=40, help="recorded of each class")
    parser.add_argument("--per-class", type=int, nargs="+", default=(5, 16))
    parser.add_argument("--untuned", action="store_true", help="begin as if the model had not been measured")
    parser.add_argument("--noise", type=int, default=0)
    asked = parser.parse_args()
    backbone = load(asked.model)
    if not asked.table.exists():
        record(asked.model, asked.data, asked.images, asked.draws, asked.table)
    with np.load(asked.table) as kept:
        errors, times, truth = kept["errors"], kept["times"], kept["truth"]
    data = RecordedErrors(errors[None], times, truth, tuple(map(str, range(errors.shape[2]))))
    baseline = Fitted("l2", None) if asked.untuned else Fitted(backbone.score, backbone.temperature)
    for per_class in asked.per_class:
        print(f"{per_class} images a class")
        for seed in range(SEEDS):
            judge(f"  seed {seed}", *tuned_on(data, baseline, per_class, seed))
        if asked.noise:
            noise(asked.noise, len(data.labels), per_class, asked.draws)


if __name__ == "__main__":
    main()
