"""DiT: label-conditioned transformers with learned variance, named through the model's own id2label.

In: the parts of a diffusers folder; out: the backbone contract. Must not know label files or estimators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from bigain_cli.backbones.base import Conditions, NoiseSchedule, noise_schedule
from bigain_cli.backbones.diffusers_folder import DiffusersFolder, quiet
from bigain_cli.backbones.latents import ImageCodec
from bigain_cli.backbones.vocabulary import ClassVocabulary
from bigain_cli.compress.sites import Site, sites_of
from bigain_cli.errors import ModelError

GUIDANCE = 4.0  # of DiT's authors


class LabelDiT:
    """A label-conditioned DiT."""

    family = "dit"
    any_size = False  # its position embeddings are made for one grid
    has_prefix = False
    patch = 1

    def __init__(
        self,
        network: nn.Module,
        codec: ImageCodec,
        process: NoiseSchedule,
        vocabulary: ClassVocabulary,
        parts: DiffusersFolder,
    ) -> None:
        self.network, self.codec, self.process, self.name = network, codec, process, parts.name
        self.identity = parts.identity
        self.vocabulary: ClassVocabulary | None = vocabulary
        config: Any = network.config
        card = parts.card
        self.score, self.temperature = card.score, card.temperature
        self.compress, self.draws, self.template = card.compress, card.draws, card.template
        self.timesteps, self.timestep_range = len(process), card.timestep_range(len(process))
        self.sampling = card.sampling.guided(GUIDANCE)
        self.schedule, self.scale = parts.config("scheduler"), codec.scale
        self.latent_shape = (config.in_channels, config.sample_size, config.sample_size)

    @property
    def device(self) -> torch.device:
        """Return the device of the network's weights."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the network's weights."""
        return next(self.network.parameters()).dtype

    def encode(self, image: Image) -> Tensor:
        """Return the VAE's mean."""  # [c h w]
        return self.codec.encode(image, self.latent_shape)

    def decode(self, latents: Tensor) -> list[Image]:
        """Return the VAE's images, or the pixels."""
        return self.codec.decode(latents)

    def condition(self, prompts: Sequence[str]) -> Conditions:
        """Return class ids; the empty prompt is the class that training used for a dropped label."""
        assert self.vocabulary is not None
        return Conditions(torch.tensor([self.vocabulary.find(prompt) for prompt in prompts], device=self.device))

    def mix(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t."""
        return self.process.mix(clean, noise, t)

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: None = None) -> Tensor:
        """Return ε̂, without the learned variance."""  # [b c h w]
        output = self.network(noisy.to(self.dtype), timestep=t, class_labels=conditions.rows, return_dict=False)[0]
        return self.process.to_noise(output[:, : noisy.shape[1]], noisy, t)

    def compute_prefix(self, noisy: Tensor, t: Tensor) -> None:
        """Return nothing: the label enters at the first block."""
        return

    def sites(self) -> tuple[Site, ...]:
        """List the blocks."""
        return sites_of(self.network)

    def to(self, dtype: torch.dtype) -> None:
        """Compute in another dtype from now on; the VAE keeps float32."""
        with quiet():
            self.network.to(dtype)


def load_dit(parts: DiffusersFolder) -> LabelDiT:
    """Put a DiT together from the parts of a folder."""
    from diffusers import DiTTransformer2DModel

    config = parts.config("transformer")
    names = parts.index.get("id2label")
    if not names:
        raise ModelError(
            parts.name, "model_index.json has no id2label", "Add the class names, as the published DiT has."
        )
    ids = {int(number): str(name) for number, name in names.items()}
    rows = config["num_embeds_ada_norm"]
    if max(ids) >= rows or min(ids) < 0:
        raise ModelError(parts.name, f"id2label names class {max(ids)}, the network has {rows}", "Correct id2label.")
    network = parts.network("transformer", DiTTransformer2DModel)
    table = next(module for name, module in network.named_modules() if name.endswith("class_embedder.embedding_table"))
    unconditional = rows if table.num_embeddings > rows else None
    codec = ImageCodec.load(parts, channels=config["in_channels"])
    process = noise_schedule(parts.config("scheduler"), parts.device)
    return LabelDiT(network, codec, process, ClassVocabulary(ids, unconditional), parts)
