"""Tiny random models, saved as real diffusers folders."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

NAMES = {
    0: "tench, Tinca tinca",
    1: "tabby, tabby cat",
    2: "crane",
    3: "crane",
    4: "Cardigan, Cardigan Welsh corgi",
    5: "airliner",
}


def tokenizer() -> CLIPTokenizer:
    """Make a CLIP tokenizer whose pieces are single letters."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = letters + [letter + "</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=40)


def clip_config(width: int = 16, pieces: int = 190, layers: int = 2, **more: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=pieces,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=40,
        bos_token_id=188,
        eos_token_id=189,
        projection_dim=width,
        **more,
    )


def text_encoder(width: int = 16, pieces: int = 190) -> CLIPTextModel:
    return CLIPTextModel(clip_config(width, pieces))


LATE = {  # the text enters in the last block, behind attentions of both kinds
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("AttnUpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": (2, 16),
}


def unet(
    channels: int,
    first_block: str = "CrossAttnDownBlock2D",
    out: int | None = None,
    pooled: bool = False,
    late: bool = False,
) -> UNet2DConditionModel:
    """Make a U-Net; `pooled` adds the text to the time, `late` reads it in the last block alone."""
    last = "CrossAttnUpBlock2D" if first_block == "CrossAttnDownBlock2D" else "UpBlock2D"
    early = {
        "down_block_types": (first_block, "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", last),
        "attention_head_dim": 2,
    }
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=out or channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=16,
        norm_num_groups=4,
        addition_embed_type="text" if pooled else None,
        addition_embed_type_num_heads=2,
        **(LATE if late else early),
    )


def vae(channels: int = 4) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        scaling_factor=0.5,
    )


def scheduler(prediction: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction)


def save_stable_diffusion(
    folder: Path,
    prediction: str = "epsilon",
    with_vae: bool = True,
    seed: int = 0,
    first_block: str = "CrossAttnDownBlock2D",
    pooled: bool = False,
    late: bool = False,
) -> Path:
    """Save a Stable Diffusion of a few thousand parameters; without a VAE it works on pixels."""
    torch.manual_seed(seed)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.38.0",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    unet(4 if with_vae else 3, first_block, pooled=pooled, late=late).save_pretrained(folder / "unet")
    text_encoder().save_pretrained(folder / "text_encoder")
    tokenizer().save_pretrained(folder / "tokenizer")
    scheduler(prediction).save_pretrained(folder / "scheduler")
    if with_vae:
        index["vae"] = ["diffusers", "AutoencoderKL"]
        vae().save_pretrained(folder / "vae")
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def save_dit(folder: Path, seed: int = 0, classes: int = len(NAMES), late: bool = False) -> Path:
    """Save a DiT of a few thousand parameters, with learned variance; `late` reads its classes in the last block."""
    torch.manual_seed(seed)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=3,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=classes,
    )
    for parameter in network.parameters():  # the published start is zero in places, which would hide mistakes
        torch.nn.init.normal_(parameter, std=0.1)
    for block in network.transformer_blocks[: 2 * late]:
        torch.nn.init.constant_(block.norm1.emb.class_embedder.embedding_table.weight, 0.1)
    network.save_pretrained(folder / "transformer")
    vae().save_pretrained(folder / "vae")
    DDIMScheduler(beta_schedule="linear").save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiTPipeline",
        "_diffusers_version": "0.38.0",
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "id2label": {str(number): name for number, name in NAMES.items()},
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
