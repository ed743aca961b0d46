"""Tiny random networks in which image and text meet: SD3, FLUX, Chroma, PRX; and an SDXL. Forwards take a latent."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from compress_nets import Run, latents, times, unet
from diffusers import (
    ChromaTransformer2DModel,
    FluxTransformer2DModel,
    PRXTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from torch import Tensor, nn

TEXT = 6  # text tokens
FLUX = {
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "axes_dims_rope": (2, 2, 4),
}


def settled(network: nn.Module) -> Any:
    """Make all weights random: published starts are zero in places, which would hide mistakes."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in sorted(network.named_parameters()):
        scale = 0.3 if parameter.ndim > 1 else 0.1
        offset = 1.0 if "norm" in name and parameter.ndim == 1 and name.endswith("weight") else 0.0
        parameter.data = offset + scale * torch.randn(parameter.shape, generator=generator)
    return network.eval().requires_grad_(False)


def sd3(dual: tuple[int, ...] = (0, 1), layers: int = 3, norm: str | None = "rms_norm") -> SD3Transformer2DModel:
    return settled(
        SD3Transformer2DModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            num_layers=layers,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=12,
            caption_projection_dim=16,
            pooled_projection_dim=10,
            pos_embed_max_size=8,
            dual_attention_layers=dual,
            qk_norm=norm,
        )
    )


def flux(guidance: bool = False, **changes: Any) -> FluxTransformer2DModel:
    return settled(FluxTransformer2DModel(**(FLUX | changes), pooled_projection_dim=10, guidance_embeds=guidance))


def chroma(**changes: Any) -> ChromaTransformer2DModel:
    approximator = {"approximator_num_channels": 8, "approximator_hidden_dim": 12, "approximator_layers": 2}
    with warnings.catch_warnings():  # diffusers 0.42 warns of its own import here
        warnings.simplefilter("ignore", FutureWarning)
        return settled(ChromaTransformer2DModel(**(FLUX | approximator | changes)))


def prx(depth: int = 3) -> PRXTransformer2DModel:
    sizes = {"in_channels": 4, "context_in_dim": 12, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2.0}
    return settled(PRXTransformer2DModel(**sizes, depth=depth, axes_dim=[4, 4]))


def sdxl() -> UNet2DConditionModel:
    """A U-Net without attention at its full resolution, with text and size added to the time."""
    return unet(
        size=16,
        widths=(8, 16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 10,
        use_linear_projection=True,
        cross_attention_dim=12,
    )


def pack(x: Tensor) -> Tensor:
    """Return 2x2 cells as tokens."""  # [b c h w] -> [b n 4c]
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)


def image_ids(h: int, w: int) -> Tensor:
    """Return every token's row and column, as FLUX wants them."""
    rows, columns = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
    return torch.stack([torch.zeros_like(rows), rows, columns], 1).float()


def texts(b: int, seed: int = 5) -> Tensor:
    return torch.randn(1, TEXT, 12, generator=torch.Generator().manual_seed(seed)).expand(b, -1, -1)


def pooled(b: int, seed: int = 5) -> Tensor:
    return torch.randn(1, 10, generator=torch.Generator().manual_seed(seed)).expand(b, -1)


def run_sd3(network: nn.Module, x: Tensor, t: Tensor | None = None, text: int = 5) -> Tensor:
    t = times(len(x)) if t is None else t
    output = network(x, encoder_hidden_states=texts(len(x), text), pooled_projections=pooled(len(x), text), timestep=t)
    return output.sample


def run_flux(network: nn.Module, x: Tensor, t: Tensor | None = None, text: int = 5, **more: Any) -> Tensor:
    t = (times(len(x)) if t is None else t) / 1000
    ids, guided = image_ids(x.shape[2] // 2, x.shape[3] // 2), getattr(network.config, "guidance_embeds", False)
    more |= {"pooled_projections": pooled(len(x), text)} if "guidance_embeds" in network.config else {}
    more |= {"guidance": torch.full((len(x),), 3.5)} if guided else {}
    positions = {"img_ids": ids, "txt_ids": torch.zeros(TEXT, 3)}
    return network(pack(x), encoder_hidden_states=texts(len(x), text), timestep=t, **positions, **more).sample


def run_prx(network: nn.Module, x: Tensor, t: Tensor | None = None, text: int = 5, masked: bool = True) -> Tensor:
    t = (times(len(x)) if t is None else t) / 1000
    mask = torch.arange(TEXT)[None].expand(len(x), -1) < TEXT - 2 if masked else None
    return network(x, timestep=t, encoder_hidden_states=texts(len(x), text), attention_mask=mask).sample


def run_sdxl(network: nn.Module, x: Tensor, t: Tensor | None = None, text: int = 5) -> Tensor:
    b, t = len(x), times(len(x)) if t is None else t
    size = torch.tensor([[128.0, 128, 0, 0, 128, 128]]).expand(b, -1)
    added = {"text_embeds": pooled(b, text), "time_ids": size}
    return network(x, t, encoder_hidden_states=texts(b, text), added_cond_kwargs=added).sample


JOINT: dict[str, tuple[Callable[[], nn.Module], Run]] = {
    "sd3": (lambda: sd3(dual=(), norm=None), run_sd3),
    "sd3.5": (sd3, run_sd3),
    "flux": (lambda: flux(guidance=True), run_flux),
    "chroma": (chroma, run_flux),
    "prx": (prx, run_prx),
}
NEWER = JOINT | {"sdxl": (sdxl, run_sdxl)}
__all__ = ["FLUX", "JOINT", "NEWER", "TEXT", "latents"]
