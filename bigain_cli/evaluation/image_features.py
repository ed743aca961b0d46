"""Features of images: the output of a network's layer, as one row of numbers per image.

In: PIL images; out: [n d] float32; a row does not depend on the other images. Must not know measures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.batch_sizes import automatic_batch_size, stable_batch_size
from bigain_cli.backbones.devices import repeatable
from bigain_cli.backbones.latents import fit
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.backbones.stopped_pass import run_up_to
from bigain_cli.compress.attaching import is_compressed
from bigain_cli.compress.sites import network_of, sites_of
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.noise_draws import key
from bigain_cli.registry import FEATURES, attribute, entry

FeatureRows = NDArray[np.float32]
TIMES = (0.05, 0.15)  # as shares of the noise schedule: little noise, so that rows depend on the image
INCEPTION_SIDE, INCEPTION_BATCH = 299, 8


class Feature(Protocol):
    """A function from images to rows of numbers; its name identifies the weights."""

    @property
    def name(self) -> str:
        """Return the name to report with every number that is made with this feature."""

    @property
    def identity(self) -> str:
        """Return all that rows depend on beside the image; the model's name is not part of it."""

    def __call__(self, images: Iterable[Image]) -> FeatureRows:
        """Return a row for each image."""  # [n d]


def load_feature(name: str, backbone: Backbone | str, batch: int | None = None) -> Feature:
    """Make a feature of the registry; some use the backbone itself, others only its device."""
    feature: Feature = attribute(entry("feature", name, FEATURES).target)(as_backbone(backbone), batch)
    return feature


@dataclass(frozen=True)
class MidBlockFeature:
    """The mean over all positions of the output of a backbone's middle block, at a few times, with the empty prompt."""

    backbone: Backbone
    block: nn.Module
    times: Sequence[int]
    batch: int | None = None  # None: a size that suits device and model

    @property
    def name(self) -> str:
        """Return the model, its weights and the times."""
        return f"{self.backbone.name}:{self.identity}"

    @property
    def identity(self) -> str:
        """Return the block, the times and the weights."""
        return f"mid@t={','.join(map(str, self.times))} (weights {self.backbone.identity})"

    def __call__(self, images: Iterable[Image]) -> FeatureRows:
        """Return a row for each image; the last batch is padded, so that all have one size."""  # [n d]
        if is_compressed(network_of(self.backbone)):
            hint = "Leave the compression first, so that all features are made alike."
            raise UsageError(f"feature {self.name}", "its network is compressed", hint)
        size = automatic_batch_size(self.backbone) if self.batch is None else stable_batch_size(self.batch)
        return in_batches(images, size, lambda part: self._rows(part, size))

    @torch.inference_mode()
    def _rows(self, images: Sequence[Image], size: int) -> FeatureRows:
        latents = [self.backbone.encode(image) for image in images]
        clean = torch.stack(latents + latents[-1:] * (size - len(latents)))  # [b c h w]
        conditions = self.backbone.condition([""]).take(torch.zeros(size, dtype=torch.int64, device=clean.device))
        with repeatable(self.backbone):
            outputs = [self._block_output(self._noisy(clean, t), t, conditions) for t in self.times]
        return torch.cat(outputs, 1).cpu().numpy()

    def _noisy(self, clean: Tensor, t: int) -> Tensor:
        """Return x_t with the same noise for every image, so that it is a function of the image alone."""
        generator = torch.Generator().manual_seed(key(0, b"", "feature", t))
        noise = torch.randn(clean.shape[1:], generator=generator).to(clean.device).expand_as(clean)
        return self.backbone.mix(clean, noise, torch.full((len(clean),), t, device=clean.device))

    def _block_output(self, noisy: Tensor, t: int, conditions: Any) -> Tensor:
        """Run the network up to the block, and return the mean over its positions."""  # [b d]
        times = torch.full((len(noisy),), t, device=noisy.device)
        output = run_up_to(self.block, lambda: self.backbone.noise(noisy, times, conditions))
        if output is not None:
            found: Tensor = output if isinstance(output, Tensor) else output[-1]  # text first, where there are two
            positions = (2, 3) if found.ndim == 4 else (1,)  # channels first in a U-Net, last in a transformer
            return found.float().mean(positions)
        hint = "Load it again, and compile it afterwards if at all."
        raise ModelError(f"model {self.backbone.name}", "its hooks are ignored (is it compiled?)", hint)


def in_batches(images: Iterable[Image], size: int, rows: Callable[[Sequence[Image]], FeatureRows]) -> FeatureRows:
    """Return the rows of all images, computed a batch at a time."""  # [n d]
    # All first: while images are generated on demand, the network is still compressed.
    listed = list(images)
    parts = [listed[start : start + size] for start in range(0, len(listed), size)]
    return np.concatenate([rows(part)[: len(part)] for part in parts]) if parts else np.zeros((0, 0), np.float32)


def middle(backbone: Backbone, batch: int | None = None) -> MidBlockFeature:
    """Return the feature of the backbone's own middle block."""
    block = _middle_block(network_of(backbone)) if tuple(backbone.sites()) else None
    if block is None:
        hint = "Choose a model with a U-Net or a DiT, or the inception feature."
        raise ModelError(f"model {backbone.name}", "no network with a middle block", hint)
    return MidBlockFeature(backbone, block, tuple(round(share * backbone.timesteps) for share in TIMES), batch)


def _middle_block(network: Any) -> nn.Module | None:
    """Return a U-Net's middle, or a transformer's middle block."""
    if "mid_block" in network._modules:
        return network.mid_block
    sites = sites_of(network)
    return sites[len(sites) // 2].block


@dataclass(frozen=True)
class Inception:
    """Inception v3 without its last layer."""

    network: nn.Module
    backbone: Backbone  # for its device
    digest: str
    batch: int = INCEPTION_BATCH

    @property
    def name(self) -> str:
        """Return the name, with the reservation that calling the distance FID requires."""
        return f"inception-v3 ({self.digest}; FID on torchvision's weights, not those of the original FID)"

    @property
    def identity(self) -> str:
        """Return the name: nothing in it depends on the backbone."""
        return self.name

    def __call__(self, images: Iterable[Image]) -> FeatureRows:
        """Return the output of the last pooling; the last batch is padded."""  # [n 2048]
        return in_batches(images, self.batch, self._rows)

    @torch.inference_mode()
    def _rows(self, images: Sequence[Image]) -> FeatureRows:
        padded = [*images, *[images[-1]] * (self.batch - len(images))]
        pixels = torch.stack([fit(image, (INCEPTION_SIDE, INCEPTION_SIDE)) for image in padded])  # −1 … 1
        with repeatable(self.backbone):
            rows: FeatureRows = self.network(pixels.to(self.backbone.device)).cpu().numpy()
        return rows


def inception(backbone: Backbone, batch: int | None = None) -> Inception:
    """Load torchvision's weights from torch's cache."""
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
    network.eval().requires_grad_(False).to(backbone.device)
    return Inception(network, backbone, digest, batch or INCEPTION_BATCH)


def digest_of(path: Path) -> str:
    """Return the beginning of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
