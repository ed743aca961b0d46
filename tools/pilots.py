"""Train small models for equal seconds, one setting changed in each, to choose the settings of a long training.

python tools/pilots.py run STAGE TRAIN.safetensors VAL.safetensors OUT [--only N,N]    8 to 15 minutes a pilot
python tools/pilots.py table OUT                                              Markdown; paired with the stage's first
python tools/pilots.py plot OUT FILE.svg                                      their losses

The stages and pilots are in tools/pilots.toml. Seconds are those of the process on one thread: two runs with other
pilots of a stage may share two cores. How many images that gives is reckoned from the pace of a few steps, so the
seconds in the table differ from the plan by some per cent. A pilot that is finished in OUT is not run again.
Every pilot is one training of one seed: the intervals are about the images it is judged by, not about other seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bigain_cli.backbones.noise_schedule import NoiseSchedule
from bigain_cli.evaluation.accuracy import paired_interval
from bigain_cli.intervals import wilson
from bigain_cli.training.image_tensors import LabelledImages, load_images
from bigain_cli.training.job import read_synonyms
from bigain_cli.training.loss import as_input, mean_square_errors
from bigain_cli.training.networks import TrainableBackbone, make_noise_schedule, make_trainable
from bigain_cli.training.noise_prediction import noise_prediction
from bigain_cli.training.recipe import TEMPLATES, Recipe
from bigain_cli.training.tokenizer import make_vocabulary
from bigain_cli.training.training_loop import Training

ROOT = Path(__file__).parents[1]
PACE_STEPS = 20
LOG_EVERY = 50  # steps
IMAGES, AT_ONCE = 800, 20  # to judge a pilot by
CLASSIFIER_TIMES = (0.05, 0.11, 0.17)
RANGES = ((0.02, 0.2), (0.02, 0.5))  # of times, from which a pilot is classified by its errors
DRAWS = 6  # of each range


def stages() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def run(asked: argparse.Namespace) -> None:
    """Train and judge the pilots of a stage that OUT does not have."""
    torch.set_num_threads(1)
    stage = stages()[asked.stage]
    images, unseen = load_images(asked.train, 32), load_images(asked.val, 32)
    unseen = unseen.relabelled(images.classes)
    folder = Path(asked.out)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [int(part) for part in asked.only.split(",")] if asked.only else range(len(stage["pilots"]))
    for number, name in enumerate(stage["pilots"]):
        path, seconds = folder / f"{asked.stage}-{number:02d}", stage["seconds"]
        asked_for = {"stage": asked.stage, "name": name, "planned": seconds, "settings": _settings(stage, name)}
        if number not in wanted or _is_finished(path.with_suffix(".json"), asked_for):
            continue
        pilot = Pilot(stage, name, images, _start(stage, folder))
        pilot.train(path.with_suffix(".jsonl"))
        save_file({key: value.contiguous() for key, value in pilot.weights().items()}, path.with_suffix(".safetensors"))
        np.savez(path.with_suffix(".npz"), **judge(pilot, unseen, errors="start" in stage))
        about = {**asked_for, **pilot.facts()}
        path.with_suffix(".json").write_text(json.dumps(about) + "\n", encoding="utf-8")
        print(about, flush=True)


def _settings(stage: dict[str, Any], name: str) -> dict[str, Any]:
    return {**stage["settings"], **stage["pilots"][name]}


def _is_finished(path: Path, asked_for: dict[str, Any]) -> bool:
    """Return whether this very pilot is finished; refuse another one in its place."""
    if not path.exists():
        return False
    there = json.loads(path.read_text(encoding="utf-8"))
    if changed := [key for key, value in asked_for.items() if there.get(key) != value]:
        raise SystemExit(f"{path} has another {changed[0]}: name another OUT, or remove its files")
    return True


def _start(stage: dict[str, Any], folder: Path) -> dict[str, Tensor] | None:
    if "start" not in stage:
        return None
    for path in folder.glob("see-*.json"):
        if json.loads(path.read_text(encoding="utf-8"))["name"] == stage["start"]:
            return load_file(path.with_suffix(".safetensors"))
    raise SystemExit(f"{folder} has no finished pilot {stage['start']!r} of the stage see: run that first")


class Pilot:
    """One short training."""

    def __init__(
        self, stage: dict[str, Any], name: str, images: LabelledImages, start: dict[str, Tensor] | None
    ) -> None:
        settings = _settings(stage, name)
        self._sharpness_at_first = settings.pop("sharpness_at_first", None)
        self._same_product = settings.pop("same_product", False)
        self._images, self._start = images, start
        synonyms = read_synonyms(str(ROOT / "prompts" / "cifar10-synonyms.json"))
        self._vocabulary = make_vocabulary(images.classes, synonyms, TEMPLATES)
        recipe = Recipe(**settings)
        self.recipe = dataclasses.replace(recipe, images=self._images_in(recipe, stage["seconds"]))
        self.training = self._begin(self.recipe)
        self.seconds = 0.0

    def _begin(self, recipe: Recipe) -> Training:
        trainable = make_trainable(recipe, self._vocabulary)
        if self._start is not None:
            later = {id(weight) for weight in trainable.later_weights()}
            with torch.no_grad():
                for key, weight in trainable.named_parameters():
                    if id(weight) not in later:
                        weight.copy_(self._start[key])
        device = torch.device("cpu")
        schedule = make_noise_schedule(device, recipe.prediction)
        return Training(recipe, trainable, schedule, self._images, device, {})

    def _images_in(self, recipe: Recipe, seconds: float) -> int:
        """Return how many images fit, by the pace of a few steps of each kind."""
        many = dataclasses.replace(recipe, images=100_000 * recipe.batch)
        kinds = {0.0: dataclasses.replace(many, contrast_from=0.0)}
        if recipe.contrast_from and not recipe.classifier_first:
            kinds[recipe.contrast_from] = dataclasses.replace(many, contrast_from=0.99)
        each = {share: self._seconds_of_an_image(kind) for share, kind in kinds.items()}
        without = recipe.contrast_from if recipe.contrast_from in each else 0.0
        image = (1 - without) * each[0.0] + without * each[without]
        return max(1, int(seconds / image / recipe.batch)) * recipe.batch

    def _seconds_of_an_image(self, recipe: Recipe) -> float:
        steps = self._begin(recipe).run()
        for _ in range(4):
            next(steps)
        began = time.process_time()
        for _ in range(PACE_STEPS):
            next(steps)
        return (time.process_time() - began) / (PACE_STEPS * recipe.batch)

    def train(self, log: Path) -> None:
        """Take all steps, and write the losses to a file."""
        recipe, sums = self.recipe, torch.zeros(3)
        last = recipe.first_steps or recipe.steps
        began = time.process_time()
        with log.open("w", encoding="utf-8") as file:
            for step in self._steps():
                error = step.error.log() if step.error > 0 else step.error  # 0: of the classifier alone
                sums += torch.stack([error, step.contrast, step.classifier]).detach()
                if step.number % LOG_EVERY == 0 or step.number == last:
                    count = (step.number - 1) % LOG_EVERY + 1
                    means = [round(value / count, 4) for value in sums.tolist()]
                    sums.zero_()
                    line = {"images": step.number * recipe.batch, "seconds": round(time.process_time() - began, 1)}
                    line |= dict(zip(("log_error", "contrast", "classifier"), means, strict=True))
                    file.write(json.dumps(line) + "\n")
                    file.flush()
                if step.number == last:
                    break
        self.seconds = time.process_time() - began

    def _steps(self) -> Iterator[Any]:
        """Take steps; where the sharpness grows, in even ratios until a half of the training."""
        steps = self.training.run()
        for number in range(self.recipe.steps):
            if self._sharpness_at_first is not None:
                share = min(1.0, 2 * number / self.recipe.steps)
                now = self._sharpness_at_first ** (1 - share) * self.recipe.sharpness**share
                product = self.recipe.contrast * self.recipe.sharpness
                contrast = product / now if self._same_product else self.recipe.contrast
                self.training.recipe = dataclasses.replace(self.recipe, sharpness=now, contrast=contrast)
            yield next(steps)

    def weights(self) -> dict[str, Tensor]:
        """Return the averaged weights."""
        return self.training.averaged()

    def facts(self) -> dict[str, Any]:
        recipe = self.recipe
        shown = (recipe.first_steps or recipe.steps) * recipe.batch
        return {"images": shown, "seconds": round(self.seconds), "recipe": recipe.to_dict()}


@torch.inference_mode()
def judge(pilot: Pilot, unseen: LabelledImages, errors: bool) -> dict[str, np.ndarray]:
    """Return what the averaged weights see in images that no pilot was trained on.

    `classifier`: whether it is right, by one noisy view at each of its times; `errors`: every label's, draw by draw.
    """
    trainable, recipe = pilot.training.trainable, pilot.recipe
    for key, weight in trainable.named_parameters():
        weight.copy_(pilot.weights()[key])
    schedule = pilot.training.schedule
    found: dict[str, list[Tensor]] = {"classifier": []}
    count = min(IMAGES, len(unseen))
    for first in range(0, count, AT_ONCE):
        chosen = slice(first, min(first + AT_ONCE, count))
        clean, labels = as_input(unseen.pixels[chosen], recipe), unseen.labels[chosen]
        sums = torch.zeros(())
        for t, noise in _draws(clean, CLASSIFIER_TIMES, len(schedule), first):
            logits = trainable.classifier(trainable.features(schedule.mix(clean, noise, t), t))
            sums = sums + logits.log_softmax(1)
        found["classifier"].append(sums.argmax(1) == labels)
        for low, high in RANGES if errors else ():
            times = [low + (high - low) * (draw + 0.5) / DRAWS for draw in range(DRAWS)]
            draws = _draws(clean, times, len(schedule), first)
            rows = [_errors(trainable, schedule, clean, t, noise) for t, noise in draws]
            found.setdefault(f"errors {low}-{high}", []).append(torch.stack(rows, 1))  # [b draws labels]
    arrays = {key: torch.cat(parts).numpy() for key, parts in found.items()}
    return arrays | {"labels": unseen.labels[:count].numpy()}


def _draws(clean: Tensor, times: Any, timesteps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the same noise for every pilot."""
    generator = torch.Generator().manual_seed(seed)
    for share in times:
        noise = torch.randn(clean.shape, generator=generator)
        yield torch.full([len(clean)], int(share * timesteps)), noise


def _errors(trainable: TrainableBackbone, schedule: NoiseSchedule, clean: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Return every label's error, with the first of its sentences."""  # [b labels]
    rows = trainable.first_rows.expand(len(clean), -1)
    output = noise_prediction(trainable, schedule)(schedule.mix(clean, noise, t), t, rows)
    return mean_square_errors(output, noise[:, None])


def table(asked: argparse.Namespace) -> None:
    """Print every pilot, and how many points it is from the first of its stage."""
    folder = Path(asked.out)
    for stage, settings in stages().items():
        found = [json.loads(path.read_text()) | {"path": path} for path in sorted(folder.glob(f"{stage}-*.json"))]
        kinds = [f"errors {low}-{high}" for low, high in RANGES] if "start" in settings else ["classifier"]
        first = {
            kind: _right(np.load(pilot["path"].with_suffix(".npz")), kind)
            for pilot in found
            for kind in kinds
            if pilot["path"].stem.endswith("-00")
        }
        print(f"\n| {stage} | images | seconds | ln e | {' | '.join(kind + ' | points' for kind in kinds)} |")
        print(f"|---|---:|---:|---:|{'---|---|' * len(kinds)}")
        for pilot in found:
            arrays = np.load(pilot["path"].with_suffix(".npz"))
            cells = [pilot["name"], f"{pilot['images']:,}", str(pilot["seconds"]), _log_error(arrays)]
            for kind in kinds:
                right = _right(arrays, kind)
                cells.append(_share(right))
                is_first = pilot["path"].stem.endswith("-00")
                cells.append(_points(right, first[kind]) if kind in first and not is_first else "")
            print(f"| {' | '.join(cells)} |")


def _right(arrays: Any, kind: str) -> np.ndarray:
    """Return whether each image is right."""
    if kind == "classifier":
        return arrays[kind]
    return np.sqrt(arrays[kind]).mean(1).argmin(1) == arrays["labels"]


def _log_error(arrays: Any) -> str:
    """Return the right label's mean ln e over both ranges, that of a model that predicts no noise being 0."""
    ranges = [arrays[key] for key in arrays.files if key.startswith("errors")]
    if not ranges:
        return ""
    labels = arrays["labels"]
    own = [errors[np.arange(len(labels)), :, labels] for errors in ranges]
    return ", ".join(f"{np.log(each).mean():.2f}" for each in own)


def _share(right: np.ndarray) -> str:
    each = wilson(float(right.mean()), len(right))
    return f"{100 * each.value:.1f} % [{100 * each.low:.1f}, {100 * each.high:.1f}]"


def _points(right: np.ndarray, first: np.ndarray) -> str:
    each = paired_interval(int((right & ~first).sum()), int((~right & first).sum()), len(right))
    return f"{100 * each.value:+.1f} [{100 * each.low:+.1f}, {100 * each.high:+.1f}]"


def plot(asked: argparse.Namespace) -> None:
    """Plot the losses of all pilots over their images, each the mean of some hundred steps."""
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "bigain"
    figure, rows = pyplot.subplots(3, 2, figsize=(10, 12))
    shown = (
        (rows[0, 0], "see", "classifier", "loss of the classifier"),
        (rows[0, 1], "dit", "classifier", "loss of the classifier"),
        (rows[1, 0], "whole", "log_error", "ln of the mean error of the right label"),
        (rows[1, 1], "whole", "classifier", "loss of the classifier"),
        (rows[2, 0], "whole", "contrast", "contrast"),
    )
    rows[2, 1].set_axis_off()
    for axes, stage, key, title in shown:
        for path in sorted(Path(asked.out).glob(f"{stage}-*.json")):
            lines = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
            found = [
                (line["images"], line[key]) for line in lines if line["seconds"] and (key != "contrast" or line[key])
            ]
            if not found:
                continue
            images, values = zip(*_smooth(found), strict=True)
            name = json.loads(path.read_text())["name"]
            axes.plot(images, values, lw=1.2, label=name)
        axes.set(xlabel="images", title=f"{stage}: {title}")
        axes.grid(alpha=0.3)
    for axes in (rows[0, 0], rows[0, 1], rows[1, 0]):
        if axes.has_data():
            axes.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    figure.savefig(asked.image, metadata={"Date": None})


def _smooth(points: list[tuple[int, float]], most: int = 16) -> list[tuple[int, float]]:
    """Return at most so many means of some neighbours each; a last part of fewer is left out."""
    width = max(1, -(-len(points) // most))
    parts = [points[at : at + width] for at in range(0, len(points), width)]
    whole = [part for part in parts if len(part) == width]
    return [(part[-1][0], sum(value for _, value in part) / width) for part in whole]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("run")
    for name in ("stage", "train", "val", "out"):
        verb.add_argument(name)
    verb.add_argument("--only", default="")
    verb.set_defaults(act=run)
    verb = verbs.add_parser("table")
    verb.add_argument("out")
    verb.set_defaults(act=table)
    verb = verbs.add_parser("plot")
    for name in ("out", "image"):
        verb.add_argument(name)
    verb.set_defaults(act=plot)
    asked = parser.parse_args()
    asked.act(asked)


if __name__ == "__main__":
    main()
