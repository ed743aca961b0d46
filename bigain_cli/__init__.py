"""Classify images zero-shot with a diffusion model, and generate images with the same one.

>>> import bigain
>>> backbone = bigain.load("colours")
>>> for ranking in bigain.classify(backbone, ["photo.jpg"], ["red", "green"]):
...     print(ranking.label, ranking.probability)
>>> for sample in bigain.generate(backbone, "red", count=2):
...     sample.image.save(f"{sample.seed}.png")
"""

from typing import TYPE_CHECKING

from bigain_cli.lazy_names import lazy_names
from bigain_cli.version import __version__ as __version__

if TYPE_CHECKING:
    from bigain_cli.public import *  # noqa: F403
else:
    __getattr__, __dir__ = lazy_names(__name__)  # importing the names takes seconds, and the command answers at once
