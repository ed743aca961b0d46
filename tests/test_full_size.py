"""A Stable Diffusion 2 of full size with random bf16 weights runs end to end on a CPU, in at most 8 GB."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_models
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel

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
