"""One exact denoiser, given as ε, v, x or flow in the parametrisation of every family, ranks and scores the same.

And errors of the image or the velocity are those of the noise times their weights.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from oracle import mixture
from PIL import Image
from torch import Tensor

import bigain_cli as bigain
from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.chroma import Chroma
from bigain_cli.backbones.flux import Flux
from bigain_cli.backbones.gaussian_mixture import GaussianMixture
from bigain_cli.backbones.network_facts import NetworkFacts
from bigain_cli.backbones.noise_schedule import TO_NOISE, NoiseSchedule
from bigain_cli.backbones.pixart import PixArt
from bigain_cli.backbones.prx import PRX
from bigain_cli.backbones.rectified_flow import RectifiedFlow
from bigain_cli.backbones.sdxl import SDXL
from bigain_cli.backbones.stable_diffusion_3 import StableDiffusion3
from bigain_cli.backbones.text_network import TextNetwork
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.errors import UsageError

FACTS = {family.family: family.facts for family in (SDXL, PixArt, StableDiffusion3, PRX, Flux, Chroma)}
FACTS["reversed"] = NetworkFacts(prediction="flow", time_scale=1 / 1000, reversed_time=True, sign=-1.0)
RULES = StoppingRules("fixed", draws=16, times=(0.05, 0.95))
LABELS = [f"class {number}" for number in range(6)]


class ExactNetwork(TextNetwork):
    """A closed form that speaks as a family's networks do: what it is given is undone, what it returns is converted."""

    def __init__(self, model: GaussianMixture, process: NoiseSchedule | RectifiedFlow, facts: NetworkFacts) -> None:
        self.model, self.process, self.facts = model, process, facts
        self.name, self.timesteps, self._dtype = "exact", len(process), torch.float32

    def _combine(self, prompt: str, found: object) -> dict[str, Tensor]:
        raise NotImplementedError

    def _forward(self, latents: Tensor, time: Tensor, conditions: Conditions, grid: tuple[int, int]) -> Tensor:
        t = time / self.facts.time_scale
        t = self.timesteps - t if self.facts.reversed_time else t
        noisy = replace(self.facts, sign=1.0).unpack(latents, torch.Size((len(latents), 3, *grid)))
        a, s = self.process.at(t.round().long())
        clean = self.model._expected_clean(noisy, a, s, conditions.rows)
        noise, norm = (noisy - a * clean) / s, (a.square() + s.square()).sqrt()
        output = {
            "epsilon": noise,
            "v_prediction": (a * noise - s * clean) / norm,
            "sample": clean,
            "flow": noise - clean,
        }[self.process.prediction]
        return self.facts.pack(output) * self.facts.sign


@dataclass(repr=False)
class Speaking(GaussianMixture):
    """The mixture, asked through a family's parametrisation."""

    facts: NetworkFacts = NetworkFacts()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.facts.prediction == "flow":
            self.flow, self.timestep_range = True, (1, 1000)
            self._process = RectifiedFlow(1000, self.prediction)  # type: ignore[assignment]
        self.network = ExactNetwork(self, self._process, self.facts)

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: None = None) -> Tensor:
        return self.network.noise(noisy, t, conditions)


def speaking(facts: NetworkFacts, prediction: str) -> Speaking:
    plain = mixture(len(LABELS), per_class=1, spread=0.3, prediction=prediction)
    fields = {each.name: getattr(plain, each.name) for each in dataclasses.fields(GaussianMixture)}
    return Speaking(**fields, facts=facts)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8))


def ranked(model: GaussianMixture, rules: StoppingRules = RULES) -> dict[str, float]:
    result = next(iter(bigain.classify(model, [picture()], LABELS, rules=rules)))
    assert isinstance(result, bigain.Ranking)
    return {each.label: each.score for each in result.ranked}


@pytest.mark.parametrize("name", FACTS)
def test_every_prediction_ranks_and_scores_the_same(name: str) -> None:
    found = [ranked(speaking(FACTS[name], prediction)) for prediction in TO_NOISE]
    assert np.ptp(list(found[0].values())) > 1e-3, "the labels must make a difference, or the test says nothing"
    for other in found[1:]:
        assert list(other) == list(found[0])
        np.testing.assert_allclose(list(other.values()), list(found[0].values()), atol=1e-5)


def test_families_of_one_process_score_the_same() -> None:
    found = [ranked(speaking(FACTS[name], "flow")) for name in ("sd3", "prx", "flux", "chroma", "reversed")]
    for other in found[1:]:
        np.testing.assert_allclose([other[label] for label in LABELS], [found[0][label] for label in LABELS], atol=1e-5)


@pytest.mark.parametrize(
    ("error_in", "weight"), [("sample", lambda tau: tau / (1 - tau)), ("velocity", lambda tau: 1 / (1 - tau))]
)
def test_errors_are_those_of_the_noise_times_their_weight(error_in: str, weight: object) -> None:
    model = speaking(FACTS["flux"], "flow")
    for time in (0.25, 0.5, 0.9):  # at one time, one weight
        rules = replace(RULES, times=(time, time + 1e-4))
        plain, weighed = ranked(model, rules), ranked(model, replace(rules, error_in=error_in))
        assert list(plain) == list(weighed)
        expected = [score * weight(time) ** 2 for score in plain.values()]  # type: ignore[operator]
        np.testing.assert_allclose(list(weighed.values()), expected, rtol=1e-4)


def test_times_and_the_kind_of_error_stand_in_the_record_and_in_the_fingerprint() -> None:
    model, seen = speaking(FACTS["flux"], "flow"), []
    for rules in (
        StoppingRules("fixed", draws=8),
        replace(RULES, draws=8),
        StoppingRules("fixed", draws=8, error_in="sample"),
    ):
        settings = next(iter(bigain.classify(model, [picture()], LABELS, rules=rules))).settings
        seen.append(settings)
    assert "times" not in seen[0] and "error_in" not in seen[0]
    assert seen[1]["times"] == [0.05, 0.95] and seen[2]["error_in"] == "sample"
    assert len({each["fingerprint"] for each in seen}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": (0.9, 0.5)}, "must rise"),
        ({"times": (-0.1, 0.5)}, "must rise"),
        ({"times": (0.1, 0.5), "schedule": "staged"}, "times of its own"),
        ({"error_in": "mood"}, "--error-in mood"),
    ],
)
def test_times_and_errors_without_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        StoppingRules(**options)
