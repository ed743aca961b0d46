"""Models of full size with random bf16 weights run end to end on a CPU: Stable Diffusion 2 in 8 GB, XL in 12 GB."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from bigain_cli.backbones.published_configs import PUBLISHED_CONFIGS
from bigain_cli.backbones.random_parameters import initialise

COMMAND = [sys.executable, "-c", "from bigain_cli.cli import main; main()"]
UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
TEXT = {
    "vocab_size": 49408,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
}

CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
CLIPS = {
    "text_encoder": (CLIPTextModel, {**CLIP_L, "projection_dim": 768}),
    "text_encoder_2": (CLIPTextModelWithProjection, {**CLIP_G, "projection_dim": 1280}),
}
OPT_IN = "takes minutes and 8 GB of disk: set BIGAIN_FULL_SIZE=1"


def save(folder: Path) -> None:
    """Write a folder of the real sizes: 866 M parameters in the U-Net, 340 M in the text encoder."""
    torch.manual_seed(0)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    torch.set_default_dtype(torch.bfloat16)
    try:
        network = UNet2DConditionModel(**UNET)
        assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6) == 866
        network.save_pretrained(folder / "unet")
        del network
        AutoencoderKL(**VAE).save_pretrained(folder / "vae")
        CLIPTextModel(CLIPTextConfig(**TEXT)).save_pretrained(folder / "text_encoder")
    finally:
        torch.set_default_dtype(torch.float32)
    tiny_models.tokenizer().save_pretrained(folder / "tokenizer")
    DDIMScheduler(beta_schedule="scaled_linear").save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(index))


@pytest.mark.slow
@pytest.mark.long
def test_full_size_stable_diffusion_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "sd2")
    Image.effect_noise((512, 512), 60).convert("RGB").save(tmp_path / "x.png")
    arguments = ["classify", "x.png", "-l", "cat,dog", "-m", "sd2", "--draws", "2", "--json", "--timing", "-v"]
    started = time.monotonic()
    run = subprocess.run(COMMAND + arguments, cwd=tmp_path, capture_output=True, text=True, check=True)
    record = json.loads(run.stdout)[0]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    with capsys.disabled():
        print(f"\n{run.stderr.strip()}")
        print(f"{record['evaluations']} evaluations, {record['seconds'] / record['evaluations']:.1f} s each, ", end="")
        print(f"{time.monotonic() - started:.0f} s in all, peak {peak:.2f} GiB")
    assert record["evaluations"] == 4 and record["draws"] == 2
    assert record["settings"]["dtype"] == "float32"
    assert peak * 2**30 <= 8e9


def save_sdxl(folder: Path) -> None:
    """Write a folder of the real sizes: 2,567 M parameters in the U-Net, 123 M and 695 M in the text encoders."""
    index: dict[str, object] = {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
    }
    published = PUBLISHED_CONFIGS["sdxl"]
    _save_random(folder / "unet", lambda: UNet2DConditionModel.from_config(dict(published["unet"])), 2567)
    _save_random(folder / "vae", lambda: AutoencoderKL.from_config(dict(published["vae"])), 84)
    for part, (kind, config) in CLIPS.items():
        made = CLIPTextConfig(vocab_size=49408, hidden_act="gelu", **config)
        _save_random(folder / part, lambda kind=kind, made=made: kind(made), 123 if part == "text_encoder" else 695)
        index[part] = ["transformers", kind.__name__]
        tiny_models.tokenizer().save_pretrained(folder / part.replace("text_encoder", "tokenizer"))
    EulerDiscreteScheduler.from_config(dict(published["scheduler"])).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(index))


def _save_random(folder: Path, make: Callable[[], Any], millions: int) -> None:
    with init_empty_weights():
        network = make()
    initialise(network, torch.device("cpu"), torch.bfloat16)
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6) == millions
    network.save_pretrained(folder, max_shard_size="2GB")  # while a file is read, its pages count as memory, too


# Weights stay in bfloat16, each layer computes in float32: without bfloat16 units a CPU is 60 times slower in it.
CLASSIFY = """
import sys, torch, bigain_cli as bigain
from diffusers import UNet2DConditionModel
from PIL import Image
backbone = bigain.load(sys.argv[1], "cpu", "float32", None)
def load_network():
    backbone.embedder.leave()
    network = UNet2DConditionModel.from_pretrained(sys.argv[1] + "/unet", torch_dtype=torch.bfloat16)
    network.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
    for module in network.modules():
        if "Norm" in type(module).__name__:
            module.float()
    return network.eval().requires_grad_(False)
backbone._load_network = load_network
rules = bigain.StoppingRules(schedule="fixed", draws=1)
*_, last = bigain.classify(backbone, [Image.open(sys.argv[2])], ["cat", "dog"], rules=rules)
print(last.evaluations, *[ranked.gap for ranked in last.ranked])
"""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(os.environ.get("BIGAIN_FULL_SIZE") != "1", reason=OPT_IN)
def test_full_size_sdxl_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two labels, one draw, 1024 pixels, text encoders and VAE included."""
    save_sdxl(tmp_path / "sdxl")
    Image.effect_noise((1024, 1024), 60).convert("RGB").save(tmp_path / "x.png")
    started = time.monotonic()
    command = [sys.executable, "-W", "ignore", "-c", CLASSIFY, str(tmp_path / "sdxl"), str(tmp_path / "x.png")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    with capsys.disabled():
        print(f"\n2 evaluations in {time.monotonic() - started:.0f} s, peak {peak:.2f} GiB")
    evaluations, *gaps = map(float, run.stdout.split())
    assert evaluations == 2 and len(gaps) == 2 and all(map(math.isfinite, gaps))
    assert peak * 2**30 < 12e9
