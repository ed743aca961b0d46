"""Features of images: what a network makes of them, as rows of numbers, and the name of that.

In: PIL images; out: [n d] float32, the same row whatever the other images. Must not know measures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from bigain_cli.compress.patching import is_compressed
from bigain_cli.compress.sites import is_patch_transformer, is_unet, network_of
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.noise_draws import key
from bigain_cli.registry import FEATURES, attribute, entry

Rows = NDArray[np.float32]
SHARES = (0.05, 0.15)  # of the schedule: hardly noisy, as the images are what is asked about


class Feature(Protocol):
    """Something that turns images into rows of numbers; its name says which weights it looks with."""

    @property
    def name(self) -> str:
        """Return what every number made with this feature is given with."""

    @property
    def identity(self) -> str:
        """Return what its rows depend on beside the image, however the model is called."""

    def __call__(self, images: Iterable[Image]) -> Rows:
        """Return a row for each image."""  # [n d]


def load_feature(name: str, backbone: Backbone, batch: int | None = None) -> Feature:
    """Make a feature of the table; some look with the backbone itself, others only share its device."""
    feature: Feature = attribute(entry("feature", name, FEATURES).target)(backbone, batch)
    return feature


@dataclass(frozen=True)
class MidBlockFeature:
    """The mean over all places of what leaves a backbone's middle block, at a few times, without any prompt."""

    backbone: Backbone
    block: nn.Module
    times: Sequence[int]
    batch: int | None = None  # images at once, or what suits device and model

    @property
    def name(self) -> str:
        """Return the model, its weights and the times."""
        return f"{self.backbone.name}:{self.identity}"

    @property
    def identity(self) -> str:
        """Return the block, the times and the weights."""
        return f"mid@t={','.join(map(str, self.times))} (weights {self.backbone.identity})"

    def __call__(self, images: Iterable[Image]) -> Rows:
        """Return a row for each image; the last batch is filled up, so that all have one size."""  # [n d]
        if is_compressed(network_of(self.backbone)):
            hint = "Leave the compression first, so that all images are seen alike."
            raise UsageError(f"feature {self.name}", "its network is compressed", hint)
        size = automatic_batch_size(self.backbone) if self.batch is None else stable_batch_size(self.batch)
        return in_batches(images, size, lambda part: self._rows(part, size))

    @torch.inference_mode()
    def _rows(self, images: Sequence[Image], size: int) -> Rows:
        latents = [self.backbone.encode(image) for image in images]
        clean = torch.stack(latents + latents[-1:] * (size - len(latents)))  # [b c h w]
        conditions = self.backbone.condition([""]).take(torch.zeros(size, dtype=torch.int64, device=clean.device))
        with repeatable(self.backbone):
            seen = [self._seen(self._noisy(clean, t), t, conditions) for t in self.times]
        return torch.cat(seen, 1).cpu().numpy()

    def _noisy(self, clean: Tensor, t: int) -> Tensor:
        """Return x_t; the noise is the same for every image, which leaves a function of the image alone."""
        generator = torch.Generator().manual_seed(key(0, b"", "feature", t))
        noise = torch.randn(clean.shape[1:], generator=generator).to(clean.device).expand_as(clean)
        return self.backbone.mix(clean, noise, torch.full((len(clean),), t, device=clean.device))

    def _seen(self, noisy: Tensor, t: int, conditions: Any) -> Tensor:
        """Run the network as far as the block, and return the mean over its places."""  # [b d]
        handle = self.block.register_forward_hook(_stop)
        try:
            self.backbone.noise(noisy, torch.full((len(noisy),), t, device=noisy.device), conditions)
        except _Reached as reached:
            return reached.output.float().mean(reached.places)
        finally:
            handle.remove()
        hint = "Load it anew, and compile it afterwards if at all."
        raise ModelError(f"model {self.backbone.name}", "its hooks are ignored (is it compiled?)", hint)


def in_batches(images: Iterable[Image], size: int, rows: Callable[[Sequence[Image]], Rows]) -> Rows:
    """Return the rows of all images, computed a batch at a time."""  # [n d]
    # All at first: images that are drawn on demand would be looked at by a network that is still compressed.
    listed = list(images)
    parts = [listed[start : start + size] for start in range(0, len(listed), size)]
    return np.concatenate([rows(part)[: len(part)] for part in parts]) if parts else np.zeros((0, 0), np.float32)


class _Reached(Exception):
    """The block has answered: channels first in a U-Net, last in a patch transformer."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output
        self.places = (2, 3) if output.ndim == 4 else (1,)


def _stop(module: nn.Module, args: Any, output: Any) -> None:
    raise _Reached(output if isinstance(output, Tensor) else output[0])


def middle(backbone: Backbone, batch: int | None = None) -> MidBlockFeature:
    """Look with the backbone's own middle block."""
    block = next(_middles(backbone), None)
    if block is None:
        hint = "Choose a model with a U-Net or a DiT, or the inception feature."
        raise ModelError(f"model {backbone.name}", "no network with a middle block to look with", hint)
    times = tuple(round(share * backbone.timesteps) for share in SHARES)
    return MidBlockFeature(backbone, block, times, batch)


def _middles(backbone: Backbone) -> Iterator[nn.Module]:
    if not tuple(backbone.sites()):
        return
    root = network_of(backbone)
    if is_unet(root) and root.mid_block is not None:
        yield root.mid_block
    if is_patch_transformer(root):
        yield root.transformer_blocks[len(root.transformer_blocks) // 2]


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
