"""A class for pipelines of others, such as `ray.data.Dataset.map_batches`: columns of images in, columns of labels out.

It loads the model once for each actor. An image that cannot be classified is a row with an error, never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bigain_cli.backbones.loading import load
from bigain_cli.classification.classifier import Classification
from bigain_cli.classification.label_prompts import Labels
from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.errors import UsageError

COLUMNS = ("path", "bytes", "image")  # in which images are found


class Labeller:
    """Adds the columns label, probability, settled and error to batches that have a column path, bytes or image."""

    def __init__(
        self, model: str = "mini", labels: Labels | None = None, device: str = "auto", **classification: Any
    ) -> None:
        self._run = Classification(load(model, device), labels, **classification)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Classify the images of a batch."""
        column = next((name for name in COLUMNS if name in batch), None)
        if column is None:
            why = f"has the columns {', '.join(batch) or 'none'}, and none with images"
            raise UsageError("batch", why, f"Name one {', '.join(COLUMNS)}.")
        pairs = [(str(number), _plain(image)) for number, image in enumerate(batch[column])]
        results = list(self._run.rankings(pairs, only_final=True))
        return {**batch, **_columns(results)}


def _plain(image: Any) -> Any:
    """Return a path or bytes as Python's own, not numpy's."""
    return image.item() if isinstance(image, np.generic) else image


def _columns(results: Sequence[Ranking | Failure]) -> dict[str, Any]:
    return {
        "label": np.array(["" if isinstance(each, Failure) else each.answer for each in results], dtype=object),
        "probability": np.array([np.nan if isinstance(each, Failure) else each.probability for each in results]),
        "settled": np.array([not isinstance(each, Failure) and each.settled for each in results], dtype=bool),
        "error": np.array([each.message if isinstance(each, Failure) else "" for each in results], dtype=object),
    }
