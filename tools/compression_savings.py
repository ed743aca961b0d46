"""Print what compression takes off a forward pass of published networks, as Markdown; no weights, no download.

python tools/compression_savings.py
"""

from __future__ import annotations

import warnings
from typing import Any

import diffusers
import torch

from bigain_cli.backbones.published_configs import PUBLISHED_CONFIGS
from bigain_cli.compress import Report, compressed

SPECS = ("lgtm:0.5", "lgtm:0.5@share=level+mlp", "abm:0.5+mlp", "iekvd:2")
NETWORKS = {  # the latent's side, text tokens
    "sd2": (64, 77),
    "sdxl": (128, 77),
    "dit-512": (64, 1),
    "pixart-alpha-512": (64, 120),
    "pixart-sigma": (128, 300),
    "prx": (64, 256),
    "sd3-medium": (128, 333),
    "sd3.5-medium": (128, 333),
    "sd3.5-large": (128, 333),
    "chroma": (128, 512),
    "flux-dev": (128, 512),
}
DEFAULTS = {"unet": "UNet2DConditionModel", "transformer": "DiTTransformer2DModel"}


def published(name: str) -> Any:
    """Build a network without memory."""
    configs = PUBLISHED_CONFIGS[name]
    part = "unet" if "unet" in configs else "transformer"
    config = dict(configs[part])
    kind = getattr(diffusers, config.pop("_class_name", DEFAULTS[part]))
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kind.from_config(config)


def report(network: Any, spec: str, side: int, context: int) -> Report:
    """Return what a spec does."""
    with compressed(network, spec, latent=(side, side)) as compression:
        return compression.report((side, side), context)


def main() -> None:
    """Print the table."""
    head = ["network", "pixels", "text", "GFLOP", "blocks", "tokens", *(f"`{spec}`" for spec in SPECS)]
    print(f"| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    for name, (side, context) in NETWORKS.items():
        network = published(name)
        reports = [report(network, spec, side, context) for spec in SPECS]
        first = reports[0]
        cells = [f"`{name}`", str(side * 8), str(context), f"{first.flops_before / 1e9:,.0f}"]
        cells += [f"{len(first.sites)} of {first.blocks}", f"{first.sites[0].tokens:,}"]
        print(f"| {' | '.join([*cells, *(f'{each.saved:.1%}' for each in reports)])} |")


if __name__ == "__main__":
    main()
