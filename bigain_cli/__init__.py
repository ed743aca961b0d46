"""Classify images zero-shot with a diffusion model, and generate images with the same one.

>>> import bigain
>>> backbone = bigain.load("colours")
>>> for ranking in bigain.classify(backbone, ["photo.jpg"], ["red", "green"]):
...     print(ranking.label, ranking.probability)
>>> for sample in bigain.generate(backbone, "red", count=2):
...     sample.image.save(f"{sample.seed}.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bigain_cli.version import __version__ as __version__

if TYPE_CHECKING:  # the public names, written here alone: type checkers read them, and so does `_homes`
    from bigain_cli.backbones.base import Backbone as Backbone
    from bigain_cli.backbones.loading import load as load
    from bigain_cli.backbones.random_weights import load_random as load_random
    from bigain_cli.benchmark.benchmark import bench as bench
    from bigain_cli.benchmark.results import Benchmark as Benchmark
    from bigain_cli.benchmark.results import Timing as Timing
    from bigain_cli.classification.classifier import Classification as Classification
    from bigain_cli.classification.classifier import classify as classify
    from bigain_cli.classification.ranking import Failure as Failure
    from bigain_cli.classification.ranking import RankedLabel as RankedLabel
    from bigain_cli.classification.ranking import Ranking as Ranking
    from bigain_cli.classification.stopping import StoppingRules as StoppingRules
    from bigain_cli.compress.patching import Compression as Compression
    from bigain_cli.compress.patching import compressed as compressed
    from bigain_cli.compress.report import Report as Report
    from bigain_cli.compress.spec import Spec as Spec
    from bigain_cli.errors import BigainError as BigainError
    from bigain_cli.errors import InputError as InputError
    from bigain_cli.errors import ModelError as ModelError
    from bigain_cli.errors import UsageError as UsageError
    from bigain_cli.evaluation.evaluation_run import EvaluationRun as EvaluationRun
    from bigain_cli.evaluation.evaluation_run import evaluate as evaluate
    from bigain_cli.evaluation.evaluator import EvaluationRecord as EvaluationRecord
    from bigain_cli.evaluation.generated_image_options import GeneratedImagesOptions as GeneratedImagesOptions
    from bigain_cli.evaluation.image_features import load_feature as load_feature
    from bigain_cli.evaluation.image_metrics import Quality as Quality
    from bigain_cli.evaluation.image_metrics import compare as compare
    from bigain_cli.evaluation.image_metrics import compare_features as compare_features
    from bigain_cli.evaluation.summary import Summary as Summary
    from bigain_cli.generation.generator import GeneratedImage as GeneratedImage
    from bigain_cli.generation.generator import Generation as Generation
    from bigain_cli.generation.generator import GenerationProgress as GenerationProgress
    from bigain_cli.generation.generator import generate as generate
    from bigain_cli.generation.options import GenerationOptions as GenerationOptions
    from bigain_cli.inspection.inspector import BlockView as BlockView
    from bigain_cli.inspection.inspector import Inspection as Inspection
    from bigain_cli.inspection.inspector import inspect as inspect
    from bigain_cli.labels import Label as Label
    from bigain_cli.labels import LabelSet as LabelSet
    from bigain_cli.training.job import CheckpointSaved as CheckpointSaved
    from bigain_cli.training.job import ImagesHeldOut as ImagesHeldOut
    from bigain_cli.training.job import ImagesLoaded as ImagesLoaded
    from bigain_cli.training.job import TrainingDone as TrainingDone
    from bigain_cli.training.job import TrainingJob as TrainingJob
    from bigain_cli.training.job import TrainingProgress as TrainingProgress
    from bigain_cli.training.job import TrainingResumed as TrainingResumed
    from bigain_cli.training.job import ValidationProgress as ValidationProgress
    from bigain_cli.training.recipe import Recipe as Recipe
    from bigain_cli.training.trainer import train as train
else:
    import ast
    import importlib

    def _homes():
        """Return each public name's module and its name there, read off the imports above."""
        tree = ast.parse(__spec__.loader.get_source(__name__))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        return {
            name.asname or name.name: (node.module, name.name)
            for node in imports
            if node.module.startswith(f"{__name__}.") and node.module != f"{__name__}.version"
            for name in node.names
        }

    _HOMES = _homes()
    __all__ = ["__version__", *sorted(_HOMES)]

    def __getattr__(name):
        """Import on first use, so that the command answers at once."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, original = _HOMES[name]
        globals()[name] = found = getattr(importlib.import_module(module), original)
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
