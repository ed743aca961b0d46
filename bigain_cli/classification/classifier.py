"""`classify`: images and labels in, a stream of rankings out.

Works on several images at once, yields results in the order of the images, and continues when one fails.
Never prints, never exits.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from bigain_cli.backbones.base import Backbone, Conditions, spec_for
from bigain_cli.backbones.devices import leave_float16
from bigain_cli.backbones.distillation import warn_if_distilled
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.classification.asking import Asking
from bigain_cli.classification.denoising import DenoisingErrors, SharedComputation, checked_batch_size
from bigain_cli.classification.draw_times import given_timesteps, times_of
from bigain_cli.classification.elimination import Elimination
from bigain_cli.classification.equal_labels import refuse_equal_labels
from bigain_cli.classification.error_weights import check_weights
from bigain_cli.classification.heatmaps import pixel_errors_of
from bigain_cli.classification.image_run import EmptyPrompt, ImageRun, prompt_numbers
from bigain_cli.classification.label_prompts import Labels, as_label_set, label_prompts, own_labels
from bigain_cli.classification.model_shortlist import ModelShortlist
from bigain_cli.classification.ordered_results import OrderedResults
from bigain_cli.classification.profiles import Profile
from bigain_cli.classification.ranking import Failure, Ranking, check_min_probability
from bigain_cli.classification.run_cost import RunCost
from bigain_cli.classification.settings import settings_record, temperature_of
from bigain_cli.classification.shortlists import Shortlist, tree_or_all
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.classification.viewed_image import ViewedImage, chosen_views
from bigain_cli.compress import Compression, Report, Spec
from bigain_cli.compress.patching import compressed_or_not
from bigain_cli.errors import UsageError
from bigain_cli.images import ImageReader, Images, LoadedImage, center_crop, sources_of
from bigain_cli.noise_draws import Draws
from bigain_cli.registry import DEFAULT_SCORE, SCHEDULES, SCORES
from bigain_cli.shortlist.choice import MODEL, read_choice

TUNED_ON = "tuned-on"  # the kind of failure of an image that is excluded
TUNED_ON_TEXT = "the profile was tuned on this image, so it cannot test the profile. Leave it out"
BATCHES_PER_ROUND = 4  # images are started until a round of evaluations fills so many batches


def classify(
    backbone: Backbone | str,
    images: Images,
    labels: Labels | None = None,
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
    min_probability: float | None = None,
    shortlist: str | Shortlist | None = None,
    tree: str | None = None,
) -> Iterator[Ranking | Failure]:
    """Rank the labels for each image, in the order of the images.

    A backbone may be given by its model's name. Without labels, the classes that the model knows are ranked; without
    `compress`, the compression is the one that suits it best. With `maps`, every ranking has `evidence`: heatmaps of
    where in the image the evidence lies. Where the best label's probability is below `min_probability`, a ranking's
    `answer` is "unsure". Which labels are asked of each image, a `shortlist` says: "off" for all of them, "tree", or a
    two-tower model and how many labels it keeps, such as "openai/clip-vit-base-patch32:20"; `tree` is a file of groups.
    """
    run = Classification(
        backbone, labels, templates, rules, seed, reject, batch, timing, share_prefix, compress, maps,
        min_probability=min_probability, shortlist=shortlist, tree=tree,
    )  # fmt: skip
    return run.rankings(images, only_final=True)


class Classification:
    """A classification in progress: labels are encoded once, then any number of images are classified.

    `competing` are the labels that are compared, with their prompts; with `reject`, "none" is the last. Images whose
    digest is `excluded` fail.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        labels: Labels | None = None,
        templates: Sequence[str] = (),
        rules: StoppingRules | None = None,
        seed: int = 0,
        reject: bool = False,
        batch: int | None = None,
        timing: bool = False,
        share_prefix: bool = True,
        compress: str | Spec | None = None,
        maps: bool = False,
        with_images: bool = False,
        min_probability: float | None = None,
        shortlist: str | Shortlist | None = None,
        tree: str | None = None,
        excluded: Collection[str] = (),
    ) -> None:
        self.backbone = backbone = as_backbone(backbone)
        self.rules = (rules or StoppingRules()).for_model(backbone.score, backbone.draws, backbone.least_draws)
        self.labels = own_labels(backbone.class_names, backbone.name) if labels is None else as_label_set(labels)
        templates = self._check_profile(self.rules.profile, templates, reject, maps)
        self.competing = label_prompts(self.labels, templates, reject, backbone.vocabulary, backbone.template)
        check_min_probability(min_probability, [label.name for label in self.competing])
        self._prompt_counts = [len(label.texts) for label in self.competing]
        self._prompts = prompt_numbers(self._prompt_counts)
        self._empty_prompt = EmptyPrompt.find(self._prompt_counts, reject) if maps else None
        self._excluded = frozenset(excluded)
        self._seed, self._timing, self._share, self._with_images = seed, timing, share_prefix, with_images or maps
        self._spec = spec_for(backbone, backbone.compress if compress is None else compress)
        self._compression: Compression | None = None
        self._only_final = False
        self._timestep_range, self._timesteps = times_of(backbone, self.rules), given_timesteps(backbone, self.rules)
        self._views = chosen_views(backbone, self.rules.views)
        check_weights(backbone, self._timestep_range[1] - 1, self.rules.error_in)
        warn_if_distilled(backbone)
        conditions = self._conditions()
        refuse_equal_labels(backbone.name, self.competing, conditions)
        self._denoising = self._denoising_errors(conditions, batch, maps)
        self._shortlist = self._chosen(shortlist, tree, conditions, templates, reject)
        self.settings = settings_record(
            backbone, self.competing, self.rules, seed, self._spec, templates, min_probability,
            (self._shortlist.name, self._shortlist.identity),
        )  # fmt: skip
        self.report = self._report_on(conditions)
        if self.report is not None:
            self.report.warn()
            self.settings["compression"] = self.report.summary()

    def _chosen(
        self,
        shortlist: str | Shortlist | None,
        tree: str | None,
        conditions: Conditions,
        templates: Sequence[str],
        reject: bool,
    ) -> Shortlist:
        """Return a shortlist as it is given, or the one that is named."""
        if shortlist is not None and not isinstance(shortlist, str):
            return shortlist
        choice = read_choice(shortlist, tree)
        if choice.kind == MODEL:
            return ModelShortlist(choice, self.labels, templates, reject, str(self.backbone.device))
        return tree_or_all(choice, self.backbone, self.competing, conditions, self.rules, reject)

    def _report_on(self, conditions: Conditions) -> Report | None:
        """Check the budget and count the cost; return the report of the compression, if there is one."""
        backbone = self.backbone
        with self._compressed() as compression:
            first = [self._prompt_counts[label] for label in self._shortlist.least()]
            self.rules.check_budget(len(first), sum(first) + self._denoising.shared_computation.plan_evaluations)
            report = compression.report(backbone.latent_shape[1:], conditions.text_tokens) if compression else None
            shared_computation = self._denoising.shared_computation
            self.cost = RunCost.of(backbone, conditions.text_tokens, shared_computation, report)
            return report

    def _denoising_errors(self, conditions: Conditions, batch: int | None, maps: bool) -> DenoisingErrors:
        """Return what measures errors of these conditions; the network is not compressed yet."""
        backbone, score = self.backbone, self.rules.score or DEFAULT_SCORE
        pixel_errors = pixel_errors_of(score, backbone.patch) if maps else None
        draws = 1 if self.rules.deadline is not None else SCHEDULES[self.rules.schedule].block
        batch = checked_batch_size(batch, backbone, draws * len(conditions))
        shared = SharedComputation(backbone, self._share)
        absolute, error_in = SCORES[score].absolute, self.rules.error_in
        return DenoisingErrors(backbone, conditions, absolute, batch, shared, pixel_errors, error_in)

    def _check_profile(
        self, profile: Profile | None, templates: Sequence[str], reject: bool, maps: bool
    ) -> Sequence[str]:
        """Refuse what a profile does not fit; return the templates to use."""
        if profile is None:
            return templates
        if maps:
            raise UsageError(
                "heatmaps with a profile", "they map the errors as they are", "Leave them out, or --profile none."
            )
        if templates and profile.templates and tuple(templates) != profile.templates:
            raise UsageError("--template with a profile", "it has templates of its own", "Leave out one of them.")
        if chosen_views(self.backbone, self.rules.views) != self.backbone.views:
            raise UsageError(
                f"--views {self.rules.views} with a profile", "it was tuned for other views", "Leave it out."
            )
        if times_of(self.backbone, self.rules) != self.backbone.timestep_range:
            why = "has times of its own, and the profile was tuned for the model's"
            raise UsageError(f"--schedule {self.rules.schedule} with a profile", why, "Leave out one of them.")
        profile.check_model(self.backbone.identity, self.backbone.name)
        profile.check_labels([label.name for label in self.labels.labels], reject)
        return templates or profile.templates

    @property
    def most_evaluations(self) -> int:
        """The most evaluations of one image."""
        planned = bool(self._denoising.shared_computation.plan_evaluations)
        return self.rules.most_evaluations(self._prompt_counts, planned)

    @property
    def batch(self) -> int:
        """The batch size, which can change the last digits of scores."""
        return self._denoising.batch

    @property
    def machine(self) -> str:
        """The device and the dtype, as text."""
        return f"{self.backbone.device} in {self.settings['dtype']}"

    def rankings(self, images: Images, only_final: bool = False) -> Iterator[Ranking | Failure]:
        """Yield a ranking after each block of draws of each image, and each image's last one in the images' order.

        With `only_final`, the last ones alone: of a thousand labels the others take longer than many a network.
        """
        self._only_final = only_final
        self._adopt_dtype()
        reader = ImageReader(self._shortlist.prepare(sources_of(images)))
        try:
            with self._compressed():
                yield from self._stream(reader)
        finally:
            reader.stop()

    def _stream(self, reader: ImageReader) -> Iterator[Ranking | Failure]:
        results = OrderedResults()
        running: list[ImageRun] = []
        while True:
            self._start_images(reader, running, results)
            yield from results.ready()
            if not running and reader.at_end:
                return
            for image_run, result in self._run_round(running):
                if result is not None and result.finished:
                    running.remove(image_run)
                    results.add(image_run.index, result)
                elif result is not None:
                    yield result
            yield from results.ready()

    @contextmanager
    def _compressed(self) -> Iterator[Compression | None]:
        """Compress the network, and restore it afterwards."""
        with compressed_or_not(self.backbone, self._spec) as self._compression:
            if self._compression is not None:
                self._denoising.shared_computation = SharedComputation(self.backbone, self._share, self._compression)
            yield self._compression

    def _start_images(self, reader: ImageReader, running: list[ImageRun], results: OrderedResults) -> None:
        """Start images until a round is large enough; wait for one only if there is nothing else to do."""
        one_at_a_time = self.rules.deadline is not None
        enough = BATCHES_PER_ROUND * self._denoising.batch
        while not running or (not one_at_a_time and sum(image_run.pending for image_run in running) < enough):
            item = reader.next(wait=not running)
            if item is None:
                return
            if isinstance(item, LoadedImage) and item.digest.hex() not in self._excluded:
                running.append(self._start(item, results.reserve()))
                continue
            kind, message = TUNED_ON, f"{item.id}: {TUNED_ON_TEXT}"
            if not isinstance(item, LoadedImage):
                kind, message = item.error.kind, str(item.error)
            results.add(results.reserve(), Failure(item.id, kind, message, self.settings, sha256=item.sha256))
            if not running:
                return

    def _start(self, image: LoadedImage, index: int) -> ImageRun:
        started = time.monotonic()
        backbone, size = self.backbone, self.backbone.latent_shape[1:]
        times = self._timestep_range, self._timesteps
        draws = Draws(self._seed, image.digest, backbone.latent_shape, *times, self._views)
        viewed, asking = ViewedImage(backbone, image.image, draws), self._new_asking(image.digest)
        model_input = center_crop(image.image, size) if self._with_images else None
        empty = self._empty_prompt
        run = ImageRun(
            index, image.id, viewed, asking, self._new_elimination, self._prompts, started, model_input, empty,
            image.damage, image.sha256, with_shortlist=bool(self._shortlist.name),
        )  # fmt: skip
        run.spent = run.seconds()
        return run

    def _new_asking(self, digest: bytes) -> Asking:
        plan_evaluations = self._denoising.shared_computation.plan_evaluations
        search, at_once = self._shortlist.search(digest), not self._shortlist.name
        names = [label.name for label in self.competing]
        return Asking(search, names, self._prompt_counts, self.rules, plan_evaluations, at_once)

    def _new_elimination(self, labels: Sequence[int]) -> Elimination:
        names, counts = [self.competing[label].name for label in labels], [self._prompt_counts[each] for each in labels]
        plan_evaluations = self._denoising.shared_computation.plan_evaluations
        temperature = temperature_of(self.rules, self.backbone)
        return Elimination(names, counts, self.rules, temperature, plan_evaluations)

    def _run_round(self, running: list[ImageRun]) -> Iterator[tuple[ImageRun, Ranking | Failure | None]]:
        """Run the next block of draws of every image."""
        if not running:
            return
        began, jobs = time.monotonic(), [image_run.next_job() for image_run in running]
        errors = self._denoising(jobs)
        each = (time.monotonic() - began) / max(sum(job.evaluations for job in jobs), 1)
        for image_run, job in zip(running, jobs, strict=True):
            image_run.spent += each * job.evaluations
        if self.backbone.dtype == torch.float16 and not all(
            image_run.is_finite(part) for image_run, part in zip(running, errors, strict=True)
        ):
            self._leave_float16(running)
            return
        sums: Sequence[NDArray[np.float32] | None] = self._denoising.sums or [None] * len(errors)
        for image_run, part, part_sums in zip(list(running), errors, sums, strict=True):
            yield image_run, self._result(image_run, part, part_sums)

    def _result(
        self, image_run: ImageRun, errors: NDArray[np.float32], sums: NDArray[np.float32] | None
    ) -> Ranking | Failure | None:
        """Add a block's errors; return what came of it, or nothing of an image in progress that nobody asks for."""
        if not image_run.is_finite(errors):
            message = f"{image_run.id}: the network returned no numbers (NaN or infinity). Try --dtype float32."
            return Failure(image_run.id, "not-finite", message, self.settings, sha256=image_run.sha256)
        image_run.add_errors(errors, sums)
        finished = image_run.finished(self.rules.deadline)
        if self._only_final and not finished:
            return None
        seconds = image_run.took(alone=self.rules.deadline is not None) if self._timing else None
        ranking = image_run.ranking(self.settings, seconds, finished)
        ranking = replace(ranking, gflop=self.cost.gflop(image_run.passes, ranking.evaluations))
        if not finished:
            return ranking
        return replace(ranking, evidence=image_run.evidence(), damage=image_run.damage, sha256=image_run.sha256)

    def _adopt_dtype(self) -> None:
        """Use the backbone's dtype: this run, or another one on the same backbone, may have had to leave float16."""
        dtype = str(self.backbone.dtype).removeprefix("torch.")
        if dtype != self.settings["dtype"]:
            self._denoising.conditions = self._conditions()
            self._denoising.shared_computation = SharedComputation(self.backbone, self._share, self._compression)
            self.settings = {**self.settings, "dtype": dtype}

    def _leave_float16(self, running: list[ImageRun]) -> None:
        """Continue in a dtype with more range; images in progress start again, so that none mixes two."""
        leave_float16(self.backbone)
        self._adopt_dtype()
        for image_run in running:
            image_run.restart(self._new_asking(image_run.draws.digest))

    def _conditions(self) -> Conditions:
        labels = self.backbone.condition([text for label in self.competing for text in label.texts])
        if self._empty_prompt is None or self._empty_prompt.label is not None:
            return labels
        empty = self.backbone.condition([""])  # on its own: it must not change the bits of the others
        return Conditions.join([labels, empty])
