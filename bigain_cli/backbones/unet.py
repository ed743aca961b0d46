"""U-Nets: Stable Diffusion 1.x and 2.x and text-conditioned pixel-space networks, with ε, v or x prediction.

In: the parts of a diffusers folder; out: the backbone contract. Must not know label files or estimators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.diffusers_folder import DiffusersFolder, quiet
from bigain_cli.backbones.distillation import distilled_by
from bigain_cli.backbones.folder_checks import whole_number
from bigain_cli.backbones.latents import ImageCodec
from bigain_cli.backbones.load_errors import run_errors
from bigain_cli.backbones.network_backbone import NetworkBackbone, latent_shape_of
from bigain_cli.backbones.noise_schedule import NoiseSchedule, noise_schedule
from bigain_cli.backbones.prefix_cache import PrefixCache, is_compiled, run_prefix, use_cached
from bigain_cli.backbones.prompt_encoder import PromptEncoder
from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.errors import ModelError

POOLED = ("addition_embed_type", "text")  # the text embedding once more, pooled and added to the time embedding
GUIDANCE = 7.5  # of Stable Diffusion's authors
# Stable Diffusion's oldest folders omit these; diffusers' pipeline sets them in the same way.
LATENT_SCHEDULE = {"clip_sample": False, "steps_offset": 1}
UNSUPPORTED = {  # entries of the configuration
    "addition_embed_type": "it needs more than a text embedding",
    "class_embed_type": "it needs class embeddings beside the text",
    "encoder_hid_dim_type": "it projects its condition in a way that is not supported",
}


class TextUNet(NetworkBackbone):
    """A text-conditioned U-Net, with or without a VAE."""

    family = "unet"
    any_size = True
    vocabulary = None

    def __init__(
        self,
        parts: DiffusersFolder,
        network: nn.Module,
        codec: ImageCodec,
        process: NoiseSchedule,
        prompt_encoder: PromptEncoder,
    ) -> None:
        config: Any = network.config
        shape = latent_shape_of(parts.name, config.in_channels, config.sample_size)
        super().__init__(parts, lambda: network, codec, process, GUIDANCE, shape)
        self.prompt_encoder = prompt_encoder
        if codec.vae is not None:
            self.schedule = self.schedule | LATENT_SCHEDULE
        self.distilled = distilled_by(parts, config)
        card = parts.card
        self.class_names = tuple(card.classes)
        self._prompt_vocabulary = PromptVocabulary(card.classes, card.templates) if card.classes else None
        self._empty = self.condition([""]).rows

    def condition(self, prompts: Sequence[str]) -> Conditions:
        """Return text embeddings [k n d]."""
        if self._prompt_vocabulary is not None:
            prompts = [self._prompt_vocabulary.normalise(prompt) for prompt in prompts]
        return Conditions(self.prompt_encoder.encode(prompts))

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: PrefixCache | None = None) -> Tensor:
        """Return ε̂."""  # [b c h w]
        with run_errors(self.name):
            if shared is None:
                output = self._forward(noisy, t, conditions.rows)
            else:
                with use_cached(self.network, shared):
                    output = self._forward(noisy, t, conditions.rows)
        return self.process.to_noise(output[:, : noisy.shape[1]], noisy, t)

    def compute_prefix(self, noisy: Tensor, t: Tensor) -> PrefixCache:
        """Run the part of the network before the first attention to the text."""
        text = self._empty.expand(len(noisy), -1, -1)
        with run_errors(self.name):
            return run_prefix(self.network, text, lambda: self._forward(noisy, t, text))

    @property
    def has_prefix(self) -> bool:
        """Tell whether part of the network runs before the text enters and can be cached; a compiled network cannot.

        Where the text is added to the time embedding, it enters every module.
        """
        config: Any = self.network.config
        if config.addition_embed_type is not None:
            return False
        return not is_compiled(self.network)

    def to(self, dtype: torch.dtype) -> None:
        """Compute in another dtype from now on; the VAE keeps float32."""
        with quiet():
            self.network.to(dtype)
            self.prompt_encoder.to(dtype)
        self._empty = self._empty.to(dtype)

    def _forward(self, noisy: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return self.network(noisy.to(self.dtype), t, encoder_hidden_states=text, return_dict=False)[0]


def load_unet(parts: DiffusersFolder) -> TextUNet:
    """Make a text-conditioned U-Net from the parts of a folder."""
    from diffusers import UNet2DConditionModel

    config = parts.config("unet")
    for key in ("in_channels", "out_channels"):
        whole_number(f"{parts.name}/unet/config.json", config, key)
    _refuse_unsupported(parts.name, config)
    process = noise_schedule(parts.config("scheduler"), parts.device)
    prompt_encoder = PromptEncoder(parts)
    network = parts.network("unet", UNet2DConditionModel)
    codec = ImageCodec.load(parts, config["in_channels"], parts.card.patch)
    return TextUNet(parts, network, codec, process, prompt_encoder)


def _refuse_unsupported(name: str, config: dict[str, Any]) -> None:
    for key, reason in UNSUPPORTED.items():
        if config.get(key) and (key, config[key]) != POOLED:
            raise ModelError(name, reason, "Stable Diffusion 1.x and 2.x and pixel-space text U-Nets are supported.")
    channels, out = config["in_channels"], config["out_channels"]
    if out not in (channels, 2 * channels):
        reason = f"its U-Net takes {channels} channels and returns {out} (an inpainting or depth model?)"
        raise ModelError(name, reason, "Use the text-to-image model of the same family.")
    if config.get("sample_size") is None:
        raise ModelError(name, "unet/config.json gives no sample_size", "Add the latent size, for example 64.")
