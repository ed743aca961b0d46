"""The facts of networks: time, sign, packing and scale are undone exactly; a flow's velocity and its noise agree."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxPipeline
from hypothesis import given
from hypothesis import strategies as st

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.network_facts import LatentScale, NetworkFacts
from bigain_cli.backbones.rectified_flow import RectifiedFlow, rectified_flow
from bigain_cli.errors import ModelError


def latents(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.sampled_from([1.0, -1.0]))
def test_packing_is_undone_and_the_sign_is_applied_once(p: int, h: int, w: int, c: int, sign: float) -> None:
    facts, values = NetworkFacts(packing=p, sign=sign), latents(0, 2, c, h * p, w * p)
    packed = facts.pack(values)
    assert p == 1 or packed.shape == (2, h * w, c * p * p)
    assert torch.equal(facts.unpack(packed, values.shape), sign * values)


def test_tokens_are_packed_as_in_diffusers() -> None:
    values = latents(0, 2, 4, 6, 8)
    theirs = FluxPipeline._pack_latents(values, 2, 4, 6, 8)
    assert torch.equal(NetworkFacts(packing=2).pack(values), theirs)


def test_the_variance_that_a_network_learned_is_dropped() -> None:
    output = latents(0, 2, 8, 6, 6)
    assert torch.equal(NetworkFacts().unpack(output, torch.Size((2, 4, 6, 6))), output[:, :4])


def test_time_keeps_its_type_unless_it_is_scaled() -> None:
    t = torch.tensor([0, 250, 999])
    assert NetworkFacts().time(t, 1000) is t
    assert NetworkFacts(time_scale=1e-3).time(t, 1000).tolist() == pytest.approx([0, 0.25, 0.999])
    assert NetworkFacts(time_scale=1e-3, reversed_time=True).time(t, 1000).tolist() == pytest.approx([1, 0.75, 0.001])


@pytest.mark.parametrize("scale", [LatentScale(0.36, 0.1), LatentScale(0.5, 0.0, (0.1, -2.0), (3.0, 0.5))])
def test_latents_go_to_the_vae_and_back(scale: LatentScale) -> None:
    values = latents(0, 2, 3, 3)
    assert torch.allclose(scale.to_vae(scale.to_network(values)), values, atol=1e-6)


def test_statistics_make_channels_standard() -> None:
    values = torch.stack([3.0 * torch.ones(2, 2) + 0.1, torch.zeros(2, 2) - 2.0])
    found = LatentScale(1.0, 0.0, (0.1, -2.0), (3.0, 0.5)).to_network(values)
    assert torch.allclose(found, torch.stack([torch.ones(2, 2), torch.zeros(2, 2)]))


@pytest.mark.parametrize("prediction", ["flow", "epsilon", "sample", "v_prediction"])
@given(t=st.integers(1, 999))
def test_every_prediction_of_one_denoiser_gives_one_noise(prediction: str, t: int) -> None:
    clean, noise = latents(1, 1, 2, 3, 3), latents(2, 1, 2, 3, 3)
    process, time = RectifiedFlow(1000, prediction), torch.tensor([t])
    noisy, tau = process.mix(clean, noise, time), t / 1000
    norm = (tau**2 + (1 - tau) ** 2) ** 0.5
    output = {
        "flow": noise - clean,
        "epsilon": noise,
        "sample": clean,
        "v_prediction": ((1 - tau) * noise - tau * clean) / norm,
    }[prediction]
    amplified = max(1, (1 - tau) / tau)
    assert torch.allclose(process.to_noise(output, noisy, time), noise, atol=1e-5 * amplified)
    velocity = process.to_velocity(output, noisy, time)
    assert torch.allclose(velocity, noise - clean, atol=1e-4 * max(1 / tau, 1 / (1 - tau)))


@given(st.integers(1, 999))
def test_the_error_of_the_noise_is_that_of_the_velocity_times_the_images_share(t: int) -> None:
    process, time = RectifiedFlow(), torch.tensor([t])
    clean, noise, wrong = latents(1, 1, 2, 3, 3), latents(2, 1, 2, 3, 3), latents(3, 1, 2, 3, 3)
    predicted = process.to_noise(noise - clean + wrong, process.mix(clean, noise, time), time)
    error = (predicted - noise).square().mean()
    assert error.item() == pytest.approx(((1 - t / 1000) * wrong).square().mean().item(), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("steps", [0, 1, 1.5, "many", True, 10**9])
def test_a_schedule_without_sense_is_refused(steps: object) -> None:
    with pytest.raises(ModelError, match="num_train_timesteps"):
        rectified_flow({"num_train_timesteps": steps})


def test_rows_of_every_tensor_are_taken_together() -> None:
    both = Conditions(latents(0, 3, 2, 4), {"pooled": latents(1, 3, 5), "mask": torch.eye(3, 2).bool()})
    picked = both.take(torch.tensor([2, 0]))
    assert torch.equal(picked.more["pooled"], both.more["pooled"][[2, 0]])
    joined = Conditions.join([picked, both])
    assert len(joined) == 5 and torch.equal(joined.more["mask"][2:], both.more["mask"])
    assert [tensor.shape[0] for tensor in joined.tensors()] == [5, 5, 5]
