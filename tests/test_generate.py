"""The library's images: equal to diffusers' own pipelines', and the same whatever is generated in the same batch."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from diffusers import DiTPipeline, StableDiffusionPipeline

import bigain_cli as bigain
from bigain_cli.backbones.devices import PrecisionWarning
from bigain_cli.backbones.model_card import Sampling
from bigain_cli.backbones.noise_schedule import NoiseSchedule
from bigain_cli.generation.generator import Generation, GenerationProgress
from bigain_cli.generation.options import GenerationOptions
from bigain_cli.generation.samplers import SAMPLERS
from bigain_cli.generation.sampling_loop import SamplingLoop
from bigain_cli.registry import attribute

PROMPTS = ["a cat", "seven dogs"]
STEPS = 6
NOISE_SAMPLERS = [name for name, sampler in SAMPLERS.items() if not sampler.flow]


def noise(seeds: list[int], shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def arrays(samples: Any) -> np.ndarray:
    return np.stack([np.asarray(sample.image) for sample in samples])


@pytest.fixture(scope="module")
def dit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DiT with as many classes as diffusers' pipeline takes for granted."""
    return tiny_models.save_dit(tmp_path_factory.mktemp("models") / "dit", classes=1000)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Collect what is decoded before it is rounded to bytes."""
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        "bigain_cli.backbones.latents.as_image",
        lambda pixels: seen.append((pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()),
    )
    return seen


CASES = [
    *((sampler, "epsilon", 7.5) for sampler in NOISE_SAMPLERS),
    ("ddim", "v", 3.0),
    ("euler", "v", 3.0),
    ("ddim", "v", 1.0),
]


@pytest.fixture(scope="module")
def pipelines(models) -> dict[str, StableDiffusionPipeline]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they mend an old schedule, as we do
        parts = {"safety_checker": None, "feature_extractor": None}
        return {kind: StableDiffusionPipeline.from_pretrained(models[kind], **parts) for kind in ("epsilon", "v")}


@pytest.fixture(scope="module")
def backbones(models) -> dict[str, Any]:
    loaded = {kind: bigain.load(str(models[kind]), device="cpu") for kind in ("epsilon", "v", "dit")}
    leading = bigain.load(str(models["epsilon"]), device="cpu")
    leading.schedule = {**leading.schedule, "timestep_spacing": "leading"}
    return {**loaded, "leading": leading}


def run(pipe: Any, sampler: str, *arguments: Any, **options: Any) -> np.ndarray:
    """Run diffusers' pipeline with one of our samplers."""
    chosen = SAMPLERS[sampler]
    before = pipe.scheduler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # between diffusers and numpy
        pipe.scheduler = attribute(chosen.scheduler).from_config(before.config, **chosen.options)
        pipe.set_progress_bar_config(disable=True)
        images = pipe(*arguments, num_inference_steps=STEPS, output_type="np", **options).images
    pipe.scheduler = before
    return images


@pytest.mark.parametrize(("sampler", "kind", "guidance"), CASES)
def test_images_equal_those_of_stable_diffusions_pipeline(
    sampler: str, kind: str, guidance: float, backbones, pipelines, exact
) -> None:
    negative = "a bird" if guidance > 1 else ""
    options = {"guidance": guidance, "sampler": sampler, "steps": STEPS, "size": (24, 16)}
    list(bigain.generate(backbones[kind], PROMPTS, seed=5, negative=negative, **options))
    generators = [torch.Generator().manual_seed(5) for _ in PROMPTS]  # for the latents, and the noise of the steps
    words = {"prompt": PROMPTS, "negative_prompt": [negative] * 2, "width": 24, "height": 16}
    theirs = run(pipelines[kind], sampler, **words, guidance_scale=guidance, generator=generators)
    assert np.ptp(theirs, axis=0).max() > 0.01, "the images must differ, or the test says nothing"
    np.testing.assert_allclose(np.stack(exact), theirs, atol=1e-4)


@pytest.mark.parametrize(("sampler", "guidance"), [("ddim", 4.0), ("ddim", 1.0), ("dpm++", 4.0)])
def test_images_equal_those_of_dits_pipeline(sampler: str, guidance: float, dit: Path, exact) -> None:
    backbone = bigain.load(str(dit), device="cpu")
    pipe = DiTPipeline.from_pretrained(dit)
    if sampler != "ddim":  # the published DiT does not clip; where a folder says so, we do it with every sampler
        backbone.schedule = {**backbone.schedule, "clip_sample": False}
    list(bigain.generate(backbone, ["tench", "airliner"], guidance=guidance, sampler=sampler, steps=STEPS, seed=2))
    for number, label in enumerate([0, 5]):
        generator = torch.Generator().manual_seed(2)
        theirs = run(pipe, sampler, [label], guidance, generator)
        np.testing.assert_allclose(exact[number], theirs[0], atol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "dit"])
@pytest.mark.parametrize("compress", ["none", "lgtm:0.5@levels=all", "tome:0.5@levels=all+iekvd:2@0.8:1.2@levels=all"])
def test_an_image_does_not_depend_on_the_others_of_its_batch_to_the_last_bit(
    kind: str, compress: str, backbones
) -> None:
    options = {"steps": 3, "sampler": "euler-a", "compress": compress, "guidance": 3.0}
    many = list(bigain.generate(backbones[kind], ["1", "4", "5"], count=3, seed=1, **options))
    assert [(sample.prompt, sample.seed) for sample in many] == [(p, s) for p in "145" for s in (1, 2, 3)]
    for number in (0, 5, 7):
        alone = next(bigain.generate(backbones[kind], many[number].prompt, seed=many[number].seed, **options))
        assert np.array_equal(np.asarray(alone.image), np.asarray(many[number].image))
    assert len({sample.image.tobytes() for sample in many}) == 9


def test_guidance_of_one_runs_the_network_once_a_step(backbones) -> None:
    backbone, rows = backbones["epsilon"], []
    hook = backbone.network.register_forward_hook(lambda module, args, output: rows.append(len(args[0])))
    try:
        for guidance in (1, 0, 2):
            list(bigain.generate(backbone, "a", guidance=guidance, steps=2, batch=1))
    finally:
        hook.remove()
    assert rows == [1, 1, 1, 1, 2, 2]


def test_both_halves_merge_the_same_tokens(backbones) -> None:
    """Guidance multiplies the difference of the halves; with equal conditions it is nothing, whatever is merged."""
    plain, guided = (
        list(bigain.generate(backbones["dit"], "1", negative=negative, guidance=g, steps=2, compress="lgtm:0.5"))
        for g, negative in ((1, ""), (50, "tabby"))
    )
    np.testing.assert_allclose(arrays(plain), arrays(guided), atol=1)


@pytest.mark.parametrize("sampler", NOISE_SAMPLERS)
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("flat", [False, True])
def test_every_step_of_the_schedule_can_be_taken(sampler: str, spacing: str, flat: bool) -> None:
    """With as many steps as there are, a sampler visits each noise level, and divides by no distance of 0."""
    backbone = bigain.load("colours", device="cpu")
    betas = {"trained_betas": backbone.schedule["trained_betas"] if flat else None}  # flat at its ends, or nowhere
    backbone.schedule = {**betas, "timestep_spacing": spacing, "steps_offset": 1}
    loop = SamplingLoop(backbone, sampler, backbone.timesteps, (3, 2, 2))
    times: list[float] = []
    *_, clean = loop.run([1], lambda noisy, t, number: times.append(float(t[0])) or 0.1 * noisy)
    assert clean.isfinite().all()
    every = set(range(backbone.timesteps))
    assert set(times) <= every and (set(times) == every or (flat and SAMPLERS[sampler].multistep))
    levels = [backbone._process.a[int(time)].item() for time in sorted(times)]
    assert not flat or set(levels) == set(backbone._process.a.tolist()), (
        "every skipped step has another of the same noise level"
    )


@pytest.mark.parametrize("sampler", [name for name, each in SAMPLERS.items() if each.multistep])
def test_a_schedule_that_is_flat_at_its_ends_divides_by_nothing(sampler: str) -> None:
    backbone = bigain.load("colours", device="cpu")
    for steps in (60, 333, 999):
        *_, clean = SamplingLoop(backbone, sampler, steps, (3, 2, 2)).run([1], lambda noisy, t, number: 0.1 * noisy)
        assert clean.isfinite().all()


def test_alpha_follows_the_time_of_each_step(backbones) -> None:
    """A schedule that ends where another begins differs from both: each step uses its own alpha."""
    made = [
        arrays(bigain.generate(backbones["epsilon"], "a", steps=4, compress=f"iekvd:2@{alpha}@levels=all"))
        for alpha in ("0.1:1.9", "0.1", "1.9")
    ]
    assert not np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


def test_steps_are_reported_and_images_come_in_order(backbones) -> None:
    generation = Generation(backbones["dit"], ["1", "4"], GenerationOptions(steps=3, batch=1), 2)
    events = list(generation.events())
    assert [(event.done, event.of) for event in events if isinstance(event, GenerationProgress)] == [
        (i, 12) for i in range(1, 13)
    ]
    assert [isinstance(event, GenerationProgress) for event in events] == [True, True, True, False] * 4


@pytest.mark.parametrize("compress", ["none", "lgtm:0.5", "tome:0.5"])
@pytest.mark.parametrize("model", ["epsilon", "v", "dit"])
def test_the_size_of_a_batch_changes_an_image_by_a_rounding_at_most(backbones, model: str, compress: str) -> None:
    one, eight = (
        arrays(bigain.generate(backbones[model], "4", count=3, steps=6, compress=compress, batch=batch)).astype(int)
        for batch in (1, 8)
    )
    assert np.abs(one - eight).max() <= 1


def test_a_batch_that_does_not_fit_is_halved(backbones, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbones["dit"]
    expected = arrays(bigain.generate(backbone, "1", count=3, steps=2, batch=1))
    forward = backbone.network.forward

    def cramped(noisy: torch.Tensor, **rest: Any) -> Any:
        if len(noisy) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(noisy, **rest)

    monkeypatch.setattr(backbone.network, "forward", cramped)
    samples = list(bigain.generate(backbone, "1", count=3, steps=2))
    assert np.array_equal(arrays(samples), expected) and {sample.settings["batch"] for sample in samples} == {1}
    monkeypatch.setattr(backbone.network, "forward", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(bigain.BigainError, match="a single image does not fit"):
        list(bigain.generate(backbone, "1", steps=2))


def test_float16_that_overflows_continues_in_more_range_once(models) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu", dtype="float16")
    backbone.network.conv_out.bias.data += 6e4
    backbone.network.conv_out.weight.data *= 2e4
    with pytest.warns(PrecisionWarning, match="float16 overflowed") as caught:
        samples = list(bigain.generate(backbone, "a cat", count=6, steps=2))
    assert len(caught) == 1 and [sample.settings["dtype"] for sample in samples] == ["float32"] * 6


def test_numbers_that_are_none_are_an_error(models) -> None:
    backbone = bigain.load(str(models["dit"]), device="cpu")
    backbone.network.proj_out_2.bias.data[:] = float("nan")
    with pytest.raises(bigain.BigainError, match=r"no numbers .* Try fewer --steps or another --sampler"):
        list(bigain.generate(backbone, "1", steps=2))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("epsilon", {"size": (17, 16)}, "generates in steps of 2 pixels. Nearest: --size 16x16"),
        ("dit", {"size": (16, 32)}, "generates images of 16x16 only"),
        ("epsilon", {"size": (0, 16)}, "at least one pixel"),
        ("epsilon", {"steps": 0}, "--steps 0: must be at least 1"),
        ("epsilon", {"steps": 1001}, "this model's schedule has 1000"),
        ("leading", {"steps": 999, "sampler": "dpm++"}, "ends before the first of them. Use at most 500"),
        ("epsilon", {"guidance": float("nan")}, "--guidance nan: not a number"),
        ("epsilon", {"guidance": 1, "negative": "a"}, "does nothing without guidance"),
        ("colours", {"negative": "blue", "prompts": "red"}, "colours is used without guidance"),
        ("epsilon", {"sampler": "dimm"}, "Did you mean ddim"),
        ("epsilon", {"count": 0}, "-n 0: must be at least 1"),
        ("epsilon", {"seed": -1}, "--seed -1"),
        ("epsilon", {"compress": "lgtm:0.01@levels=2@stride=1x1"}, "lgtm"),
        ("epsilon", {"prompts": []}, "no prompt"),
        ("epsilon", {"prompts": ["a", "b", "a"]}, "given 2 times"),
        ("epsilon", {"prompts": ["a", " a"]}, "given 2 times"),
        ("epsilon", {"prompts": "x" * 60}, "this text encoder reads 40"),
        ("dit", {"prompts": "a crane"}, "not among the 6 classes"),
    ],
)
def test_what_cannot_be_generated_is_refused_before_anything_is_generated(
    kind: str, options: dict[str, Any], message: str, backbones
):
    prompts = options.pop("prompts", "1")
    with pytest.raises(bigain.UsageError) as caught:
        bigain.generate(backbones.get(kind, kind), prompts, **options)
    assert message in str(caught.value)


def test_a_models_own_steps_need_no_sampler_of_its_own(backbones) -> None:
    backbone = copy.copy(backbones["epsilon"])
    backbone.sampling = Sampling(guidance=2.0, steps=3)
    (found,) = bigain.generate(backbone, "1", size=(16, 16))
    assert found.settings["steps"] == 3 and found.settings["sampler"] == "ddim"
    (other,) = bigain.generate(backbone, "1", size=(16, 16), sampler="euler")
    assert other.settings["steps"] == SAMPLERS["euler"].steps, "they are of the usual sampler"


def test_a_time_between_two_steps_lies_between_their_noise_levels() -> None:
    process = NoiseSchedule.of(torch.linspace(0.99, 0.01, 10), "v_prediction", torch.device("cpu"))
    whole, between = torch.tensor([3, 4]), torch.tensor([3.0, 3.25, 4.0])
    a, s = (part.flatten() for part in process.at(between))
    torch.testing.assert_close(a[[0, 2]], process.a[whole])
    torch.testing.assert_close(a**2 + s**2, torch.ones(3))
    torch.testing.assert_close((s / a)[1], torch.lerp(*(process.s / process.a)[whole], 0.25))


@pytest.mark.parametrize("sampler", NOISE_SAMPLERS)
def test_pixels_stay_in_range_with_every_sampler(sampler: str, models, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, seen = bigain.load(str(models["pixels"]), device="cpu"), []
    backbone.network.conv_out.weight.data *= 30
    monkeypatch.setattr(backbone, "decode", lambda latents: seen.append(latents) or [])
    list(bigain.generate(backbone, "a cat", steps=STEPS, sampler=sampler))
    assert 0.5 < seen[0].abs().max() < 1.01


def test_colours_are_generated_in_their_colour() -> None:
    backbone = bigain.load("colours", device="cpu")
    samples = list(bigain.generate(backbone, ["red", "green", "blue"], count=2, steps=20))
    for sample, ranking in zip(
        samples,
        bigain.classify(backbone, [(str(i), s.image) for i, s in enumerate(samples)], "red,green,blue"),
        strict=True,
    ):
        assert ranking.label == sample.prompt
