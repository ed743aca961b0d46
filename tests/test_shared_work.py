"""Compression while classifying: one plan per draw, the same results whatever the batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import bigain_cli as bigain
from bigain_cli.classification import classifier
from bigain_cli.classification.classifier import Classification
from bigain_cli.classification.denoising import DenoisingErrors, ScoringJob, SharedComputation
from bigain_cli.compress import compressed
from bigain_cli.errors import UsageError
from bigain_cli.images import digest
from bigain_cli.noise_draws import Draws

LABELS = ["tabby", "tench", "airliner"]
SPECS = [
    "lgtm:0.5",
    "lgtm:0.5@share=block",
    "lgtm:0.5@plan=per-label",
    "lgtm:0.6@levels=all+mlp+cross",
    "tome:0.5",
    "abm:0.5",
    "iekvd:2@0.8:1.2",
    "lgtm:0.4+iekvd:2@0.9",
]
DIT_SPECS = ["lgtm:0.5@levels=all", "tome:0.5@levels=all+mlp", "iekvd:2@levels=all"]
CASES = [("epsilon", spec) for spec in SPECS] + [("dit", spec) for spec in DIT_SPECS]
RULES = bigain.StoppingRules("fixed", draws=4)


def scores(result) -> dict[str, float]:
    return {label.label: label.score for label in result.ranked}


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_batch_size_and_order_change_no_label_and_no_score(kind: str, spec: str, models, images) -> None:
    backbone = bigain.load(str(models[kind]), device="cpu")
    runs = []
    for batch, order, turn, share in ((1, 1, 1, True), (7, -1, 1, True), (64, 1, -1, True), (8, -1, -1, False)):
        stream = bigain.classify(
            backbone, images[:3][::turn], LABELS[::order], rules=RULES, batch=batch, compress=spec, share_prefix=share
        )
        runs.append({result.id: result for result in stream})
    for run in runs[1:]:
        for name, result in run.items():
            assert result.label == runs[0][name].label
            assert scores(result) == pytest.approx(scores(runs[0][name]), abs=1e-5)


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_compression_changes_scores_and_leaves_the_network_as_it_was(kind: str, spec: str, models, images) -> None:
    backbone = bigain.load(str(models[kind]), device="cpu")

    def run(compress: str) -> list[dict[str, float]]:
        return [scores(each) for each in bigain.classify(backbone, images[:2], LABELS, rules=RULES, compress=compress)]

    plain = run("none")
    changed = run(spec)
    assert all(
        abs(mine[label] - base[label]) > 1e-7 for mine, base in zip(changed, plain, strict=True) for label in LABELS
    )
    assert run("none") == plain
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in backbone.network.modules())


def test_a_stream_that_is_closed_leaves_the_network_as_it_was(models, images) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    stream = bigain.classify(backbone, images, LABELS, compress="lgtm:0.5")
    next(stream)
    assert any(module._forward_pre_hooks for module in backbone.network.modules())
    stream.close()
    assert not any(module._forward_pre_hooks for module in backbone.network.modules())


@pytest.mark.parametrize(
    "spec", ["lgtm:0.5@share=level", "lgtm:0.5@plan=per-label", "iekvd:2@0.9", "tome:0.5@plan=per-label"]
)
def test_errors_equal_a_plain_loop_over_a_compressed_network(spec: str, models, images) -> None:
    """The plan of a U-Net's first site is the same for every label, so sharing it must change nothing."""
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    conditions = backbone.condition(LABELS)
    latent = backbone.encode(images[0][1])
    block = Draws(0, digest(images[0][1]), backbone.latent_shape).block(0, 3)
    expected = np.empty((3, len(LABELS)))
    with torch.inference_mode(), compressed(backbone.network, spec) as compression:
        for draw in range(3):
            t, noise, seeds = block.t[draw : draw + 1], block.noise[draw : draw + 1], block.seeds[draw : draw + 1]
            noisy = backbone.mix(latent[None], noise, t)
            for label in range(len(LABELS)):
                with compression.seeds(seeds):
                    predicted = backbone.noise(noisy, t, conditions.take(torch.tensor([label])))
                expected[draw, label] = (predicted - noise).square().mean().item()
    with compressed(backbone, spec) as compression:
        shared_computation = SharedComputation(backbone, True, compression)
        assert shared_computation.plan_evaluations == 0
        denoising_errors = DenoisingErrors(backbone, conditions, False, 8, shared_computation)
        got = denoising_errors([ScoringJob(latent, block, [0, 1, 2])])[0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_a_pass_for_the_plan_is_counted_and_kept_within_the_budget(models, images) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")

    def evaluations(spec: str, **limits) -> int:
        rules = bigain.StoppingRules("fixed", draws=4, **limits)
        return next(bigain.classify(backbone, images[:1], LABELS, rules=rules, compress=spec)).evaluations

    assert evaluations("none") == evaluations("lgtm:0.5") == evaluations("iekvd:2") == 12
    assert evaluations("lgtm:0.5@share=block") == 16, "the blocks' plans come from a pass with the empty prompt"
    assert evaluations("lgtm:0.5@plan=per-label") == 12
    assert evaluations("lgtm:0.5@share=block", budget=10) == 8
    with pytest.raises(UsageError, match="takes 4 evaluations"):
        Classification(backbone, LABELS, rules=bigain.StoppingRules(budget=3), compress="lgtm:0.5@share=block")


def test_the_pass_for_the_plan_ends_with_the_last_plan(models, images) -> None:
    backbone = bigain.load(str(models["dit"]), device="cpu")
    rows = [0, 0, 0]
    for number, block in enumerate(backbone.network.transformer_blocks):
        block.attn1.to_out[0].register_forward_hook(
            lambda module, args, output, number=number: rows.__setitem__(number, rows[number] + len(output))
        )
    list(bigain.classify(backbone, images[:1], LABELS, rules=RULES, batch=4, compress="lgtm:0.5@blocks=1"))
    assert rows == [16, 12, 12], "four rows more before the plan, none after it"


def test_every_label_has_the_same_plan(models, images, monkeypatch) -> None:
    """Two labels with one prompt get one score: their plans are the same, random or not."""
    monkeypatch.setattr(classifier, "refuse_equal_labels", lambda *_: None)
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    labels = {"one": "a tabby", "two": "a tabby"}
    for spec in ("lgtm:0.5@share=block", "tome:0.5", "tome:0.5@levels=all+mlp"):
        result = scores(next(bigain.classify(backbone, images[:1], labels, rules=RULES, compress=spec, batch=1)))
        assert result["one"] == result["two"], spec
    unshared = bigain.classify(backbone, images[:1], labels, rules=RULES, compress="tome:0.5@unshared", batch=1)
    result = scores(next(unshared))
    assert result["one"] != result["two"]


def test_records_hold_the_compression(models, images) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    settings = next(bigain.classify(backbone, images[:1], LABELS, rules=RULES, compress="lgtm:0.5")).settings
    assert settings["compress"] == "lgtm:0.5@share=level", "the choice of sharing is recorded"
    about = settings["compression"]
    assert about["tokens"] == [[64, 32, 32]] and 0 < about["sites"] < about["of"]
    assert about["gflop"][1] <= about["gflop"][0] and 0 < about["saved"] < 1
    plain = next(bigain.classify(backbone, images[:1], LABELS, rules=RULES)).settings
    assert plain["compress"] == "none" and "compression" not in plain
    assert plain["fingerprint"] != settings["fingerprint"]


def test_less_compression_than_given_is_a_warning(models, images) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    with pytest.warns(UserWarning, match=r"lgtm: 48 of 64 tokens leave at 8x8, not 57: of each 2x2 one stays\."):
        list(bigain.classify(backbone, images[:1], LABELS, rules=RULES, compress="lgtm:0.9"))
    with pytest.warns(UserWarning, match=r"lgtm: 48 of 64 tokens leave at 8x8, not 57: of each 2x2 one stays\."):
        list(bigain.generate(backbone, "red", compress="lgtm:0.9", steps=1))


def test_what_cannot_be_compressed_is_an_error() -> None:
    with pytest.raises(UsageError, match="colours has no network"):
        Classification(bigain.load("colours"), ["red", "green"], compress="lgtm:0.5")
    with pytest.raises(UsageError, match="unknown operator 'lgmt'"):
        Classification(bigain.load("colours"), ["red", "green"], compress="lgmt:0.5")


def test_unshared_plans_depend_on_image_draw_and_label_alone(models, images) -> None:
    """So that a run can be resumed, and batches be of any size."""
    backbone = bigain.load(str(models["epsilon"]), device="cpu")

    def found(given: Any, **options: Any) -> dict[str, dict[str, float]]:
        results = bigain.classify(backbone, given, LABELS, rules=RULES, compress="tome:0.5@unshared", **options)
        return {result.id: scores(result) for result in results}

    together, alone, small = found(images[:3]), found(images[1:2]), found(images[:3], batch=1)
    name = images[1][0]
    assert together[name] == alone[name]
    assert together[name] == pytest.approx(small[name], abs=1e-5)
    assert in_order(found(images[2::-1])) == in_order(together)


def in_order(found: dict[str, Any]) -> list[Any]:
    return sorted((name, sorted(values.items())) for name, values in found.items())
