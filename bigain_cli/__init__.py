"""Classify images zero-shot with a diffusion model, and draw pictures with the same one.

>>> import bigain_cli as bigain
>>> backbone = bigain.load("colours")
>>> for ranking in bigain.classify(backbone, ["photo.jpg"], ["red", "green"]):
...     print(ranking.label, ranking.probability)
>>> for sample in bigain.generate(backbone, "red", count=2):
...     sample.image.save(f"{sample.seed}.png")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bigain_cli.backbones.loading import load
    from bigain_cli.benchmark.bench import bench
    from bigain_cli.benchmark.figures import Benchmark, Timing
    from bigain_cli.benchmark.sketch import load_random
    from bigain_cli.classifier import Run, classify
    from bigain_cli.errors import BigainError, InputError, ModelError, UsageError
    from bigain_cli.evaluation.drawing import Drawing
    from bigain_cli.evaluation.evaluate import evaluate
    from bigain_cli.evaluation.summary import Summary
    from bigain_cli.labels import Label, LabelSet
    from bigain_cli.quality.comparison import Quality, compare, compare_features
    from bigain_cli.quality.features import load_feature
    from bigain_cli.ranking import Failure, Ranking, Standing
    from bigain_cli.rules import Rules
    from bigain_cli.sampler.generation import Generation, Sample, Step, generate
    from bigain_cli.sampler.wish import Wish

_HOMES = {
    "load": "bigain_cli.backbones.loading",
    "bench": "bigain_cli.benchmark.bench",
    "Benchmark": "bigain_cli.benchmark.figures",
    "Timing": "bigain_cli.benchmark.figures",
    "load_random": "bigain_cli.benchmark.sketch",
    "classify": "bigain_cli.classifier",
    "Run": "bigain_cli.classifier",
    "evaluate": "bigain_cli.evaluation.evaluate",
    "Drawing": "bigain_cli.evaluation.drawing",
    "Summary": "bigain_cli.evaluation.summary",
    "generate": "bigain_cli.sampler.generation",
    "Generation": "bigain_cli.sampler.generation",
    "Sample": "bigain_cli.sampler.generation",
    "Step": "bigain_cli.sampler.generation",
    "Wish": "bigain_cli.sampler.wish",
    "Quality": "bigain_cli.quality.comparison",
    "compare": "bigain_cli.quality.comparison",
    "compare_features": "bigain_cli.quality.comparison",
    "load_feature": "bigain_cli.quality.features",
    "Ranking": "bigain_cli.ranking",
    "Standing": "bigain_cli.ranking",
    "Failure": "bigain_cli.ranking",
    "Rules": "bigain_cli.rules",
    "Label": "bigain_cli.labels",
    "LabelSet": "bigain_cli.labels",
    "BigainError": "bigain_cli.errors",
    "UsageError": "bigain_cli.errors",
    "ModelError": "bigain_cli.errors",
    "InputError": "bigain_cli.errors",
}
__all__ = [
    "Benchmark",
    "BigainError",
    "Drawing",
    "Failure",
    "Generation",
    "InputError",
    "Label",
    "LabelSet",
    "ModelError",
    "Quality",
    "Ranking",
    "Rules",
    "Run",
    "Sample",
    "Standing",
    "Step",
    "Summary",
    "Timing",
    "UsageError",
    "Wish",
    "__version__",
    "bench",
    "classify",
    "compare",
    "compare_features",
    "evaluate",
    "generate",
    "load",
    "load_feature",
    "load_random",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command answers at once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
