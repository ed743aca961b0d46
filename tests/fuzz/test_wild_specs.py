"""Wild compressions on tiny networks: what can be read is run, or refused in words; rankings are whole."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import bigain
import pytest
from fuzz_cases import check, generator
from PIL import Image

from bigain_cli.compress.operators import OPERATORS, OPTIONS

FAST, ALL = 40, 2_000
AMOUNTS = {"ratio": ("0", "0.3", "0.5", "0.75", "1", "1e-9"), "factor": ("1", "2", "3", "7", "64", "999999999")}
VALUES = {
    "mode": ("mean", "prune", "mlerp"),
    "gate": ("0", "0.5", "1e30", "1e-300"),
    "pad": ("zero", "replicate"),
    "pool": ("sum", "max"),
    "stride": ("1x1", "2x2", "1x4", "3x2", "64x1", "999999999x999999999"),
    "levels": ("1", "2", "4", "3", "all", "999999999"),
    "blocks": ("0", "1-3", "0,2", "9999", "0-9999"),
    "plan": ("shared", "per-label"),
    "share": ("block", "level"),
    "alpha": ("0.9", "0", "1.2", "-3", "0.8:1.2", "1e300", "1e300:-1e300"),
}
IMAGE = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
LABELS = {"pixels": ["cat", "small dog"], "dit": ["tench", "tabby"]}


def wild_spec(dice: Random) -> str:
    """Return a spec of one to three terms, each by the grammar."""
    terms = []
    for name in dice.choices(list(OPERATORS), k=dice.choice([1, 1, 2, 3])):
        info = OPERATORS[name]
        words = [
            f"{name}:{dice.choice(AMOUNTS[info.amount])}",
            *dice.sample(info.variants, dice.randrange(2) * bool(info.variants)),
        ]
        for key in dice.sample(info.options, min(len(info.options), dice.choice([0, 1, 1, 2]))):
            value = dice.choice(VALUES.get(key, ("",)))
            words.append(f"{key}={value}" if key in OPTIONS else value or key)
        terms.append("@".join(words) + ("+mlp" if info.amount == "ratio" and dice.random() < 0.2 else ""))
    return "+".join(terms)


def run_case(number: int, networks: dict[str, Any]) -> str:
    """Classify an image under a wild spec."""
    dice = generator("specs", number)
    spec, kind = wild_spec(dice), dice.choice(["pixels", "dit"])

    def classify() -> None:
        rules = bigain.StoppingRules(draws=2)
        for result in bigain.classify(networks[kind], IMAGE, LABELS[kind], rules=rules, compress=spec):
            result.to_dict()

    try:
        return check(classify)
    except Exception as problem:
        raise AssertionError(f"{spec} on {kind}") from problem


@pytest.fixture(scope="module")
def networks(models: dict[str, Path]) -> dict[str, Any]:
    return {kind: bigain.load(str(models[kind]), device="cpu") for kind in LABELS}


@pytest.mark.filterwarnings("ignore")
def test_some_wild_specs(networks: dict[str, Any]) -> None:
    assert {run_case(number, networks) for number in range(FAST)} == {"accepted", "refused"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(10))
def test_wild_specs(part: int, networks: dict[str, Any]) -> None:
    for number in range(FAST + part, ALL, 10):
        run_case(number, networks)
