"""Token compression: `with compressed(pipeline, "lgtm:0.7"): …` on a pipeline or network of diffusers.

U-Nets, DiT, PixArt, SD3, FLUX.1, Chroma and PRX have sites, each kind described by a file in `networks/`.
Specs are read and operators listed without torch; everything else is loaded on first use.
"""

from typing import TYPE_CHECKING

from bigain_cli.compress.operators import OPERATORS as OPERATORS
from bigain_cli.compress.spec import Spec as Spec
from bigain_cli.compress.spec import Term as Term
from bigain_cli.compress.spec import parse as parse
from bigain_cli.lazy_names import lazy_names

if TYPE_CHECKING:
    from bigain_cli.compress.public import *  # noqa: F403
else:
    __getattr__, __dir__ = lazy_names(__name__)
