"""`classify`: images and labels in, a stream of rankings out. Puts the files of this package together.

Works on several images at once, yields results in the order of the images, and continues when one fails.
Never prints, never exits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from bigain_cli.backbones.base import Backbone, Conditions
from bigain_cli.backbones.batch_sizes import automatic_batch_size
from bigain_cli.backbones.devices import leave_float16
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.classification.denoising import DenoisingErrors, SharedWork
from bigain_cli.classification.elimination import Elimination
from bigain_cli.classification.heatmaps import PixelErrors
from bigain_cli.classification.image_run import EmptyPrompt, ImageRun, InOrder, finite
from bigain_cli.classification.label_prompts import LabelPrompts, as_label_set, label_prompts
from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.classification.settings import Settings, temperature_of
from bigain_cli.classification.stopping import StoppingRules, mappable_score
from bigain_cli.compress import Compression, Spec, parse
from bigain_cli.compress.flops import forward_flops
from bigain_cli.compress.patching import compressed_or_not
from bigain_cli.compress.plan import Grid
from bigain_cli.errors import UsageError
from bigain_cli.images import ImageReader, Images, LoadedImage, center_crop, sources_of
from bigain_cli.labels import LabelSet
from bigain_cli.noise_draws import Draws
from bigain_cli.registry import DEFAULT_SCORE, SCHEDULES, SCORES, attribute

BATCHES_A_ROUND = 4  # images are taken in until a round of evaluations fills so many batches

Labels = str | LabelSet | Sequence[str] | Mapping[str, str | Sequence[str]]


def classify(
    backbone: Backbone | str,
    images: Images,
    labels: Labels,
    *,
    templates: Sequence[str] = (),
    rules: StoppingRules | None = None,
    seed: int = 0,
    reject: bool = False,
    batch: int | None = None,
    timing: bool = False,
    share_prefix: bool = True,
    compress: str | Spec | None = None,
    maps: bool = False,
) -> Iterator[Ranking | Failure]:
    """Rank the labels for each image, in the order of the images; without `compress`, as suits the backbone best.

    The backbone may be given by a model's name, which loads it.
    With `maps`, every ranking has `evidence`: where in the image the evidence lies.
    """
    run = Classification(backbone, labels, templates, rules, seed, reject, batch, timing, share_prefix, compress, maps)
    return (result for result in run.rankings(images) if result.finished)


class Classification:
    """A classification in progress: labels are encoded once, then any number of images."""

    def __init__(
        self,
        backbone: Backbone | str,
        labels: Labels,
        templates: Sequence[str] = (),
        rules: StoppingRules | None = None,
        seed: int = 0,
        reject: bool = False,
        batch: int | None = None,
        timing: bool = False,
        share_prefix: bool = True,
        compress: str | Spec | None = None,
        maps: bool = False,
        views: bool = False,
    ) -> None:
        self.backbone = backbone = as_backbone(backbone)
        self.templates, self.timing = tuple(templates), timing
        self.rules = (rules or StoppingRules()).for_model(backbone.score, backbone.draws)
        competing = label_prompts(as_label_set(labels), self.templates, reject, backbone.vocabulary, backbone.template)
        if batch is not None and batch < 1:
            raise UsageError(f"batch {batch}", "must be at least 1", "Leave it out for a size that suits the device.")
        spec = parse(backbone.compress if compress is None else compress)
        self._settings = Settings(competing, self.rules, seed, spec.by_level() if backbone.has_prefix else spec)
        self._prompt_counts = [len(label.texts) for label in competing]
        self._share, self._reject = share_prefix, reject
        self._compression: Compression | None = None
        score = SCORES[self.rules.score or DEFAULT_SCORE]
        self._views, self._empty = views or maps, self._empty_prompt() if maps else None
        pixel_errors = self._pixel_errors() if maps else None
        shared_work = SharedWork(backbone, share_prefix)
        conditions = self._conditions()
        if batch is None:
            draws = 1 if self.rules.deadline is not None else SCHEDULES[self.rules.schedule].block
            batch = automatic_batch_size(backbone, draws * len(conditions))
        self._denoising = DenoisingErrors(backbone, conditions, score.absolute, batch, shared_work, pixel_errors)
        self.settings = self._settings.to_dict(backbone, self.templates)
        with self._compressed():
            self._check_budget()
            self.report = (
                self._compression.report(backbone.latent_shape[1:], self._text_tokens()) if self._compression else None
            )
        if self.report is not None:
            self.report.warn()
            self.settings["compression"] = self.report.summary()

    @property
    def gflop(self) -> float:
        """Return the cost of one evaluation in 10⁹ operations; 0 where there is no network."""
        if self.report is not None:
            return self.report.flops_after / 1e9
        site = next(iter(self.backbone.sites()), None)
        latent = Grid(*self.backbone.latent_shape[1:])
        return forward_flops(site.root, latent, self._text_tokens()) / 1e9 if site is not None else 0.0

    @property
    def competing(self) -> tuple[LabelPrompts, ...]:
        """The labels that are compared, with their prompts; with `reject`, "none" is the last."""
        return self._settings.competing

    def rankings(self, images: Images) -> Iterator[Ranking | Failure]:
        """Yield a ranking after each block of draws of each image, and each image's last one in the images' order."""
        self._adopt_dtype()
        reader = ImageReader(sources_of(images))
        try:
            with self._compressed():
                yield from self._stream(reader)
        finally:
            reader.stop()

    def _stream(self, reader: ImageReader) -> Iterator[Ranking | Failure]:
        queue = InOrder()
        running: list[ImageRun] = []
        while True:
            self._admit(reader, running, queue)
            yield from queue.ready()
            if not running and reader.at_end:
                return
            for image_run, outcome in self._round(running):
                if outcome.finished:
                    running.remove(image_run)
                    queue.add(image_run.place, outcome)
                else:
                    yield outcome
            yield from queue.ready()

    @contextmanager
    def _compressed(self) -> Iterator[None]:
        """Let the spec act on the network, and leave the network as it was."""
        with compressed_or_not(self.backbone, self._settings.compress) as self._compression:
            if self._compression is not None:
                self._denoising.shared_work = SharedWork(self.backbone, self._share, self._compression)
            yield

    def _text_tokens(self) -> int:
        """Return the number of text tokens."""
        rows = self._denoising.conditions.rows
        return rows.shape[1] if rows.ndim == 3 else 1

    def _admit(self, reader: ImageReader, running: list[ImageRun], queue: InOrder) -> None:
        """Take images in until a round is large enough; wait for one only if there is nothing else to do."""
        alone = self.rules.deadline is not None
        enough = BATCHES_A_ROUND * self._denoising.batch
        while not running or (not alone and sum(image_run.pending for image_run in running) < enough):
            item = reader.next(wait=not running)
            if item is None:
                return
            if isinstance(item, LoadedImage):
                running.append(self._begin(item, queue.take()))
            else:
                queue.add(queue.take(), Failure(item[0], item[1].kind, str(item[1]), self.settings))
                if not running:
                    return

    def _begin(self, image: LoadedImage, place: int) -> ImageRun:
        started = time.monotonic()
        length = self.backbone.timesteps
        grid = [t * length // 1000 for stage in SCHEDULES[self.rules.schedule].staged for t in stage]
        draws = Draws(self._settings.seed, image.digest, self.backbone.latent_shape, self.backbone.timestep_range, grid)
        latent, elimination = self.backbone.encode(image.image), self._new_elimination()
        view = center_crop(image.image, self.backbone.latent_shape[1:]) if self._views else None
        return ImageRun(place, image.id, latent, draws, elimination, started, view, self._empty)

    def _new_elimination(self) -> Elimination:
        names, extra = [label.name for label in self.competing], self._denoising.shared_work.extra
        return Elimination(names, self._prompt_counts, self.rules, temperature_of(self.rules, self.backbone), extra)

    def _round(self, running: list[ImageRun]) -> Iterator[tuple[ImageRun, Ranking | Failure]]:
        """Run the next block of draws of every image."""
        if not running:
            return
        jobs = [image_run.next_job() for image_run in running]
        errors = self._denoising(jobs)
        of_labels = [image_run.label_errors(part) for image_run, part in zip(running, errors, strict=True)]
        if self.backbone.dtype == torch.float16 and not finite(of_labels):
            self._leave_float16(running)
            return
        sums: Sequence[NDArray[np.float32] | None] = self._denoising.sums or [None] * len(jobs)
        for image_run, part, block_maps in zip(list(running), errors, sums, strict=True):
            yield image_run, self._outcome(image_run, part, block_maps)

    def _outcome(
        self, image_run: ImageRun, errors: NDArray[np.float32], sums: NDArray[np.float32] | None
    ) -> Ranking | Failure:
        if not finite([image_run.label_errors(errors)]):
            message = f"{image_run.id}: the network returned no numbers (NaN or infinity). Try --dtype float32."
            return Failure(image_run.id, "not-finite", message, self.settings)
        image_run.add_errors(errors, sums)
        seconds = image_run.seconds() if self.timing else None
        finished = image_run.finished(self.rules.deadline)
        ranking = image_run.elimination.ranking(image_run.id, self.settings, seconds, finished)
        return replace(ranking, evidence=image_run.evidence()) if finished else ranking

    def _adopt_dtype(self) -> None:
        """Use the dtype that the backbone has now: this run, or another one on it, may have had to leave float16."""
        kind = str(self.backbone.dtype).removeprefix("torch.")
        if kind != self.settings["dtype"]:
            self._denoising.conditions = self._conditions()
            self._denoising.shared_work = SharedWork(self.backbone, self._share, self._compression)
            self.settings = {**self.settings, "dtype": kind}

    def _leave_float16(self, running: list[ImageRun]) -> None:
        """Continue in a dtype with more range; images in progress start again, so that none mixes two."""
        leave_float16(self.backbone)
        self._adopt_dtype()
        for image_run in running:
            image_run.restart(self._new_elimination())

    def _conditions(self) -> Conditions:
        labels = self.backbone.condition([text for label in self.competing for text in label.texts])
        if self._empty is None or self._empty.label is not None:
            return labels
        return Conditions(
            torch.cat([labels.rows, self.backbone.condition([""]).rows])
        )  # apart: labels stay as they are

    def _empty_prompt(self) -> EmptyPrompt:
        """Return where the empty prompt is: a label already, or behind all prompts."""
        count = sum(self._prompt_counts)
        return EmptyPrompt(count - 1, len(self.competing) - 1) if self._reject else EmptyPrompt(count, None)

    def _pixel_errors(self) -> PixelErrors:
        score = mappable_score(self.rules.score or DEFAULT_SCORE)
        return PixelErrors(score.absolute, self.backbone.patch, attribute(score.weigh))

    @property
    def evaluations_a_draw(self) -> int:
        """Return the evaluations of one draw of all labels."""
        return sum(self._prompt_counts) + self._denoising.shared_work.extra

    def _check_budget(self) -> None:
        if self.rules.budget is not None and self.rules.budget < self.evaluations_a_draw:
            why = f"one draw of all {len(self.competing)} labels takes {self.evaluations_a_draw} evaluations"
            raise UsageError(f"--budget {self.rules.budget}", why, "Raise the budget or give fewer labels.")
