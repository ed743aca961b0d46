"""The denoising errors equal those of a plain double loop written directly on diffusers."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiTTransformer2DModel, UNet2DConditionModel
from PIL import Image, ImageOps
from transformers import CLIPTextModel, CLIPTokenizer

from bigain_cli import load
from bigain_cli.backbones.batch_sizes import automatic_batch_size, batch_sizes, generation_batch_size
from bigain_cli.classification.denoising import DenoisingErrors, ScoringJob, SharedComputation
from bigain_cli.images import digest
from bigain_cli.noise_draws import Draws

PROMPTS = ["a cat", "a small dog", "seven airliners", ""]
CLASSES = ["tabby", "tench", "airliner", ""]
BATCHES = (1, 7, 64)
KINDS = ("epsilon", "v", "pixels", "pixels-v", "late-text", "late-labels", "pooled", "dit", "late-dit")
LIKE_OTHERS = {"pixels", "pixels-v", "pooled"}  # the slow suite compares these with a naive loop, too


def latent(folder: Path, image: Image.Image) -> torch.Tensor:
    """Encode as the Stable Diffusion and DiT papers do, by hand."""
    has_vae = (folder / "vae").exists()
    square = ImageOps.fit(image, (16, 16) if has_vae else (8, 8), Image.Resampling.BICUBIC)
    pixels = torch.tensor(np.asarray(square), dtype=torch.float32).permute(2, 0, 1)[None] / 127.5 - 1
    if not has_vae:
        return pixels
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    return vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor


@torch.no_grad()
def naive_errors(folder: Path, image: Image.Image, draws: Draws, count: int, texts: list[str]) -> np.ndarray:
    """Score every draw and text on its own."""
    clean = latent(folder, image)
    config = DDPMScheduler.load_config(folder / "scheduler")
    schedule = DDPMScheduler.from_config(config)
    is_dit = (folder / "transformer").exists()
    if is_dit:
        network = DiTTransformer2DModel.from_pretrained(folder / "transformer").eval()
        ids = {"tabby": 1, "tench": 0, "airliner": 5, "": 6}
    else:
        network = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    errors = np.empty((count, len(texts)))
    for number in range(count):
        block = draws.block(number, 1)
        noisy = schedule.add_noise(clean, block.noise, block.t)
        for column, text in enumerate(texts):
            if is_dit:
                out = network(noisy, timestep=block.t, class_labels=torch.tensor([ids[text]])).sample[:, :4]
            else:
                tokens = tokenizer(text, padding="max_length", max_length=40, return_tensors="pt").input_ids
                out = network(noisy, block.t, encoder_hidden_states=encoder(tokens).last_hidden_state).sample
            if schedule.config.prediction_type == "v_prediction":
                alpha = schedule.alphas_cumprod[block.t].reshape(-1, 1, 1, 1)
                out = alpha.sqrt() * out + (1 - alpha).sqrt() * noisy
            errors[number, column] = ((out - block.noise) ** 2).mean().item()
    return errors


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind in LIKE_OTHERS else ()) for kind in KINDS]
)
def test_errors_equal_a_naive_loop(kind: str, models, images) -> None:
    folder, texts = models[kind], CLASSES if kind.endswith("dit") else PROMPTS
    backbone = load(str(folder), device="cpu")
    draws = [Draws(3, digest(image), backbone.latent_shape) for _, image in images[:3]]
    expected = [naive_errors(folder, image, draw, 5, texts) for (_, image), draw in zip(images, draws, strict=False)]
    assert np.ptp(expected[0], axis=1).min() > 1e-6, "the labels must make a difference, or the test says nothing"
    conditions = backbone.condition(texts)
    for number, (share, batch) in enumerate(product((True, False), BATCHES)):
        order = [2, 0, 3, 1] if number % 2 else list(range(len(texts)))
        step = -1 if number % 3 else 1  # the order of the images
        jobs = [
            ScoringJob(backbone.encode(image), draw.block(0, 5), order)
            for (_, image), draw in list(zip(images, draws, strict=False))[::step]
        ]
        denoising_errors = DenoisingErrors(backbone, conditions, False, batch, SharedComputation(backbone, share))
        denoising_errors.batch = batch  # 7 too, which a user's 7 is rounded down from
        got = denoising_errors(jobs)[::step]
        for mine, theirs in zip(got, expected, strict=True):
            np.testing.assert_allclose(mine, theirs[:, order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("device", "count", "batch", "expected"),
    [
        ("cpu", 96, 40, [40, 40, 16]),
        ("cpu", 81, 40, [40, 40, 16]),
        ("cpu", 100, 40, [40, 40, 24]),
        ("cpu", 80, 40, [40, 40]),
        ("cpu", 3, 40, [16]),
        ("cpu", 3, 8, [8]),
        ("cpu", 5, 4, [4, 4]),
        ("cpu", 3, 1, [1, 1, 1]),
        ("cuda", 96, 40, [40, 40, 40]),
        ("cuda", 3, 40, [40]),
        ("mps", 5, 4, [4, 4]),
    ],
)
def test_the_last_batch_is_short_on_a_cpu_alone(device: str, count: int, batch: int, expected: list[int]) -> None:
    assert batch_sizes(count, batch, torch.device(device)) == expected


def test_images_are_generated_in_smaller_batches_than_errors_are_computed_in() -> None:
    colours = load("colours", device="cpu")
    assert generation_batch_size(colours, (3, 8, 8), None) == 4 and automatic_batch_size(colours) == 40
    assert generation_batch_size(colours, (4, 64, 64), None) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_the_sizes_of_short_batches_give_the_bits_of_full_ones(threads: int) -> None:
    """So that a prompt more, as maps need one, leaves the errors of the others as they were."""
    backbone, before = load("mini", device="cpu"), torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    noisy, t = torch.randn(40, *backbone.latent_shape, generator=generator), torch.arange(0, 1000, 25)
    conditions = backbone.condition(["a cat"]).take(torch.zeros(40, dtype=torch.int64))
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            whole = backbone.noise(noisy, t, conditions)
            for size in (16, 24, 32):
                part = backbone.noise(noisy[:size], t[:size], conditions.take(torch.arange(size)))
                assert torch.equal(part, whole[:size]), size
    finally:
        torch.set_num_threads(before)


def test_on_a_cpu_the_size_of_a_batch_depends_on_its_image_alone(models, images) -> None:
    backbone = load(str(models["dit"]), device="cpu")
    jobs = [
        ScoringJob(backbone.encode(image), Draws(0, b"", backbone.latent_shape).block(0, 5), [0, 1])
        for _, image in images[:3]
    ]
    rows: list[int] = []
    backbone.network.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    DenoisingErrors(backbone, backbone.condition(CLASSES), False, 40, SharedComputation(backbone, True))(jobs)
    assert rows == [16, 16, 16], "ten rows each, filled up to a multiple of eight"


@pytest.mark.parametrize("kind", ["epsilon", "pixels-v", "dit"])
@pytest.mark.parametrize("batch", [1, 2, 4, 8, 16, 40])
def test_errors_do_not_depend_on_other_images_to_the_last_bit(kind: str, batch: int, models, images) -> None:
    backbone = load(str(models[kind]), device="cpu")
    conditions = backbone.condition(CLASSES if kind == "dit" else PROMPTS)
    jobs = [
        ScoringJob(backbone.encode(image), Draws(0, digest(image), backbone.latent_shape).block(0, 3), [0, 2, 1])
        for _, image in images
    ]
    denoising_errors = DenoisingErrors(backbone, conditions, False, batch, SharedComputation(backbone, True))
    alone = [denoising_errors([job])[0] for job in jobs]
    together = denoising_errors(jobs)
    backwards = denoising_errors(jobs[::-1])[::-1]
    for mine, theirs, others in zip(alone, together, backwards, strict=True):
        assert mine.tobytes() == theirs.tobytes() == others.tobytes()


def test_the_prefix_is_run_once_per_draw_and_not_once_per_label(models, images) -> None:
    backbone = load(str(models["epsilon"]), device="cpu")
    rows = {"conv_in": 0, "conv_out": 0}
    for name in rows:
        backbone.network.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: rows.__setitem__(name, rows[name] + len(output))
        )
    job = ScoringJob(backbone.encode(images[0][1]), Draws(0, b"", backbone.latent_shape).block(0, 8), [0, 1, 2, 3])
    DenoisingErrors(backbone, backbone.condition(PROMPTS), False, 8, SharedComputation(backbone, True))([job])
    assert rows == {"conv_in": 8, "conv_out": 32}


def test_no_prefix_is_shared_where_the_text_comes_in_with_the_time(models) -> None:
    assert (
        load(str(models["epsilon"]), device="cpu").has_prefix
        and not load(str(models["pooled"]), device="cpu").has_prefix
    )


def test_the_network_is_left_as_it_was_after_sharing_a_prefix(models, images) -> None:
    backbone = load(str(models["epsilon"]), device="cpu")
    before = dict(backbone.network.named_modules())
    job = ScoringJob(backbone.encode(images[0][1]), Draws(0, b"", backbone.latent_shape).block(0, 2), [0, 1])
    DenoisingErrors(backbone, backbone.condition(PROMPTS), False, 8, SharedComputation(backbone, True))([job])
    after = dict(backbone.network.named_modules())
    assert before.keys() == after.keys() and all(before[name] is after[name] for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in after.values())
