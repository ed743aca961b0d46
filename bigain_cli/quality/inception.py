"""torchvision's Inception v3, if its weights are on this machine already: 2,048 features a picture. Never downloads.

These are not the weights of the original FID, which were TensorFlow's: its numbers and these are not comparable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL.Image import Image
from torch import nn

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.pixels import fit
from bigain_cli.classification.denoising import repeatable
from bigain_cli.errors import ModelError
from bigain_cli.evaluation.image_features import Rows, in_batches

SIDE, AT_ONCE = 299, 8


@dataclass(frozen=True)
class Inception:
    """The network without its last layer."""

    network: nn.Module
    backbone: Backbone  # tells the device
    digest: str
    batch: int = AT_ONCE

    @property
    def name(self) -> str:
        """Return the name, with what must be said when the distance is called FID."""
        return f"inception-v3 ({self.digest}; FID on torchvision's weights, not those of the original FID)"

    @property
    def identity(self) -> str:
        """Return the same: nothing in it depends on the backbone."""
        return self.name

    def __call__(self, images: Iterable[Image]) -> Rows:
        """Return what the last pooling leaves; the last batch is filled up."""  # [n 2048]
        return in_batches(images, self.batch, self._rows)

    @torch.inference_mode()
    def _rows(self, images: Sequence[Image]) -> Rows:
        filled = [*images, *[images[-1]] * (self.batch - len(images))]
        pixels = torch.stack([fit(image, (SIDE, SIDE)) for image in filled])  # −1 … 1, as it was trained
        with repeatable(self.backbone):
            rows: Rows = self.network(pixels.to(self.backbone.device)).cpu().numpy()
        return rows


def inception(backbone: Backbone, batch: int | None = None) -> Inception:
    """Load the weights that torchvision has left in torch's cache."""
    from torchvision.models import Inception_V3_Weights, inception_v3

    url = Inception_V3_Weights.IMAGENET1K_V1.url
    weights = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not weights.is_file():
        hint = f"Put them there ({url}), or use the backbone feature."
        raise ModelError("feature inception", f"no weights at {weights}, and none are fetched", hint)
    digest = digest_of(weights)
    if digest not in weights.stem:  # torch's cache names a file by its digest
        raise ModelError("feature inception", f"{weights} is broken (SHA-256 {digest}…)", "Fetch it again.")
    network = inception_v3(weights=None, init_weights=False, transform_input=False)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.fc = nn.Identity()
    return Inception(network.eval().requires_grad_(False).to(backbone.device), backbone, digest, batch or AT_ONCE)


def digest_of(path: Path) -> str:
    """Return the beginning of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
