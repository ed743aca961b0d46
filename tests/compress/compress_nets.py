"""Tiny random networks and pipelines for the compression tests, with forwards that take a latent's rows only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    PixArtTransformer2DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn

CONTEXT = 5  # text tokens
Run = Callable[..., Tensor]


def unet(size: int = 8, widths: tuple[int, ...] = (16, 32), **changes: object) -> UNet2DConditionModel:
    torch.manual_seed(0)
    config = {
        "sample_size": size,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": widths,
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D",) * len(widths),
        "up_block_types": ("CrossAttnUpBlock2D",) * len(widths),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**(config | changes)).eval().requires_grad_(False)


def dit(layers: int = 3, size: int = 8) -> DiTTransformer2DModel:
    torch.manual_seed(0)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=layers,
        sample_size=size,
        patch_size=2,
        num_embeds_ada_norm=6,
    )
    for parameter in network.parameters():  # the published start is zero in places, which would hide mistakes
        nn.init.normal_(parameter, std=0.1)
    return network.eval().requires_grad_(False)


def pixart() -> PixArtTransformer2DModel:
    torch.manual_seed(0)
    network = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=3,
        cross_attention_dim=16,
        sample_size=8,
        patch_size=2,
        caption_channels=12,
    )
    return network.eval().requires_grad_(False)


def latents(b: int, h: int = 8, w: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(b, 4, h, w, generator=torch.Generator().manual_seed(seed))


def times(b: int) -> Tensor:
    return torch.arange(b) * 173 % 1000 + 7


def run_unet(network: nn.Module, x: Tensor, t: Tensor | None = None, text: Tensor | None = None) -> Tensor:
    if text is None:
        text = torch.linspace(-1, 1, CONTEXT * 16).view(1, CONTEXT, 16)
    return network(x, times(len(x)) if t is None else t, encoder_hidden_states=text.expand(len(x), -1, -1)).sample


def run_dit(network: nn.Module, x: Tensor, t: Tensor | None = None, label: int = 3) -> Tensor:
    labels = torch.full((len(x),), label)
    return network(x, timestep=times(len(x)) if t is None else t, class_labels=labels).sample


def run_pixart(network: nn.Module, x: Tensor, t: Tensor | None = None) -> Tensor:
    text = torch.linspace(-1, 1, CONTEXT * 12).view(1, CONTEXT, 12).expand(len(x), -1, -1)
    unused = {"resolution": None, "aspect_ratio": None}
    t = times(len(x)) if t is None else t
    return network(x, encoder_hidden_states=text, timestep=t, added_cond_kwargs=unused).sample


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Run]] = {
    "unet": (unet, run_unet),
    "dit": (dit, run_dit),
    "pixart": (pixart, run_pixart),
}


def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    ).eval()


def stable_diffusion(steps: int = 1000) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline(
        vae=vae(),
        text_encoder=None,
        tokenizer=None,
        unet=unet(),
        scheduler=DDIMScheduler(num_train_timesteps=steps, steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def dit_pipeline() -> DiTPipeline:
    pipeline = DiTPipeline(transformer=dit(), vae=vae(), scheduler=DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
