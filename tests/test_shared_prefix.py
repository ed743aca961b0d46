"""What no label enters runs once per draw: the same errors, the work that is predicted, wherever the text enters."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from flop_counting import counting_flops
from torch import Tensor

import bigain_cli as bigain
from bigain_cli.classification.classifier import Classification
from bigain_cli.classification.denoising import DenoisingErrors, ScoringJob, SharedComputation
from bigain_cli.compress import compressed, sites_of
from bigain_cli.compress.flops import flops_before_text, forward_flops
from bigain_cli.compress.patching import compressed_or_not
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.spec import parse
from bigain_cli.errors import UsageError
from bigain_cli.noise_draws import Draws

KINDS = ("epsilon", "late-text", "late-labels", "late-dit")
LATE = ("late-labels", "late-dit")
LABELS = ["tabby", "tench", "airliner"]
SPECS = ("none", "lgtm:0.5", "lgtm:0.5@levels=all", "tome:0.5@levels=all", "tome:0.5@levels=all@unshared",
         "abm:0.5@levels=all", "sito:0.5@levels=all", "todo:2@levels=all", "avg:2@levels=all", "iekvd:2@levels=all",
         "lgtm:0.5@levels=all@plan=per-label", "lgtm:0.5@levels=all@plan=per-label@share=level",
         "lgtm:0.4@levels=all+iekvd:2@levels=all")  # fmt: skip
VARIANTS = ("lgtm:0.5@levels=all@compat", "tome:0.5@levels=all@fixed", "lgtm:0.5@levels=all@gate=1",
            "lgtm:0.5@levels=all@mode=mlerp+mlp", "tome:0.5@levels=all@share=block+mlp+cross",
            "iekvd:2@0.8:1.2@levels=all")  # fmt: skip
COUNTED = ("none", "lgtm:0.5@levels=all@share=level", "lgtm:0.5@levels=all@share=level+mlp",
           "tome:0.5@levels=all@share=block", "tome:0.5@levels=all@unshared", "iekvd:2@levels=all",
           "lgtm:0.4@blocks=0+avg:2@levels=all")  # fmt: skip
EXACT = {"rtol": 1e-5, "atol": 1e-5}


def errors(backbone, spec: str, share: bool, batch: int, block, labels=LABELS) -> np.ndarray:
    generator = torch.Generator().manual_seed(1)
    job = ScoringJob(torch.randn(backbone.latent_shape, generator=generator), block, [0, 1, 2])
    with compressed_or_not(backbone, parse(spec).by_level()) as compression:
        shared = SharedComputation(backbone, share, compression)
        denoising = DenoisingErrors(backbone, backbone.condition(labels), False, batch, shared)
        denoising.batch = batch
        return denoising([job])[0]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [*itertools.product(KINDS, SPECS), *itertools.product(("epsilon", "late-labels", "late-dit"), VARIANTS)],
)
def test_sharing_the_prefix_changes_no_error(kind: str, spec: str, models) -> None:
    backbone = bigain.load(str(models[kind]), device="cpu")
    block = Draws(5, b"", backbone.latent_shape).block(0, 3)
    expected = errors(backbone, spec, False, 1, block)
    assert np.ptp(expected, axis=1).min() > 1e-7, "the labels must make a difference, or the test says nothing"
    for batch in (1, 7, 64):
        np.testing.assert_allclose(errors(backbone, spec, True, batch, block), expected, **EXACT)


@pytest.mark.parametrize("name", ["mini", "mini-late", "mini-dit"])
@pytest.mark.parametrize("spec", SPECS)
def test_sharing_the_prefix_changes_no_error_of_an_embedded_model(name: str, spec: str) -> None:
    backbone = bigain.load(name, device="cpu")
    block, labels = Draws(5, b"", backbone.latent_shape).block(0, 2), ["cat", "dog", "ship"]
    expected = errors(backbone, spec, False, 1, block, labels)
    assert np.ptp(expected, axis=1).min() > 1e-7, "the labels must make a difference, or the test says nothing"
    for batch in (1, 4, 7):
        np.testing.assert_allclose(errors(backbone, spec, True, batch, block, labels), expected, **EXACT)


@pytest.mark.parametrize("kind", [*KINDS, "pooled", "dit"])
@pytest.mark.parametrize("spec", COUNTED)
def test_the_work_of_an_image_is_what_its_record_says(kind: str, spec: str, models, images) -> None:
    backbone = bigain.load(str(models[kind]), device="cpu")
    with_plan = spec.startswith(("lgtm", "tome")) and "unshared" not in spec
    before_text = {"blocks=0": KINDS, "share=level": (*LATE, "late-text")}  # where all plans are made there
    in_prefix = any(part in spec and kind in kinds for part, kinds in before_text.items())
    check_work(backbone, spec, images, with_plan and not in_prefix)


@pytest.mark.parametrize("name", ["mini", "mini-late", "mini-dit"])
@pytest.mark.parametrize("spec", ["lgtm:0.7", "lgtm:0.7@blocks=0", "tome:0.5@levels=all@share=block", "avg:2"])
def test_the_work_of_an_embedded_model_is_what_its_record_says(name: str, spec: str, images) -> None:
    check_work(bigain.load(name, device="cpu"), spec, images, None, ["cat", "dog", "ship"])


def check_work(backbone, spec: str, images, planned: bool | None, labels=LABELS) -> None:
    rules = bigain.StoppingRules("fixed", draws=8)
    run = Classification(backbone, labels, rules=rules, compress=spec, batch=8)
    with counting_flops() as counted:
        ranking = next(result for result in run.rankings(images[:1]) if result.finished)
    record = ranking.to_dict()
    assert record["evaluations"] in (8 * 3, 8 * 4)
    if planned is not None:  # a pass of its own, which ends with the last plan
        assert record["evaluations"] == 8 * (3 + planned)
    work = counted.get_total_flops() - encoding_flops(backbone, images[0][1])
    if record["evaluations"] > 8 * 3:  # the empty prompt is encoded for the plans
        with counting_flops() as encoding:
            backbone.condition([""])
        work -= encoding.get_total_flops()
    assert record["gflop"] * 1e9 == pytest.approx(work, rel=1e-5)


def encoding_flops(backbone, image) -> int:
    with counting_flops() as counted, torch.inference_mode():
        backbone.encode(image)
    return counted.get_total_flops()


@pytest.mark.parametrize("kind", KINDS)
def test_the_predicted_prefix_is_what_is_run(kind: str, models) -> None:
    backbone = bigain.load(str(models[kind]), device="cpu")
    noisy, t = torch.zeros(1, *backbone.latent_shape), torch.tensor([500])
    with torch.inference_mode(), counting_flops() as counted:
        prefix = backbone.compute_prefix(noisy, t)
    before = counted.get_total_flops()
    conditions = backbone.condition(["tabby"])
    with torch.inference_mode(), counting_flops() as counted:
        backbone.noise(noisy, t, conditions, prefix)
    latent = Grid(*backbone.latent_shape[1:])
    whole = forward_flops(backbone.network, latent, conditions.text_tokens)
    assert (flops_before_text(backbone.network, latent), whole) == (before, before + counted.get_total_flops())
    assert (before > 0.5 * whole) == (kind in LATE)


def test_plans_made_before_the_text_cost_no_pass_of_their_own(models) -> None:
    backbone = bigain.load(str(models["late-labels"]), device="cpu")
    before_text = [site.place.before_text for site in sites_of(backbone)]
    assert before_text == [True] * 4 + [False], "one below, two above it, and the first of the last block"
    for spec, planned in (("lgtm:0.5@levels=all@share=level", 0), ("lgtm:0.5@levels=all@share=block", 1),
                          ("lgtm:0.5@blocks=0,1,2@share=block", 0)):  # fmt: skip
        with compressed(backbone, spec) as compression:
            assert SharedComputation(backbone, True, compression).plan_evaluations == planned, spec
            assert SharedComputation(backbone, False, compression).plan_evaluations == 1, spec


def test_a_transformer_shares_the_blocks_before_its_label(models) -> None:
    late, usual = (bigain.load(str(models[kind]), device="cpu") for kind in ("late-dit", "dit"))
    assert [site.place.before_text for site in sites_of(late)] == [True, True, False]
    assert not any(site.place.before_text for site in sites_of(usual))
    noisy, t = torch.zeros(2, *late.latent_shape), torch.tensor([500, 9])
    assert not usual.has_prefix and usual.compute_prefix(noisy, t) is None
    for spec, planned in (("lgtm:0.5@levels=all@share=level", 0), ("lgtm:0.5@levels=all@share=block", 1)):
        with compressed(late, spec) as compression:
            assert SharedComputation(late, True, compression).plan_evaluations == planned, spec


def test_a_transformer_that_reads_no_label_at_all_shares_nothing(models) -> None:
    network = bigain.load(str(models["late-dit"]), device="cpu").network
    torch.nn.init.zeros_(network.transformer_blocks[2].norm1.emb.class_embedder.embedding_table.weight)
    assert flops_before_text(network, Grid(8, 8)) == 0


def test_an_attention_by_itself_refuses_what_it_cannot_do(models) -> None:
    backbone = bigain.load(str(models["late-labels"]), device="cpu")
    with pytest.raises(UsageError, match="bias"), compressed(backbone, "lgtm:0.5@bias@levels=all"):
        pass
    assert not any(module._forward_pre_hooks for module in backbone.network.modules())


@pytest.mark.parametrize(
    "spec", ["lgtm:0.5@levels=all", "iekvd:2@1.2@levels=all", "tome:0.4@levels=all+avg:2@levels=all"]
)
def test_an_attention_by_itself_is_compressed_by_its_plan(spec: str, models) -> None:
    network = bigain.load(str(models["late-labels"]), device="cpu").network
    attention = network.down_blocks[1].attentions[0]
    seen: list[Tensor] = []
    attention.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    attention.register_forward_hook(lambda module, args, output: seen.append(output))
    text = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), compressed(network, spec) as compression, compression.observe() as observed:
        network(torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)), 500, encoder_hidden_states=text)
        plans = {next(t for t, o in compression.operators.items() if o is each.operator).merges: each.plan
                 for each in observed if each.site == "down_blocks.1.attentions.0"}  # fmt: skip
        x, output = (tensor.flatten(2).transpose(1, 2) for tensor in seen)
        normed = attention.group_norm(x.transpose(1, 2)).transpose(1, 2)
        merged = plans[True].query(normed) if True in plans else normed
        keys = plans[False].keys(normed) if False in plans else merged
    assert merged.shape[1] < 16 or keys.shape[1] < 16
    with torch.inference_mode():  # on a network that is as it was
        split = (attention.heads, attention.inner_dim // attention.heads)
        q, k, v = (each.unflatten(2, split).transpose(1, 2) for each in
                   (attention.to_q(merged), attention.to_k(keys), attention.to_v(keys)))  # fmt: skip
        mixed = ((q @ k.transpose(2, 3) / split[1] ** 0.5).softmax(3) @ v).transpose(1, 2).flatten(2)
        expected = attention.to_out[0](mixed)
        expected = plans[True].restore(expected) if True in plans else expected
    torch.testing.assert_close(output, expected + x, rtol=1e-5, atol=1e-5)
