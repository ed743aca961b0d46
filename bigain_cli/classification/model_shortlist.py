"""Labels that a two-tower model names for each image, before the network is loaded; the model leaves afterwards.

Where the images of a run come in parts, as in shards, it stays from the second part on.

In: labels, and the images of a run; out: for each image the labels to ask, and the probability that it is another one.
Must not know the race.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bigain_cli.classification.label_prompts import NONE
from bigain_cli.classification.label_search import LabelSearch, NamedLabels
from bigain_cli.images.opening import held
from bigain_cli.images.prefetch import LoadedImage, read_or_error
from bigain_cli.images.sources import Found, Source
from bigain_cli.labels import DEFAULT_TEMPLATE, LabelSet, prompts_for
from bigain_cli.shortlist.choice import MOST, ShortlistChoice
from bigain_cli.shortlist.two_towers import TwoTowers, find_towers, load_towers

MARGIN = 0.5  # of logits: labels that are so close to the last one kept are kept, too
DIGITS = 4  # of a logit; less is rounding


class ModelShortlist:
    """The labels of each image, by the digest of its pixels; of an image that nobody showed it, all labels."""

    def __init__(
        self,
        choice: ShortlistChoice,
        labels: LabelSet,
        templates: Sequence[str] = (),
        reject: bool = False,
        device: str = "auto",
        cache: str | Path | None = None,
    ) -> None:
        """Find the model; nothing of it is in memory yet."""
        self._labels = [label for label in labels.labels if not (reject and label.name.casefold() == NONE)]
        self._templates, self._device, self._kept = tuple(templates), device, choice.kept
        self._always = [len(self._labels)] if reject else []
        self._towers = find_towers(choice.model)
        self._named: dict[bytes, NamedLabels] = {}
        self._is_prepared = self._comes_again = False
        self._loaded: tuple[TwoTowers, NDArray[np.float64]] | None = None  # the model and a vector for each label
        self.name = choice.name
        self.identity = self._towers.identity(Path(cache).expanduser() / "digests" if cache is not None else None)

    @property
    def kept(self) -> str:
        """Say how many labels were named for an image."""
        counts = [len(named.labels) - len(self._always) for named in self._named.values()]
        if not counts:
            return "none"
        return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"

    @property
    def labels(self) -> int:
        """The number of labels."""
        return len(self._labels)

    def search(self, digest: bytes) -> LabelSearch:
        """Return the labels named for an image."""
        return self._named.get(digest) or NamedLabels(range(len(self._labels) + len(self._always)))

    def least(self) -> Sequence[int]:
        """Return as many labels as are kept."""
        return range(min(self._kept, len(self._labels)) + len(self._always))

    def prepare(self, sources: Iterator[Found]) -> Iterator[Found]:
        """Name labels for all images, unless that was done; return the images, which can be read again.

        If it is called again, as for one shard after the other, the model stays: it would only be loaded once more.
        """
        if self._is_prepared:
            return sources
        found = [held(source) if isinstance(source, Source) else source for source in sources]
        try:
            if self._loaded is None:
                towers = load_towers(self._towers, self._device)
                self._loaded = towers, self._label_vectors(towers)
                del towers
            for source in found:
                self._name(source, *self._loaded)
        finally:
            if not self._comes_again:
                self._leave()
        self._comes_again = True
        return iter(found)

    def _leave(self) -> None:
        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def prepare_all(self, sources: Iterator[Found]) -> Iterator[Found]:
        """Do so for all images of a run, before its network is loaded; none is shown to the model again."""
        found = self.prepare(sources)
        self._is_prepared = True
        return found

    def _label_vectors(self, towers: TwoTowers) -> NDArray[np.float64]:
        """Return a vector for each label: the mean of those of its prompts."""  # [labels d]
        used = self._templates or (DEFAULT_TEMPLATE,)
        texts = [prompts_for(label, used, override=bool(self._templates)) for label in self._labels]
        rows = towers.text_vectors([text for each in texts for text in each]).numpy()
        ends = np.cumsum([len(each) for each in texts])
        means = np.stack([rows[end - len(each) : end].mean(axis=0) for each, end in zip(texts, ends, strict=True)])
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))

    def _name(self, source: Found, towers: TwoTowers, vectors: NDArray[np.float64]) -> None:
        """Name the labels of one image; one that cannot be read has its error later."""
        item = read_or_error(source)
        if isinstance(item, LoadedImage) and item.digest not in self._named:
            logits = towers.scale * (vectors @ towers.image_vector(item.image).numpy())
            names = [label.name for label in self._labels]
            named = kept_labels(logits, names, self._kept)
            self._named[item.digest] = NamedLabels([*named.labels, *self._always], named.left_out, named.shares)


def kept_labels(logits: NDArray[np.float64], names: Sequence[str], count: int) -> NamedLabels:
    """Return the labels with the largest logits, and those that are close to the last of them."""
    logits = np.round(logits, DIGITS)
    order = sorted(range(len(names)), key=lambda label: (-logits[label], names[label]))
    last = logits[order[min(count, len(order)) - 1]]
    kept = [label for label in order[: MOST * count] if logits[label] >= last - MARGIN]
    weights = np.exp(logits - logits.max())
    others, total = np.delete(weights, kept), math.fsum(weights)  # the same bits in any order
    kept.sort()
    return NamedLabels(kept, math.fsum(others) / total, {label: float(weights[label]) / total for label in kept})
