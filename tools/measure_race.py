"""Measure the race, as versions to 0.1.0 ran it (before) and now: what it settles wrongly, and what it takes.

python tools/measure_race.py laws [--labels 2] [--draws 256]           races of equal labels under many error laws
python tools/measure_race.py record MODEL DATA TABLE [--images 520]    every draw's errors of a model, once (minutes)
python tools/measure_race.py replay TABLE [--draws 32] [--least 16]    races on that table, paired
python tools/measure_race.py calibrate TABLE [--draws 32]              the probabilities' temperature, and its error
python tools/measure_race.py confirm RECORDS DATA [--images 100]       settled answers against 64 fresh draws

A table's first draws hold all labels. Labels that are far behind then leave it (`--stages 16,32,… --far 8,7,…`: draws,
and how many standard errors are far), so that the answer after many draws costs little.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from many_races import LAWS, Races, anytime, equal_labels, race_many, stratified

from bigain_cli import classify, load
from bigain_cli.classification.confidence import GapRules, Spread, paired_gaps
from bigain_cli.classification.estimators import fitted_temperature, gap_softmax
from bigain_cli.classification.label_prompts import as_label_set, label_prompts
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.classification.viewed_image import ViewedImage
from bigain_cli.evaluation.accuracy import paired_interval
from bigain_cli.evaluation.calibration import calibration_error, chance_error
from bigain_cli.images import digest
from bigain_cli.intervals import wilson
from bigain_cli.noise_draws import Draws
from bigain_cli.registry import BLOCK
from bigain_cli.training.image_tensors import load_images

SAVE_EVERY = 60.0  # seconds
AT_ONCE = 80  # evaluations


def share_of(found: np.ndarray) -> str:
    """Return a share with its 95 % interval, in per cent."""
    if not len(found):
        return "none of none"
    each = wilson(float(found.mean()), len(found))
    return f"{100 * each.value:.1f} % [{100 * each.low:.1f}, {100 * each.high:.1f}]"


# Error laws.


def laws(asked: argparse.Namespace) -> None:
    """Print how many of 2,000 races of equal labels are settled, or drop the first label."""
    least = StoppingRules().least
    print(f"{asked.races} races of {asked.labels} equal labels, at most {asked.draws} draws: settled (first dropped)")
    print(f"| error law | before | now, from {least} draws | now, from 16 draws |\n|---|---|---|---|")
    for law in LAWS:
        table = equal_labels(law, asked.races, asked.draws, asked.labels)
        found = race_many(*table, width=anytime), race_many(*table, least), race_many(*table, 16)
        cells = [f"{settled_share(each):.1f} % ({100 * (~each.remaining[:, 0]).mean():.1f} %)" for each in found]
        print(f"| {law} | {' | '.join(cells)} |", flush=True)


def settled_share(races: Races) -> float:
    """Return how many races are settled, in per cent."""
    return 100 * float(races.settled.mean())


# Tables of a model's errors.


@torch.inference_mode()
def record(asked: argparse.Namespace) -> None:
    """Write the mean squares [image draw label] of photographs chosen by seed 1; an existing table is continued."""
    torch.set_num_threads(1)
    images, backbone = load_images(asked.data, 32), load(asked.model)
    competing = label_prompts(as_label_set(list(images.classes)), (), False, backbone.vocabulary, backbone.template)
    conditions = backbone.condition([label.texts[0] for label in competing])
    chosen = np.random.default_rng(1).permutation(len(images.labels))[: asked.images]
    stages, far = numbers(asked.stages), numbers(asked.far)
    errors = np.full((len(chosen), int(stages[-1]), len(conditions)), np.nan, np.float32)
    times = np.zeros(errors.shape[:2])
    if npz(asked.table).exists():
        known = np.load(npz(asked.table))["l2"][: errors.shape[0], : errors.shape[1]]
        errors[: known.shape[0], : known.shape[1]] = known
    saved = time.monotonic()
    for number, index in enumerate(chosen):
        image = images.image(int(index))
        draws = Draws(0, digest(image), backbone.latent_shape, backbone.timestep_range, views=backbone.views)
        times[number] = draws.times(0, errors.shape[1])
        fill(errors[number], backbone, image, draws, conditions, list(zip(stages, far, strict=True)))
        if time.monotonic() - saved > SAVE_EVERY or number == len(chosen) - 1:
            np.savez(npz(asked.table), l2=errors, times=times, labels=images.labels.numpy()[chosen])
            print(f"{number + 1} of {len(chosen)}", flush=True)
            saved = time.monotonic()


def fill(errors: Any, backbone: Any, image: Any, draws: Draws, conditions: Any, stages: Sequence[Any]) -> None:
    """Measure one image: at each stage only the labels that were not far behind after the one before."""
    viewed, labels, done = None, list(range(errors.shape[1])), 0
    for end, far in stages:
        if len(labels) < 2:
            return
        if np.isnan(errors[int(end) - 1, labels]).any():
            viewed = ViewedImage(backbone, image, draws) if viewed is None else viewed
            count = int(end) - done
            latents, block = viewed.latents(done, count).expand(count, -1, -1, -1), draws.block(done, count)
            errors[done : int(end), labels] = mean_squares(backbone, latents, block, conditions, labels)
        done = int(end)
        gaps = plain_z(np.sqrt(errors[:done, labels].astype(float)))
        labels = [label for label, z in zip(labels, gaps, strict=True) if z < far]


def mean_squares(backbone: Any, latents: Any, block: Any, conditions: Any, labels: list[int]) -> np.ndarray:
    """Return the errors of one image's draws."""  # [draws labels]
    found, at_once = [], max(1, AT_ONCE // len(labels))
    for start in range(0, len(block), at_once):
        t, noise = block.t[start : start + at_once], block.noise[start : start + at_once]
        noisy = backbone.mix(latents[start : start + at_once], noise, t)
        pairs = torch.arange(len(t)).repeat_interleave(len(labels))
        told = conditions.take(torch.tensor(labels).repeat(len(t)))
        prefix = backbone.compute_prefix(noisy, t)
        prefix = prefix.take(pairs) if prefix is not None else None
        rest = (backbone.noise(noisy[pairs], t[pairs], told, prefix) - noise[pairs]).flatten(1)
        found.append(rest.square().mean(1).reshape(-1, len(labels)))
    return torch.cat(found).numpy()


def plain_z(losses: np.ndarray) -> np.ndarray:
    """Return how many standard errors each label is behind the leader."""
    differences = losses - losses[:, [int(losses.mean(axis=0).argmin())]]
    error = differences.std(axis=0, ddof=1) / np.sqrt(len(losses))
    return np.asarray(differences.mean(axis=0) / np.maximum(error, 1e-12))


def numbers(text: str) -> list[float]:
    """Return the numbers of a comma-separated list."""
    return [float(part) for part in text.split(",")]


def npz(path: str) -> Path:
    """Return a table's path, with the ending that numpy gives it."""
    return Path(path if path.endswith(".npz") else f"{path}.npz")


# Replays.


def read(asked: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a table's losses under the score of `mini`, the draws' times and the images' true labels."""
    table = np.load(npz(asked.table))
    whole = np.isfinite(table["l2"][:, BLOCK * 2 - 1]).all(axis=1)
    return np.sqrt(table["l2"][whole].astype(float)), table["times"][whole], table["labels"][whole]


def answers(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each image's answer after all its draws, and their number."""
    counts = np.isfinite(losses).sum(axis=1)  # [images labels]
    most = counts.max(axis=1)
    means = np.where(counts == most[:, None], np.nanmean(losses, axis=1), np.inf)
    return means.argmin(axis=1), most


def replay(asked: argparse.Namespace) -> None:
    """Print what races take and settle, before and now, on the same draws."""
    losses, times, truth = read(asked)
    best, most = answers(losses)
    part = losses[:, : asked.draws]
    before, now = race_many(part, times, width=anytime), race_many(part, times, asked.least)
    print(f"{len(part)} images, races of at most {asked.draws} draws, settled from {asked.least} on")
    print(f"the answer of all draws: {np.median(most):.0f} draws in the median, {most.max()} at most")
    for name, each in (("before", before), ("now", now)):
        settled, same = each.settled, each.winner == best
        print(
            f"{name:7s} settled {share_of(settled)}, {each.evaluations.mean():.1f} evaluations; the answer of all draws"
            f" {share_of(same)}, of settled ones {share_of(same[settled])} ({int((~same[settled]).sum())} are others);"
            f" right {share_of(each.winner == truth)}, of settled ones {share_of((each.winner == truth)[settled])}"
        )
    ratio(before.settled.astype(float), now.settled.astype(float), "settled, now for each before")
    ratio(before.evaluations.astype(float), now.evaluations.astype(float), "evaluations, now for each before")
    gained, lost = (
        ((now.winner == best) & (before.winner != best)).sum(),
        ((before.winner == best) & (now.winner != best)).sum(),
    )
    found = paired_interval(int(gained), int(lost), len(part))
    low, points, high = (100 * share for share in (found.low, found.value, found.high))
    print(f"agreement: {gained} gained, {lost} lost, {points:+.1f} points [{low:+.1f}, {high:+.1f}]")
    ties(losses, times, asked)


def ratio(before: np.ndarray, now: np.ndarray, what: str) -> None:
    """Print the ratio of two sums over the same images, with a bootstrap interval."""
    rng = np.random.default_rng(0)
    picked = rng.integers(0, len(now), (4000, len(now)))
    found = now[picked].sum(axis=1) / np.maximum(before[picked].sum(axis=1), 1)
    low, high = np.quantile(found, (0.025, 0.975))
    print(f"{what}: {now.sum() / before.sum():.2f} [{low:.2f}, {high:.2f}]")


def ties(losses: np.ndarray, times: np.ndarray, asked: argparse.Namespace) -> None:
    """Print how often the model's own differences, made equal in the mean over many draws, are settled."""
    runs = losses.shape[1] // asked.draws
    if runs < 8:
        return
    deep = np.isfinite(losses).sum(axis=1) == losses.shape[1]  # [images labels]
    pairs = [(image, *np.flatnonzero(row)[:2]) for image, row in enumerate(deep) if row.sum() >= 2]
    rows, row_times = [], []
    for image, one, two in pairs:
        differences = losses[image, :, one] - losses[image, :, two]
        differences = (differences - differences.mean())[: runs * asked.draws].reshape(runs, asked.draws)
        rows.append(np.stack([differences, np.zeros_like(differences)], axis=2))
        row_times.append(times[image, : runs * asked.draws].reshape(runs, asked.draws))
    if not rows:
        return
    races = np.concatenate(rows)
    print(f"{len(pairs)} pairs of the model's closest labels, their mean over {losses.shape[1]} draws taken out,")
    for name, width, least in (("before", anytime, BLOCK), ("now", stratified, asked.least)):
        found = race_many(races, np.concatenate(row_times), least, width)
        print(f"  {name:7s} settled {settled_share(found):.2f} % of {len(races)} races of {asked.draws} draws")


def calibrate(asked: argparse.Namespace) -> None:
    """Print the temperature that fits, with standard errors of either kind, and how well each is calibrated."""
    losses, times, truth = read(asked)
    part = losses[:, : asked.draws]
    whole = np.isfinite(part).all(axis=(1, 2))
    gaps, stratified_errors, plain = (np.zeros(part.shape[::2]) for _ in range(3))
    for row, table in enumerate(part):
        shared = np.isfinite(table)
        leader = int(np.where(shared.all(axis=0), np.nanmean(table, axis=0), np.inf).argmin())
        found = paired_gaps(table, leader, GapRules(times=times[row]))
        gaps[row], plain[row] = np.maximum(found.means, 0), found.errors
        for n in np.unique(found.counts):
            labels = found.counts == n
            spread = Spread.of(table[:n, labels] - table[:n, [leader]], times[row, :n])
            stratified_errors[row, labels] = np.hypot(np.sqrt(spread.variance / n), spread.drift)
    right = gaps.argmin(axis=1) == truth
    print(f"{len(part)} images at {asked.draws} draws ({int(whole.sum())} with all labels to the end)")
    for name, errors in (("all draws' spread", plain), ("spread at one time", stratified_errors)):
        best = fitted_temperature(gaps, errors, truth)
        for temperature in sorted({asked.temperature, best or asked.temperature}):
            shares = gap_softmax(np.hypot(temperature, errors), gaps)
            sure, told = shares.max(axis=1), shares[np.arange(len(truth)), truth]
            print(
                f"{name:19s} T = {temperature:.5f}{' (fits best)' if temperature == best else ''}: log loss"
                f" {-np.log(np.maximum(told, 1e-12)).mean():.4f}, ECE {calibration_error(right, sure):.3f}"
                f" ({chance_error(sure):.3f} by chance alone)"
            )


def confirm(asked: argparse.Namespace) -> None:
    """Print how many settled answers of `evaluate --records` have the same winner of their first two in fresh draws."""
    torch.set_num_threads(1)
    records = [json.loads(line) for line in Path(asked.records).read_text().splitlines()]
    settled = [record for record in records if record.get("settled")][: asked.images]
    images, backbone = load_images(asked.data, 32), load(asked.model)
    rules, same = StoppingRules("fixed", draws=64), []
    for record in settled:
        image = images.image(int(record["id"].rpartition("[")[2].rstrip("]")))
        labels = [record["label"], record["runner_up"]]
        (found,) = classify(backbone, [(record["id"], image)], labels, rules=rules, seed=1)
        same.append(found.label == record["label"])
    print(f"{sum(same)} of {len(same)} settled answers hold in 64 fresh draws: {share_of(np.array(same))}")


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    each = verbs.add_parser("laws")
    for name, value in (("--races", 2000), ("--labels", 2), ("--draws", 256)):
        each.add_argument(name, type=int, default=value)
    each = verbs.add_parser("record")
    for name in ("model", "data", "table"):
        each.add_argument(name)
    each.add_argument("--images", type=int, default=520)
    each.add_argument("--stages", default="16,32")
    each.add_argument("--far", default="8,7")
    each = verbs.add_parser("confirm")
    for name in ("records", "data"):
        each.add_argument(name)
    each.add_argument("--model", default="mini")
    each.add_argument("--images", type=int, default=100)
    for verb in ("replay", "calibrate"):
        each = verbs.add_parser(verb)
        each.add_argument("table")
        each.add_argument("--draws", type=int, default=32)
        each.add_argument("--least", type=int, default=16)
        each.add_argument("--temperature", type=float, default=0.0009)
    asked = parser.parse_args()
    {"laws": laws, "record": record, "replay": replay, "calibrate": calibrate, "confirm": confirm}[asked.verb](asked)


if __name__ == "__main__":
    main()
