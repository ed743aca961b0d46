"""Each family's errors equal those of a plain loop written on the components of diffusers' own pipeline."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image
from tiny_families import FAMILIES, open_pipeline

import bigain_cli as bigain
from bigain_cli.classification.denoising import DenoisingErrors, ScoringJob, SharedComputation
from bigain_cli.noise_draws import Draws

PROMPTS = ["A cat", "a small dog", "seven airliners", ""]
SHAPE = (4, 8, 8)
DRAWS = 2
LIKE_OTHERS = {"schnell", "pixart-sigma", "sd3-without-t5"}  # compared in the slow suite
FLOWS = ("sd3", "sd3-without-t5", "prx", "flux", "schnell", "chroma")


def open_backbone(folder: Path) -> Any:
    backbone = bigain.load(str(folder), "cpu", "float32", None)
    backbone.latent_shape = SHAPE  # FLUX and Chroma name no size, and start from 128
    return backbone


def encoded(pipe: Any, *arguments: Any, **options: Any) -> Any:
    """Encode a prompt with the pipeline, once for all draws."""
    known = vars(pipe).setdefault("known", {})
    key = str((arguments, options))
    if key not in known:
        known[key] = pipe.encode_prompt(*arguments, **options)
    return known[key]


def sdxl(pipe: Any, z: torch.Tensor, t: torch.Tensor, text: str) -> torch.Tensor:
    rows, empty, pooled, empty_pooled = encoded(pipe, text)
    if not text:
        rows, pooled = empty, empty_pooled
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[16.0, 16.0, 0.0, 0.0, 16.0, 16.0]])}
    return pipe.unet(z, t, encoder_hidden_states=rows, added_cond_kwargs=added).sample


def pixart(pipe: Any, z: torch.Tensor, t: torch.Tensor, text: str) -> torch.Tensor:
    rows, mask, _, _ = encoded(pipe, text, do_classifier_free_guidance=False)
    sizes = {"resolution": torch.tensor([[16.0, 16.0]]), "aspect_ratio": torch.tensor([[1.0]])}
    output = pipe.transformer(
        z, encoder_hidden_states=rows, encoder_attention_mask=mask, timestep=t, added_cond_kwargs=sizes
    )
    return output.sample.chunk(2, dim=1)[0]


def sd3(pipe: Any, z: torch.Tensor, t: torch.Tensor, text: str) -> torch.Tensor:
    rows, _, pooled, _ = encoded(pipe, text, text, text, do_classifier_free_guidance=False)
    return pipe.transformer(z, timestep=t, encoder_hidden_states=rows, pooled_projections=pooled).sample


def prx(pipe: Any, z: torch.Tensor, t: torch.Tensor, text: str) -> torch.Tensor:
    pipe.text_preprocessor.clean_text = lambda text: text.strip().lower()  # all that it does to these
    rows, mask, _, _ = encoded(pipe, text, do_classifier_free_guidance=False)
    return pipe.transformer(z, timestep=t / 1000, encoder_hidden_states=rows, attention_mask=mask).sample


def flux(pipe: Any, z: torch.Tensor, t: torch.Tensor, text: str) -> torch.Tensor:
    tokens = 512 if pipe.transformer.config.guidance_embeds else 256  # of dev and of schnell
    rows, pooled, ids = encoded(pipe, text, max_sequence_length=tokens)
    positions = pipe._prepare_latent_image_ids(1, 4, 4, z.device, z.dtype)
    guidance = torch.ones(1) if pipe.transformer.config.guidance_embeds else None
    output = pipe.transformer(
        pipe._pack_latents(z, 1, *SHAPE),
        timestep=t / 1000,
        guidance=guidance,
        pooled_projections=pooled,
        encoder_hidden_states=rows,
        txt_ids=ids,
        img_ids=positions,
    )
    return pipe._unpack_latents(output.sample, 16, 16, pipe.vae_scale_factor)


def chroma(pipe: Any, z: torch.Tensor, t: torch.Tensor, text: str) -> torch.Tensor:
    rows, ids, mask, _, _, _ = encoded(pipe, text, do_classifier_free_guidance=False)
    output = pipe.transformer(
        pipe._pack_latents(z, 1, *SHAPE),
        timestep=t / 1000,
        encoder_hidden_states=rows,
        txt_ids=ids,
        img_ids=pipe._prepare_latent_image_ids(1, 4, 4, z.device, z.dtype),
        attention_mask=pipe._prepare_attention_mask(1, 16, z.dtype, mask).bool(),  # or it would hide nothing
    )
    return pipe._unpack_latents(output.sample, 16, 16, pipe.vae_scale_factor)


NETWORKS: dict[str, Callable[[Any, torch.Tensor, torch.Tensor, str], torch.Tensor]] = {
    "sdxl": sdxl,
    "pixart-alpha": pixart,
    "pixart-sigma": pixart,
    "sd3": sd3,
    "sd3-without-t5": sd3,
    "prx": prx,
    "flux": flux,
    "schnell": flux,
    "chroma": chroma,
}


def image(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def latent(pipe: Any, of: Image.Image) -> torch.Tensor:
    pixels = torch.tensor(np.asarray(of), dtype=torch.float32).permute(2, 0, 1)[None] / 127.5 - 1
    mean, config = pipe.vae.encode(pixels).latent_dist.mean, pipe.vae.config
    if config.latents_mean is None:
        return (mean - (config.shift_factor or 0)) * config.scaling_factor
    means, deviations = (torch.tensor(each).view(1, 4, 1, 1) for each in (config.latents_mean, config.latents_std))
    return (mean - means) / deviations * config.scaling_factor


@torch.no_grad()
def naive_errors(name: str, pipe: Any, of: Image.Image, draws: Draws, count: int) -> np.ndarray:
    """Score every draw and text on its own."""
    clean, errors = latent(pipe, of), np.empty((count, len(PROMPTS)))
    for number in range(count):
        block = draws.block(number, 1)
        share = block.t.float().view(-1, 1, 1, 1) / 1000
        if name in FLOWS:
            noisy = (1 - share) * clean + share * block.noise
        else:
            noisy = DDPMScheduler.from_config(pipe.scheduler.config).add_noise(clean, block.noise, block.t)
        for column, text in enumerate(PROMPTS):
            output = NETWORKS[name](pipe, noisy, block.t, text)
            predicted = noisy + (1 - share) * output if name in FLOWS else output
            errors[number, column] = (predicted - block.noise).square().mean().item()
    return errors


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LIKE_OTHERS else ()) for name in FAMILIES]
)
def test_errors_equal_a_loop_on_the_pipelines_components(name: str, families: dict[str, Path]) -> None:
    backbone, pipe, picture = open_backbone(families[name]), open_pipeline(families[name]), image(0)
    draws = Draws(3, b"", SHAPE, backbone.timestep_range)
    expected = naive_errors(name, pipe, picture, draws, DRAWS)
    assert np.ptp(expected, axis=1).min() > 1e-6, "the labels must make a difference, or the test says nothing"
    conditions = backbone.condition(PROMPTS)
    for batch in (1, 7, 64):
        job = ScoringJob(backbone.encode(picture), draws.block(0, DRAWS), range(len(PROMPTS)))
        scorer = DenoisingErrors(backbone, conditions, False, batch, SharedComputation(backbone, True))
        scorer.batch = batch  # 7 too, which a user's 7 is rounded down from
        np.testing.assert_allclose(scorer([job])[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["pixart-alpha", "pixart-sigma"])
def test_a_published_pixart_has_the_class_of_an_older_diffusers(
    name: str, families: dict[str, Path], tmp_path: Path
) -> None:
    """Its files name Transformer2DModel, as those of the published DiT do."""
    folder = Path(shutil.copytree(families[name], tmp_path / "published"))
    for file in (folder / "model_index.json", folder / "transformer" / "config.json"):
        text = file.read_text()
        assert "PixArtTransformer2DModel" in text
        file.write_text(text.replace("PixArtTransformer2DModel", "Transformer2DModel"))
    found, expected = (open_backbone(each) for each in (folder, families[name]))
    noisy, t = torch.ones(1, *found.latent_shape), torch.tensor([500])
    with torch.inference_mode():
        one, other = (each.noise(noisy, t, each.condition(["a cat"])) for each in (found, expected))
    assert type(found) is type(expected) and torch.equal(one, other)


@pytest.mark.parametrize("name", ["flux", "chroma", "sdxl", "pixart-alpha"])
def test_a_pass_makes_no_tensor_of_the_images_size(name: str, families: dict[str, Path]) -> None:
    """On a GPU a copy from the CPU, or a read back of a grid, makes each pass wait for the one before it."""
    backbone = bigain.load(str(families[name]), "cpu", "float32", None)
    noisy, t = torch.ones(1, backbone.latent_shape[0], 8, 4), torch.tensor([500])
    conditions, inputs = backbone.condition(["a cat"]), []
    hook = lambda network, args, kwargs: inputs.append(kwargs)  # noqa: E731 — a line long
    handle = backbone.network.register_forward_pre_hook(hook, with_kwargs=True)
    with torch.inference_mode():
        for _ in range(2):
            backbone.noise(noisy, t, conditions)
    handle.remove()
    first, second = (given.get("img_ids", given.get("added_cond_kwargs")) for given in inputs)
    tensors = [(first, second)] if name in ("flux", "chroma") else [(first[key], second[key]) for key in first]
    sizes = [(one, other) for one, other in tensors if one.shape[-1] != 16]  # all but SDXL's pooled embedding
    assert sizes and all(one.data_ptr() == other.data_ptr() for one, other in sizes)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_gpu_gives_the_cpus_errors_and_numbers_in_every_dtype(name: str, families: dict[str, Path]) -> None:
    """A fused attention may return NaN for tokens that a mask hides, which then spread."""
    picture, found = image(0), {}
    for device, dtype in (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16"), ("cuda", "float16")):
        backbone = bigain.load(str(families[name]), device, dtype, None)
        backbone.latent_shape = SHAPE
        block = Draws(3, b"", backbone.latent_shape, backbone.timestep_range).block(0, DRAWS)
        job = ScoringJob(backbone.encode(picture), block, range(len(PROMPTS)))
        shared = SharedComputation(backbone, True)
        found[device, dtype] = DenoisingErrors(backbone, backbone.condition(PROMPTS), False, 8, shared)([job])[0]
    assert all(np.isfinite(errors).all() for errors in found.values())
    np.testing.assert_allclose(found["cuda", "float32"], found["cpu", "float32"], rtol=1e-3, atol=1e-4)
