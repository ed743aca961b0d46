"""`match` and `match_pairs`: a backbone, images and captions in, a stream of matches out. Never prints, never exits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.classification.equal_labels import refuse_equal_labels
from bigain_cli.classification.error_tables import ErrorRecorder, ErrorTable, FailedImage, RecordingOptions
from bigain_cli.classification.label_prompts import LabelPrompts, Labels, as_label_set, label_prompts
from bigain_cli.classification.ranking import Failure
from bigain_cli.images import Images
from bigain_cli.labels import Label, LabelSet
from bigain_cli.matching.evidence import Evidence
from bigain_cli.matching.image_match import ImageMatch, match_of
from bigain_cli.matching.options import AS_IT_IS, MatchOptions, check_captions
from bigain_cli.matching.pair_match import PairMatch, pair_match
from bigain_cli.matching.pairs import Pair, read_pairs
from bigain_cli.registry import SCORES, attribute

PAIRS_AT_ONCE = 32  # whose captions are encoded together


def match(
    backbone: Backbone | str, images: Images, captions: Labels, options: MatchOptions | None = None
) -> Iterator[ImageMatch | Failure]:
    """Tell for each image which caption fits it, in the order of the images.

    A caption is a sentence, or a label with prompts of its own. A backbone may be given by its model's name.
    """
    return CaptionMatching(backbone, captions, options).matches(images)


def match_pairs(
    backbone: Backbone | str, pairs: str | Sequence[Pair], options: MatchOptions | None = None
) -> Iterator[PairMatch | Failure]:
    """Tell for each pair whether its images and captions are matched as they belong.

    Pairs may be given as the path of a file in Winoground's format.
    """
    return PairMatching(backbone, read_pairs(pairs) if isinstance(pairs, str) else pairs, options).matches()


class _Evidences:
    """Records errors of captions and of the empty prompt, and makes evidence of them."""

    def __init__(self, backbone: Backbone | str, options: MatchOptions) -> None:
        self.options, self.backbone = options, as_backbone(backbone)
        self.score = options.score_of(self.backbone.score)
        kind = SCORES[self.score]
        self._losses = attribute(kind.losses)
        recording = RecordingOptions(
            options.draws, options.seed, options.compress, options.batch, kind.absolute, same_draws=True,
            views="none",  # a caption may tell left from right
        )  # fmt: skip
        self.recorder = ErrorRecorder(self.backbone, recording)

    def settings(self, captions: Any) -> dict[str, Any]:
        """Return the settings of records about these captions."""
        templates = {"templates": list(self.options.templates)} if self.options.templates else {}
        return self.recorder.settings(captions, score=self.score, confidence=self.options.confidence, **templates)

    def prompts(self, captions: LabelSet) -> tuple[LabelPrompts, ...]:
        """Return each caption with its prompts."""
        return label_prompts(captions, self.options.templates, False, self.backbone.vocabulary, AS_IT_IS)

    def evidence(self, table: ErrorTable, prompts: Sequence[LabelPrompts]) -> Evidence:
        """Return the evidence for captions, whose prompts follow the empty prompt in the table."""
        ends = np.cumsum([1, *(len(caption.texts) for caption in prompts)])
        spans = [(0, 1), *itertools.pairwise(ends)]
        errors = np.stack([table.errors[:, start:end].mean(axis=1) for start, end in spans], axis=1)
        return Evidence.of(self._losses(errors), table.times)


class CaptionMatching:
    """Images against one list of captions."""

    def __init__(self, backbone: Backbone | str, captions: Labels, options: MatchOptions | None = None) -> None:
        self.options = options or MatchOptions()
        self._evidences = _Evidences(backbone, self.options)
        given = as_label_set(captions)
        check_captions(given)
        self.captions = [label.name for label in given.labels]
        self._prompts = self._evidences.prompts(given)
        self._texts = ["", *(text for caption in self._prompts for text in caption.texts)]
        model = self._evidences.backbone
        refuse_equal_labels(model.name, self._prompts, model.condition(self._texts[1:]))
        self.settings = self._evidences.settings([[each.name, *each.texts] for each in self._prompts])

    @property
    def evaluations(self) -> int:
        """The evaluations of one image."""
        return self.options.draws * len(self._texts)

    def matches(self, images: Images) -> Iterator[ImageMatch | Failure]:
        """Yield a match for each image."""
        for table in self._evidences.recorder.tables(images, self._texts):
            if isinstance(table, FailedImage):
                yield Failure(table.id, table.error.kind, str(table.error), self.settings, sha256=table.sha256)
                continue
            yield match_of(
                table.id,
                self._evidences.evidence(table, self._prompts),
                self.captions,
                self.options.confidence,
                draws=len(table.errors),
                evaluations=table.errors.size,
                settings=self.settings,
                damage=table.damage,
                sha256=table.sha256,
            )


class PairMatching:
    """Pairs of images and captions, each by itself."""

    def __init__(self, backbone: Backbone | str, pairs: Sequence[Pair], options: MatchOptions | None = None) -> None:
        self.options, self.pairs = options or MatchOptions(), pairs
        self._evidences = _Evidences(backbone, self.options)
        self._prompts = [
            self._evidences.prompts(LabelSet(tuple(map(Label, pair.captions)), f"pair {pair.id}")) for pair in pairs
        ]
        self.settings = self._evidences.settings(None)

    @property
    def evaluations(self) -> int:
        """The most evaluations of one pair."""
        most = max(sum(len(caption.texts) for caption in each) for each in self._prompts)
        return 2 * self.options.draws * (1 + most)

    def matches(self) -> Iterator[PairMatch | Failure]:
        """Yield a match for each pair."""
        for start in range(0, len(self.pairs), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            yield from self._matches(self.pairs[part], self._prompts[part])

    def _matches(
        self, pairs: Sequence[Pair], prompts: Sequence[Sequence[LabelPrompts]]
    ) -> Iterator[PairMatch | Failure]:
        texts, needed = [""], list[list[int]]()
        for captions in prompts:
            own = [text for caption in captions for text in caption.texts]
            numbers = [0, *range(len(texts), len(texts) + len(own))]
            texts += own
            needed += [numbers, numbers]
        images = [image for pair in pairs for image in pair.images]
        tables = self._evidences.recorder.tables(images, texts, needed)
        for pair, captions in zip(pairs, prompts, strict=True):
            yield self._match(pair, captions, (next(tables), next(tables)))

    def _match(
        self, pair: Pair, captions: Sequence[LabelPrompts], tables: tuple[ErrorTable | FailedImage, ...]
    ) -> PairMatch | Failure:
        found = list[Evidence]()
        for table in tables:
            if isinstance(table, FailedImage):
                return Failure(pair.id, table.error.kind, str(table.error), self.settings, sha256=table.sha256)
            found.append(self._evidences.evidence(table, captions))
        names = [image.id for image in pair.images]
        evaluations = sum(table.errors.size for table in tables if isinstance(table, ErrorTable))
        level, draws = self.options.confidence, self.options.draws
        return pair_match(
            pair.id, names, pair.captions, found, level, draws=draws, evaluations=evaluations, settings=self.settings
        )
