"""`classify`: pictures and labels in, a stream of rankings out. The composition root of everything above it.

Keeps several pictures in flight, gives finished ones back in the order they came, and goes on when one fails.
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

from bigain_cli.arms import Arm, arms_of, as_label_set
from bigain_cli.backbones.base import Backbone, Conditions
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.backbones.precision import leave_float16
from bigain_cli.compress import Handle, Spec, parse
from bigain_cli.compress.flops import forward_flops
from bigain_cli.compress.plan import Grid
from bigain_cli.contest import Contest
from bigain_cli.draws import Draws
from bigain_cli.errors import UsageError
from bigain_cli.flight import Empty, Flight, finite
from bigain_cli.images import view_of
from bigain_cli.labels import LabelSet
from bigain_cli.maps import Lens
from bigain_cli.ranking import Failure, Ranking
from bigain_cli.reader import Images, InOrder, Picture, Reader, sources_of
from bigain_cli.registry import DEFAULT_SCORE, SCHEDULES, SCORES, attribute
from bigain_cli.residuals import Residuals, automatic
from bigain_cli.rules import Rules, placed
from bigain_cli.settings import Settings, temperature_of
from bigain_cli.squeeze import Squeeze, squeezed

ROUNDS_OF = 4  # batches: pictures are taken in until a round fills so many

Labels = str | LabelSet | Sequence[str] | Mapping[str, str | Sequence[str]]


def classify(
    backbone: Backbone | str,
    images: Images,
    labels: Labels,
    *,
    templates: Sequence[str] = (),
    rules: Rules | None = None,
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
    With `maps`, every ranking has an `exhibit`: where in the picture the evidence lies.
    """
    run = Run(backbone, labels, templates, rules, seed, reject, batch, timing, share_prefix, compress, maps)
    return (result for result in run.standings(images) if result.finished)


class Run:
    """A classification under way: labels conditioned once, then any number of pictures."""

    def __init__(
        self,
        backbone: Backbone | str,
        labels: Labels,
        templates: Sequence[str] = (),
        rules: Rules | None = None,
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
        self.rules = (rules or Rules()).for_model(backbone.score, backbone.draws)
        arms = arms_of(as_label_set(labels), self.templates, reject, backbone.vocabulary, backbone.template)
        if batch is not None and batch < 1:
            raise UsageError(f"batch {batch}", "must be at least 1", "Leave it out for a size that suits the device.")
        spec = parse(backbone.compress if compress is None else compress)
        self._plan = Settings(arms, self.rules, seed, spec.by_level() if backbone.prefixed else spec)
        self._costs = [len(arm.texts) for arm in arms]
        self._share, self._reject = share_prefix, reject
        self._handle: Handle | None = None
        score = SCORES[self.rules.score or DEFAULT_SCORE]
        self._views, self._empty = views or maps, self._blank() if maps else None
        lens = self._lens() if maps else None
        squeeze = Squeeze(backbone, share_prefix)
        conditions = self._conditions()
        if batch is None:
            draws = 1 if self.rules.deadline is not None else SCHEDULES[self.rules.schedule].block
            batch = automatic(backbone, draws * len(conditions))
        self._residuals = Residuals(backbone, conditions, score.absolute, batch, squeeze, lens)
        self.settings = self._plan.to_dict(backbone, self.templates)
        with self._compressed():
            self._check_budget()
            self.report = self._handle.report(backbone.latent_shape[1:], self._context()) if self._handle else None
        if self.report is not None:
            self.report.warn()
            self.settings["compression"] = self.report.summary()

    @property
    def gflop(self) -> float:
        """Return what one evaluation takes, in 10⁹ operations; 0 where there is no network."""
        if self.report is not None:
            return self.report.flops_after / 1e9
        site = next(iter(self.backbone.sites()), None)
        latent = Grid(*self.backbone.latent_shape[1:])
        return forward_flops(site.root, latent, self._context()) / 1e9 if site is not None else 0.0

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The labels in the contest, the one for none of them included."""
        return self._plan.arms

    def standings(self, images: Images) -> Iterator[Ranking | Failure]:
        """Yield a ranking after each block of draws of each image, and each image's last one in the images' order."""
        self._follow()
        reader = Reader(sources_of(images))
        try:
            with self._compressed():
                yield from self._stream(reader)
        finally:
            reader.stop()

    def _stream(self, reader: Reader) -> Iterator[Ranking | Failure]:
        queue = InOrder()
        flights: list[Flight] = []
        while True:
            self._admit(reader, flights, queue)
            yield from queue.ready()
            if not flights and reader.over:
                return
            for flight, outcome in self._round(flights):
                if outcome.finished:
                    flights.remove(flight)
                    queue.add(flight.place, outcome)
                else:
                    yield outcome
            yield from queue.ready()

    @contextmanager
    def _compressed(self) -> Iterator[None]:
        """Let the spec act on the network, and leave the network as it was."""
        with squeezed(self.backbone, self._plan.compress) as self._handle:
            if self._handle is not None:
                self._residuals.squeeze = Squeeze(self.backbone, self._share, self._handle)
            yield

    def _context(self) -> int:
        """Return the number of text tokens."""
        rows = self._residuals.conditions.rows
        return rows.shape[1] if rows.ndim == 3 else 1

    def _admit(self, reader: Reader, flights: list[Flight], queue: InOrder) -> None:
        """Take pictures in until a round is worth its while; wait for one only if there is nothing else to do."""
        alone = self.rules.deadline is not None
        enough = ROUNDS_OF * self._residuals.batch
        while not flights or (not alone and sum(flight.pending for flight in flights) < enough):
            item = reader.next(wait=not flights)
            if item is None:
                return
            if isinstance(item, Picture):
                flights.append(self._begin(item, queue.take()))
            else:
                queue.add(queue.take(), Failure(item[0], item[1].kind, str(item[1]), self.settings))
                if not flights:
                    return

    def _begin(self, picture: Picture, place: int) -> Flight:
        started = time.monotonic()
        length = self.backbone.length
        grid = [t * length // 1000 for stage in SCHEDULES[self.rules.schedule].staged for t in stage]
        draws = Draws(self._plan.seed, picture.digest, self.backbone.latent_shape, self.backbone.steps, grid)
        latent, contest = self.backbone.encode(picture.image), self._contest()
        view = view_of(picture.image, self.backbone.latent_shape[1:]) if self._views else None
        return Flight(place, picture.id, latent, draws, contest, started, view, self._empty)

    def _contest(self) -> Contest:
        names, extra = [arm.name for arm in self.arms], self._residuals.squeeze.extra
        return Contest(names, self._costs, self.rules, temperature_of(self.rules, self.backbone), extra)

    def _round(self, flights: list[Flight]) -> Iterator[tuple[Flight, Ranking | Failure]]:
        """Run the next block of every flight."""
        if not flights:
            return
        jobs = [flight.job() for flight in flights]
        errors = self._residuals(jobs)
        judged = [flight.of_labels(part) for flight, part in zip(flights, errors, strict=True)]
        if self.backbone.dtype == torch.float16 and not finite(judged):
            self._leave_float16(flights)
            return
        sums: Sequence[NDArray[np.float32] | None] = self._residuals.sums or [None] * len(jobs)
        for flight, part, plates in zip(list(flights), errors, sums, strict=True):
            yield flight, self._outcome(flight, part, plates)

    def _outcome(
        self, flight: Flight, errors: NDArray[np.float32], sums: NDArray[np.float32] | None
    ) -> Ranking | Failure:
        if not finite([flight.of_labels(errors)]):
            message = f"{flight.id}: the network returned no numbers (NaN or infinity). Try --dtype float32."
            return Failure(flight.id, "not-finite", message, self.settings)
        flight.take(errors, sums)
        seconds = flight.seconds() if self.timing else None
        over = flight.over(self.rules.deadline)
        ranking = flight.contest.ranking(flight.id, self.settings, seconds, over)
        return replace(ranking, exhibit=flight.exhibit()) if over else ranking

    def _follow(self) -> None:
        """Take up the dtype that the backbone is in: this run, or another one on it, may have had to leave float16."""
        kind = str(self.backbone.dtype).removeprefix("torch.")
        if kind != self.settings["dtype"]:
            self._residuals.conditions = self._conditions()
            self._residuals.squeeze = Squeeze(self.backbone, self._share, self._handle)
            self.settings = {**self.settings, "dtype": kind}

    def _leave_float16(self, flights: list[Flight]) -> None:
        """Go on in a dtype with more range; pictures under way start again, so that none mixes two."""
        leave_float16(self.backbone)
        self._follow()
        for flight in flights:
            flight.restart(self._contest())

    def _conditions(self) -> Conditions:
        labels = self.backbone.condition([text for arm in self.arms for text in arm.texts])
        if self._empty is None or self._empty.arm is not None:
            return labels
        return Conditions(
            torch.cat([labels.rows, self.backbone.condition([""]).rows])
        )  # apart: labels stay as they are

    def _blank(self) -> Empty:
        """Return where the empty prompt is: an arm already, or behind all prompts."""
        count = sum(self._costs)
        return Empty(count - 1, len(self.arms) - 1) if self._reject else Empty(count, None)

    def _lens(self) -> Lens:
        score = placed(self.rules.score or DEFAULT_SCORE)
        return Lens(score.absolute, self.backbone.patch, attribute(score.weigh))

    @property
    def least(self) -> int:
        """Return the evaluations of one draw of all labels."""
        return sum(self._costs) + self._residuals.squeeze.extra

    def _check_budget(self) -> None:
        if self.rules.budget is not None and self.rules.budget < self.least:
            why = f"one draw of all {len(self.arms)} labels takes {self.least} evaluations"
            raise UsageError(f"--budget {self.rules.budget}", why, "Raise the budget or give fewer labels.")
