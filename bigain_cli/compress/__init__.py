"""Token compression: `with compressed(pipeline, "lgtm:0.7"): …` on any U-Net, DiT or PixArt of diffusers.

Specs are read and operators listed without torch; everything else is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bigain_cli.compress.operators import OPERATORS
from bigain_cli.compress.spec import Spec, Term, parse

if TYPE_CHECKING:
    from bigain_cli.compress.patching import Compression, apply, compressed
    from bigain_cli.compress.report import Report
    from bigain_cli.compress.sites import Site, sites_of

__all__ = ["OPERATORS", "Compression", "Report", "Site", "Spec", "Term", "apply", "compressed", "parse", "sites_of"]

_LATER = {
    "Compression": "bigain_cli.compress.patching",
    "apply": "bigain_cli.compress.patching",
    "compressed": "bigain_cli.compress.patching",
    "Report": "bigain_cli.compress.report",
    "Site": "bigain_cli.compress.sites",
    "sites_of": "bigain_cli.compress.sites",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(_LATER[name]), name)
