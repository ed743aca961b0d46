"""Choose a backbone's score, range of times and temperature by measurement, on images it was not trained on.

python tools/measure_model.py MODEL DATA.safetensors [--images 500] [--draws 64] [--table errors.npz] [--compress SPEC]
    [--views mirror+move:1] [--upto 0.3 --times 0.02 0.2]    the latter where labels differ with little noise alone

First every label's error in every draw is measured and kept (`--table` is read if it exists); then every score, range
of times and rule is replayed on that table: accuracies are paired, and only the first step costs time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bigain_cli import StoppingRules, load
from bigain_cli.backbones.base import Backbone
from bigain_cli.classification.elimination import Elimination
from bigain_cli.classification.estimators import fitted_temperature, gap_softmax, probabilities
from bigain_cli.classification.label_prompts import as_label_set, label_prompts
from bigain_cli.classification.viewed_image import ViewedImage
from bigain_cli.compress import compressed
from bigain_cli.evaluation.accuracy import paired_interval
from bigain_cli.evaluation.calibration import calibration_error as ece
from bigain_cli.evaluation.calibration import chance_error
from bigain_cli.images import digest
from bigain_cli.intervals import wilson
from bigain_cli.noise_draws import Draws
from bigain_cli.registry import SCORES, attribute
from bigain_cli.training.image_tensors import LabelledImages, load_images
from bigain_cli.views import read_views

RANGES = ((0.0, 1.0), (0.0, 0.9), (0.0, 0.8), (0.0, 0.7), (0.0, 0.6), (0.0, 0.5), (0.1, 0.6), (0.05, 0.8))
NARROW = ((0.0, 0.3), (0.02, 0.3), (0.0, 0.2), (0.02, 0.2), (0.05, 0.2), (0.02, 0.15), (0.05, 0.3), (0.02, 0.1))
SCHEDULES = ("fixed", "race", "ttest")
DRAWS = (8, 16, 24, 32, 48, 64)
TEMPERATURES = tuple(0.0001 * 1.15**step for step in range(40))


def losses_of(score: str, table: dict[str, Any]) -> np.ndarray:
    """Return what a score takes a table's errors for."""
    found = SCORES[score]
    return np.stack([attribute(found.losses)(errors) for errors in table["l1" if found.absolute else "l2"]])


def measure(
    backbone: Backbone, images: LabelledImages, count: int, draws: int, spec: str, upto: float, views: str
) -> dict[str, Any]:
    """Return the errors [image draw label] of the first images, their times and their labels."""
    competing = label_prompts(as_label_set(list(images.classes)), (), False, backbone.vocabulary, backbone.template)
    conditions = backbone.condition([arm.texts[0] for arm in competing])
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    last = round(upto * backbone.timesteps)
    acting = nullcontext() if spec == "none" else compressed(backbone, spec, steps=backbone.timesteps)
    with torch.inference_mode(), acting:
        for number in range(count):
            image = images.image(number)
            own = Draws(0, digest(image), backbone.latent_shape, (0, last), views=read_views(views))
            latents = ViewedImage(backbone, image, own).latents(0, draws).expand(draws, -1, -1, -1)
            rows.append(_errors(backbone, latents, own.block(0, draws), conditions))
            if number % 20 == 19:
                print(f"{number + 1}/{count}", flush=True)
    l2, l1, t = (np.stack(column) for column in zip(*rows, strict=True))
    return {"l2": l2, "l1": l1, "t": t / backbone.timesteps, "labels": images.labels[:count].numpy()}


def _errors(backbone: Any, latents: Any, block: Any, conditions: Any, at_once: int = 8) -> Any:
    labels = len(conditions)
    l2, l1 = [], []
    for start in range(0, len(block), at_once):
        t, noise = block.t[start : start + at_once], block.noise[start : start + at_once]
        noisy = backbone.mix(latents[start : start + at_once], noise, t)
        pairs = torch.arange(len(t)).repeat_interleave(labels)
        told = conditions.take(torch.arange(labels).repeat(len(t)))
        shared = backbone.compute_prefix(noisy, t)
        shared = shared.take(pairs) if shared is not None else None
        rest = (backbone.noise(noisy[pairs], t[pairs], told, shared) - noise[pairs]).flatten(1)
        l2.append(rest.square().mean(1).reshape(-1, labels))
        l1.append(rest.abs().mean(1).reshape(-1, labels))
    return torch.cat(l2).double().numpy(), torch.cat(l1).double().numpy(), block.t.numpy()


def within(table: dict[str, Any], times: tuple[float, float], draws: int) -> dict[str, Any]:
    """Keep the first draws of each image whose time is in a range: the same draws as if drawn from it, nearly."""
    inside = (table["t"] >= times[0]) & (table["t"] < times[1])
    draws = min(draws, int(inside.sum(axis=1).min()))
    index = np.stack([np.flatnonzero(row)[:draws] for row in inside])[:, :, None]
    return {
        "l2": np.take_along_axis(table["l2"], index, 1),
        "l1": np.take_along_axis(table["l1"], index, 1),
        "labels": table["labels"],
    }


def share_of(right: int, count: int) -> str:
    """Return a share with its 95 % interval, in per cent."""
    if not count:
        return "none of none"
    found = wilson(right / count, count)
    return f"{100 * found.value:5.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def scores_and_ranges(table: dict[str, Any], draws: int, upto: float) -> None:
    """Print the accuracy of every score over every range at a fixed number of draws."""
    print(f"\naccuracy in per cent at {draws} draws (fewer where the range holds fewer), n = {len(table['labels'])}")
    print("times        draws  " + "  ".join(f"{name:>18}" for name in SCORES))
    for times in RANGES if upto > NARROW[0][1] else NARROW:
        part = within(table, times, draws)
        cells = []
        for score in SCORES:
            answers = losses_of(score, part).mean(axis=1).argmin(axis=1)
            cells.append(share_of(int((answers == part["labels"]).sum()), len(answers)))
        print(f"{times[0]:.2f}–{times[1]:.2f}  {part['l2'].shape[1]:8d}  " + "  ".join(f"{cell:>18}" for cell in cells))


def against(answers: np.ndarray, base: np.ndarray, truth: np.ndarray) -> str:
    """Return how many points more answers are right than other answers to the same images."""
    gained, lost = int(((answers == truth) & (base != truth)).sum()), int(((answers != truth) & (base == truth)).sum())
    found = paired_interval(gained, lost, len(truth))
    low, points, high = (100 * share for share in (found.low, found.value, found.high))
    return f"{gained} gained, {lost} lost, {points:+.1f} points [{low:+.1f}, {high:+.1f}]"


def paired_scores(table: dict[str, Any], score: str) -> None:
    """Print what every other score gains or loses against one, on all draws."""
    answers = {name: losses_of(name, table).mean(axis=1).argmin(axis=1) for name in SCORES}
    print(f"\nagainst {score}, all {table['l2'].shape[1]} draws, paired")
    for name in answers:
        print(f"{name:6s}  {against(answers[name], answers[score], table['labels'])}")


def numbers_of_draws(table: dict[str, Any], times: tuple[float, float], score: str, labels: list[str]) -> None:
    """Print what fewer draws, and races of fewer, lose against all draws."""
    part = within(table, times, 256)
    truth, most = part["labels"], part["l2"].shape[1]
    losses = losses_of(score, part)
    base = losses.mean(axis=1).argmin(axis=1)
    print(f"\nnumbers of draws, score {score}, against all {most}, n = {len(truth)}")
    for draws in sorted({*(count for count in DRAWS if count < most), most}):
        answers = losses[:, :draws].mean(axis=1).argmin(axis=1)
        right = share_of(int((answers == truth).sum()), len(truth))
        print(f"fixed {draws:3d}  {right}, {draws * len(labels)} evaluations; {against(answers, base, truth)}")
        rankings = list(race(part, StoppingRules(draws=draws, score=score), labels))
        answers = np.array([labels.index(ranking.label) for ranking in rankings])
        right = share_of(int((answers == truth).sum()), len(truth))
        spent = np.mean([ranking.evaluations for ranking in rankings])
        print(f"race  {draws:3d}  {right}, {spent:.1f} evaluations; {against(answers, base, truth)}")


def race(table: dict[str, Any], rules: StoppingRules, labels: list[str]) -> Iterator[Any]:
    """Replay a contest on the table, a ranking for each image."""
    errors = table["l1" if rules.score == "l1" else "l2"]
    for row in errors:
        contest = Elimination(labels, [1] * len(labels), rules)
        while (count := contest.next_draws()) and contest.draws + count <= len(row):
            block = row[contest.draws : contest.draws + count].copy()
            block[:, ~contest.remaining] = np.nan
            contest.add_errors(block)
        yield contest.ranking("", {}, None, True)


def single_draws(table: dict[str, Any]) -> None:
    """Print how often one draw alone is right, and how far wrong labels are behind the right one, in ln e."""
    errors, truth = np.log(table["l2"]), table["labels"]
    wrong = np.arange(errors.shape[2]) != truth[:, None]
    gaps = errors - np.take_along_axis(errors, truth[:, None, None], axis=2)
    right = (errors.argmin(axis=2) == truth[:, None]).mean()
    print(f"\na single draw is right {100 * right:.1f} %, gaps are {100 * gaps.transpose(0, 2, 1)[wrong].mean():.2f} %")


def calibrated(
    table: dict[str, Any], times: tuple[float, float], score: str, labels: list[str], temperature: float
) -> None:
    """Print how well a temperature fits, every label taking every draw, and in races of as many at most."""
    for draws in (8, 16, 32, 64):
        if draws > table["l2"].shape[1]:
            return
        losses = losses_of(score, within(table, times, draws))
        leaders = losses.mean(axis=1).argmin(axis=1)
        found = [probabilities(row, leader, temperature).max() for row, leader in zip(losses, leaders, strict=True)]
        judge(f"fixed {draws}, T = {temperature:g}", leaders == table["labels"], np.array(found))
        rankings = list(race(within(table, times, 256), StoppingRules(draws=draws, score=score), labels))
        right = np.array([ranking.label for ranking in rankings]) == np.array(labels)[table["labels"]]
        gaps, errors = gaps_of(rankings, labels)
        judge(
            f"race {draws}, T = {temperature:g}",
            right,
            gap_softmax(np.hypot(temperature, errors), gaps).max(axis=1),
        )


def gaps_of(rankings: list[Any], labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return how far every label is behind, and how sure that is."""  # [image label] each
    places = [{place.label: place for place in ranking.ranked} for ranking in rankings]
    gaps = np.array([[found[label].gap for label in labels] for found in places])
    return gaps, np.array([[found[label].standard_error for label in labels] for found in places])


def schedules(table: dict[str, Any], times: tuple[float, float], score: str, labels: list[str]) -> None:
    """Print accuracy and cost of every stopping rule, each with the same most draws."""
    part = within(table, times, 256)
    truth = part["labels"]
    print(f"\nscore {score}, times {times}, at most {part['l2'].shape[1]} draws, n = {len(truth)}")
    for name in SCHEDULES:
        rules = StoppingRules(schedule=name, draws=part["l2"].shape[1], score=score)
        rankings = list(race(part, rules, labels))
        right = sum(labels.index(ranking.label) == label for ranking, label in zip(rankings, truth, strict=True))
        spent = np.mean([ranking.evaluations for ranking in rankings])
        print(f"{name:6s}  accuracy {share_of(right, len(truth))}, {spent:.1f} evaluations an image")


def calibration(table: dict[str, Any], times: tuple[float, float], score: str, labels: list[str]) -> None:
    """Print accuracy, cost and calibration of the race; each half is judged by the temperature of the other."""
    part = within(table, times, 256)
    truth = part["labels"]
    rules = StoppingRules(draws=part["l2"].shape[1], score=score)
    print(f"\nrace, score {score}, times {times}, at most {rules.draws} draws")
    rankings = list(race(part, rules, labels))
    right = np.array([labels.index(ranking.label) == label for ranking, label in zip(rankings, truth, strict=True)])
    spent = np.array([ranking.evaluations for ranking in rankings])
    decided = np.array([ranking.settled for ranking in rankings])
    print(f"accuracy {share_of(int(right.sum()), len(right))}, decided {100 * decided.mean():.1f} %, of those")
    print(f"  right {share_of(int(right[decided].sum()), int(decided.sum()))}")
    print(f"evaluations an image: mean {spent.mean():.0f}, median {np.median(spent):.0f}, most {spent.max()}")
    judge("no temperature", right, np.array([ranking.probability for ranking in rankings]))
    gaps, errors = gaps_of(rankings, labels)
    whole = fitted_temperature(gaps, errors, truth)
    if whole is None:
        print("no temperature fits: the gaps tell nothing")
        return
    judge(f"temperature {whole:.4g}", right, gap_softmax(np.hypot(whole, errors), gaps).max(axis=1))
    halves = np.arange(len(truth)) % 2 == 0
    one, two = (fitted_temperature(gaps[half], errors[half], truth[half]) or np.inf for half in (~halves, halves))
    other = np.where(halves, one, two)[:, None]
    judge("  of the other half", right, gap_softmax(np.hypot(other, errors), gaps).max(axis=1))


def shapes(table: dict[str, Any], times: tuple[float, float], score: str) -> None:
    """Print the log loss of probabilities that know of the gaps' errors, and of such that do not, each at its best."""
    for draws in (count for count in DRAWS if count <= table["l2"].shape[1]):
        part = within(table, times, draws)
        losses = losses_of(score, part)
        leaders = losses.mean(axis=1).argmin(axis=1)
        rest = losses - np.take_along_axis(losses, leaders[:, None, None], axis=2)
        gaps, errors = rest.mean(axis=1), rest.std(axis=1, ddof=1) / draws**0.5
        found = {}
        for what, spread in (("sqrt(T^2 + e^2)", errors), ("T", np.zeros_like(errors))):
            tried = {t: _log_loss(gap_softmax(np.hypot(t, spread), gaps), part["labels"]) for t in TEMPERATURES}
            best = min(tried, key=tried.__getitem__)
            found[what] = f"exp(-gap / {what}): {tried[best]:.3f} at T = {best:g}"
        print(f"log loss at {draws} draws  {';  '.join(found.values())}")


def _log_loss(shares: np.ndarray, truth: np.ndarray) -> float:
    return float(-np.log(np.maximum(shares[np.arange(len(truth)), truth], 1e-12)).mean())


def judge(what: str, right: np.ndarray, sure: np.ndarray) -> None:
    """Print how well probabilities agree with how often the answers are right."""
    found = f"ECE {ece(right, sure):.3f} ({chance_error(sure):.3f} by chance alone)"
    print(f"{what:24s} {found}, mean probability {sure.mean():.3f}")


def main() -> None:
    """Measure, then replay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--table", default="")
    parser.add_argument("--compress", default="none")
    parser.add_argument("--score", default="l2")
    parser.add_argument("--temperature", type=float, help="one to judge, beside the fitted one")
    parser.add_argument("--upto", type=float, default=1.0, help="share of the noise schedule that draws are from")
    parser.add_argument("--views", default="none", help="of the image, of which each draw takes one: mirror+move:1")
    parser.add_argument("--times", type=float, nargs=2, default=(0.0, 1.0))
    asked = parser.parse_args()
    images = load_images(asked.data, 32)
    path = Path(asked.table) if asked.table else None
    if path is not None and path.exists():
        table = dict(np.load(path))
        if (known := str(table.get("views", "none"))) != asked.views:
            raise SystemExit(f"{path}: measured with views {known}, not {asked.views}")
    else:
        table = measure(load(asked.model), images, asked.images, asked.draws, asked.compress, asked.upto, asked.views)
        if path is not None:
            np.savez(path, **table, views=asked.views)
    for draws in (8, 16, 32, 64):
        if draws <= table["l2"].shape[1]:
            scores_and_ranges(table, draws, asked.upto)
    low, high = asked.times
    single_draws(table)
    paired_scores(table, asked.score)
    numbers_of_draws(table, (low, high), asked.score, list(images.classes))
    shapes(table, (low, high), asked.score)
    if asked.temperature is not None:
        calibrated(table, (low, high), asked.score, list(images.classes), asked.temperature)
    schedules(table, (low, high), asked.score, list(images.classes))
    calibration(table, (low, high), asked.score, list(images.classes))


if __name__ == "__main__":
    main()
