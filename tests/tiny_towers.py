"""Tiny random two-tower models, saved as transformers' folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

TOKENS = 64  # that a text is filled up to
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**SIZES, "max_position_embeddings": TOKENS, "projection_size": 16}
VISION = {**SIZES, "image_size": 16, "patch_size": 8}
IDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def tokenizer() -> Siglip2Tokenizer:
    """Make a tokenizer whose pieces are single letters, also large ones and marks, which training never saw."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = [chr(code) for code in range(33, 127)]
    return Siglip2Tokenizer(vocab={piece: number for number, piece in enumerate([*special, "▁", *letters])})


def case_sensitive() -> Any:
    """Make the tokenizer as releases of transformers before 5 do: it keeps capitals."""
    from tokenizers import normalizers

    made = tokenizer()
    made.backend_tokenizer.normalizer = normalizers.Replace(" ", "▁")
    return made


def save_towers(kind: str, folder: Path, seed: int = 0) -> Path:
    """Save a two-tower model of a few thousand parameters."""
    torch.manual_seed(seed)
    if kind == "clip":
        from tiny_models import tokenizer as clip_tokenizer

        ids = {"bos_token_id": 188, "eos_token_id": 189, "pad_token_id": 189, "vocab_size": 190}
        text = {**TEXT, **ids}
        CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)).save_pretrained(folder)
        clip_tokenizer().save_pretrained(folder)
        CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
        return folder
    text = {**TEXT, **IDS, "vocab_size": 100}
    case_sensitive().save_pretrained(folder)
    if kind == "siglip":
        SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
        SiglipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    else:
        vision = {**SIZES, "num_patches": 16, "patch_size": 8}
        Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)).save_pretrained(folder)
        Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(folder)
    return folder
