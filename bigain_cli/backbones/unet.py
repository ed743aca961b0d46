"""The U-Net family: Stable Diffusion 1.x and 2.x and their pixel-space kin, ε, v or x prediction.

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
from bigain_cli.backbones.prefix_cache import PrefixCache, run_prefix, use_cached
from bigain_cli.backbones.vocabulary import ClassVocabulary, PromptVocabulary
from bigain_cli.compress.sites import Site, sites_of
from bigain_cli.errors import ModelError, UsageError

PROMPTS_AT_ONCE = 32
POOLED = ("addition_embed_type", "text")  # the text embedding once more, pooled and added to the time embedding
GUIDANCE = 7.5  # of Stable Diffusion's authors
# Stable Diffusion's oldest folders leave these out; diffusers' pipeline sets them in the same way.
LATENT_SCHEDULE = {"clip_sample": False, "steps_offset": 1}


class TextUNet:
    """A text-conditioned U-Net, with or without a VAE."""

    family = "unet"
    any_size = True
    vocabulary: ClassVocabulary | None = None

    def __init__(
        self,
        network: nn.Module,
        codec: ImageCodec,
        process: NoiseSchedule,
        tokenizer: Any,
        text_encoder: Any,
        parts: DiffusersFolder,
    ) -> None:
        self.network, self.codec, self.process, self.name = network, codec, process, parts.name
        self.identity = parts.identity
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        card = parts.card
        self.score, self.temperature = card.score, card.temperature
        self.compress, self.draws, self.template = card.compress, card.draws, card.template
        self.timesteps, self.timestep_range = len(process), card.timestep_range(len(process))
        self.sampling = card.sampling.guided(GUIDANCE)
        self.schedule = parts.config("scheduler") | (LATENT_SCHEDULE if codec.vae is not None else {})
        self.scale = codec.scale
        self._vocabulary = PromptVocabulary(card.classes, card.templates) if card.classes else None
        config: Any = network.config
        self.latent_shape = (config.in_channels, *_pair(config.sample_size))
        self.patch = codec.patch
        self._empty = self.condition([""]).rows

    @property
    def device(self) -> torch.device:
        """Return the device of the network's weights."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the network's weights."""
        return next(self.network.parameters()).dtype

    def encode(self, image: Image) -> Tensor:
        """Return the VAE's mean, or the pixels."""  # [c h w]
        return self.codec.encode(image, self.latent_shape)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> list[Image]:
        """Return the VAE's images, or the pixels."""
        return self.codec.decode(latents)

    def condition(self, prompts: Sequence[str]) -> Conditions:
        """Return text embeddings [k n d], computed a few at a time."""
        if self._vocabulary is not None:
            prompts = [self._vocabulary.folded(prompt) for prompt in prompts]
        most = self.tokenizer.model_max_length
        rows = []
        for start in range(0, len(prompts), PROMPTS_AT_ONCE):
            texts = list(prompts[start : start + PROMPTS_AT_ONCE])
            with quiet():
                ids = self.tokenizer(texts, padding="max_length", max_length=most).input_ids
            _refuse_long(texts, ids, most)
            encoder = self.text_encoder
            rows.append(encoder(torch.tensor(ids, device=encoder.device))[0].to(self.device, self.dtype))
        return Conditions(torch.cat(rows))

    def mix(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t."""
        return self.process.mix(clean, noise, t)

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: PrefixCache | None = None) -> Tensor:
        """Return ε̂."""  # [b c h w]
        if shared is None:
            output = self._forward(noisy, t, conditions.rows)
        else:
            with use_cached(self.network, shared):
                output = self._forward(noisy, t, conditions.rows)
        return self.process.to_noise(output[:, : noisy.shape[1]], noisy, t)

    def compute_prefix(self, noisy: Tensor, t: Tensor) -> PrefixCache:
        """Run the part of the network before the first attention to the text."""
        text = self._empty.expand(len(noisy), -1, -1)
        return run_prefix(self.network, text, lambda: self._forward(noisy, t, text))

    @property
    def has_prefix(self) -> bool:
        """Tell whether part of the network runs before the text enters and can be cached; a compiled network cannot.

        Where the text is added to the time embedding, it enters every module.
        """
        config: Any = self.network.config
        if config.addition_embed_type is not None:
            return False
        return not hasattr(self.network, "_orig_mod") and getattr(self.network, "_compiled_call_impl", None) is None

    def sites(self) -> tuple[Site, ...]:
        """List the self-attentions, in running order."""
        return sites_of(self.network)

    def to(self, dtype: torch.dtype) -> None:
        """Compute in another dtype from now on; the VAE keeps float32."""
        with quiet():
            self.network.to(dtype)
            self.text_encoder.to(dtype)
        self._empty = self._empty.to(dtype)

    def _forward(self, noisy: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return self.network(noisy.to(self.dtype), t, encoder_hidden_states=text, return_dict=False)[0]


def load_unet(parts: DiffusersFolder) -> TextUNet:
    """Put a text-conditioned U-Net together from the parts of a folder."""
    from diffusers import UNet2DConditionModel

    config = parts.config("unet")
    _refuse_unknown(parts, config)
    process = noise_schedule(parts.config("scheduler"), parts.device)
    tokenizer, text_encoder = parts.text()
    network = parts.network("unet", UNet2DConditionModel)
    codec = ImageCodec.load(parts, config["in_channels"], parts.card.patch)
    return TextUNet(network, codec, process, tokenizer, text_encoder, parts)


def _refuse_unknown(parts: DiffusersFolder, config: dict[str, Any]) -> None:
    reasons = {
        "addition_embed_type": "it needs more than a text embedding (as Stable Diffusion XL does)",
        "class_embed_type": "it needs class embeddings beside the text",
        "encoder_hid_dim_type": "it projects its condition in a way that is not supported",
    }
    for key, reason in reasons.items():
        if config.get(key) and (key, config[key]) != POOLED:
            raise ModelError(
                parts.name, reason, "Stable Diffusion 1.x and 2.x and pixel-space text U-Nets are supported."
            )
    channels, out = config["in_channels"], config["out_channels"]
    if out not in (channels, 2 * channels):
        reason = f"its U-Net takes {channels} channels and returns {out} (an inpainting or depth model?)"
        raise ModelError(parts.name, reason, "Use the text-to-image model of the same family.")
    if config.get("sample_size") is None:
        raise ModelError(parts.name, "unet/config.json gives no sample_size", "Add the latent size, for example 64.")


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _refuse_long(texts: Sequence[str], ids: Sequence[Sequence[int]], most: int) -> None:
    """Refuse a prompt that the text encoder would cut off."""
    for text, row in zip(texts, ids, strict=True):
        if len(row) > most:
            raise UsageError(f"prompt {text!r}", f"{len(row)} tokens; this text encoder reads {most}", "Shorten it.")
