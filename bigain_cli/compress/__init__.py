"""Token compression: `with compressed(pipeline, "lgtm:0.7"): …` on any U-Net, DiT or PixArt of diffusers.

Specs are read and operators listed without torch; everything else is loaded when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bigain_cli.compress.operators import OPERATORS
from bigain_cli.compress.spec import Spec, Term, parse

if TYPE_CHECKING:
    from bigain_cli.compress.report import Report
    from bigain_cli.compress.seam import Handle, apply, compressed
    from bigain_cli.compress.sites import Site, sites_of

__all__ = ["OPERATORS", "Handle", "Report", "Site", "Spec", "Term", "apply", "compressed", "parse", "sites_of"]

_LATER = {
    "Handle": "seam",
    "apply": "seam",
    "compressed": "seam",
    "Report": "report",
    "Site": "sites",
    "sites_of": "sites",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
