"""One plan for all labels: recorded once, replayed for any rows."""

from __future__ import annotations

import pytest
import torch
from compress_nets import NETWORKS, latents, run_unet, times, unet
from flop_counting import counting_flops
from torch import Tensor, nn

from bigain_cli.compress import compressed
from bigain_cli.compress.plan import MergePlan
from bigain_cli.errors import ModelError

SPECS = ["lgtm:0.5@levels=all+mlp", "tome:0.5@levels=all", "sito:0.5@levels=all", "abm:0.5@levels=all+iekvd:2@0.8:1.2"]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("spec", SPECS)
def test_replaying_its_own_plans_changes_nothing(kind: str, spec: str) -> None:
    make, run = NETWORKS[kind]
    network, x, t = make(), latents(3), times(3)
    with compressed(network, spec) as compression:
        with compression.seeds(torch.tensor([5, 6, 7])), compression.record() as plans:
            recorded = run(network, x, t)
        rows = torch.tensor([2, 0, 2, 1])
        with compression.replay(plans, rows):
            replayed = run(network, x[rows], t[rows])
    torch.testing.assert_close(replayed, recorded[rows], rtol=1e-5, atol=1e-5)


def test_replayed_plans_are_the_ones_that_are_used() -> None:
    network, x, other = unet(), latents(2), latents(2, seed=8)
    with compressed(network, "lgtm:0.6") as compression:
        with compression.record() as plans:
            own = run_unet(network, x)
        with compression.record() as foreign:
            run_unet(network, other)
        kept = dict(foreign)
        run_unet(network, x)
        assert all(foreign[key] is plan for key, plan in kept.items()) and kept.keys() == plans.keys()
        with compression.replay(foreign, torch.arange(2)):
            replayed = run_unet(network, x)
        with compression.replay(plans, torch.arange(2)):
            assert torch.equal(run_unet(network, x), own)
        assert torch.equal(run_unet(network, x), own)
    assert not torch.equal(replayed, own)


def test_labels_share_a_plan_and_a_replay_plans_nothing() -> None:
    """Two prompts of one draw: other text, the same clusters; the arithmetic of matching is gone."""
    network, x = unet(), latents(1)
    text = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(4))
    both, t = x.expand(2, -1, -1, -1), times(1).expand(2)
    with compressed(network, "lgtm:0.5@levels=all") as compression:
        with compression.record() as plans:
            run_unet(network, x, times(1), text[:1])
        report = compression.report(context=5)
        with counting_flops() as counted, compression.replay(plans, torch.tensor([0, 0])):
            shared = run_unet(network, both, t, text)
        alone = torch.cat([run_unet(network, x, times(1), text[i : i + 1]) for i in (0, 1)])
    assert counted.get_total_flops() == 2 * (report.flops_after - report.matching)
    torch.testing.assert_close(shared[0], alone[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(shared[1], alone[1], rtol=1e-3, atol=1e-3)


def test_only_shared_terms_are_recorded() -> None:
    network, x = unet(), latents(1)
    for spec, count in (
        ("lgtm:0.5@levels=all", 7),
        ("lgtm:0.5", 3),
        ("lgtm:0.5@levels=all@share=level", 2),
        ("lgtm:0.5@plan=per-label", 0),
        ("tome:0.5@unshared", 0),
        ("iekvd:2", 0),
    ):
        with compressed(network, spec) as compression:
            with compression.record() as plans:
                inside = run_unet(network, x)
            with compression.replay(plans, torch.tensor([0])):
                again = run_unet(network, x)
        assert len(plans) == count, spec
        assert all(isinstance(plan, MergePlan) for plan in plans.values())
        assert torch.equal(inside, again) == (spec != "tome:0.5@unshared")


def test_a_level_follows_its_first_block() -> None:
    network, x = unet(), latents(2)
    with compressed(network, "lgtm:0.5@levels=all") as compression, compression.record() as each:
        run_unet(network, x)
    with compressed(network, "lgtm:0.5@levels=all@share=level+mlp") as compression, compression.record() as levels:
        shared = run_unet(network, x)
    full, half = levels.values()
    first = {1: "down_blocks.0.attentions.0.transformer_blocks.0", 2: "down_blocks.1.attentions.0.transformer_blocks.0"}
    assert torch.equal(full.cluster, each[first[1]].cluster)
    assert half.cluster.shape == (2, 16) and shared.isfinite().all()
    with compressed(network, "lgtm:0.5@levels=all+mlp"):
        assert not torch.equal(run_unet(network, x), shared)


def test_a_level_keeps_its_plan_where_the_first_attention_is_known_already() -> None:
    """As when what precedes any text is computed once for all labels."""
    network, x, known = unet(), latents(2), {}
    block = network.down_blocks[0].attentions[0].transformer_blocks[0]
    with compressed(network, "lgtm:0.5@share=level"):
        noted = block.attn1.register_forward_hook(lambda *seen: known.update(output=seen[2]))
        expected = run_unet(network, x)
        noted.remove()
        attention, block._modules["attn1"] = block.attn1, Known(known["output"])
        assert torch.equal(run_unet(network, x), expected)
        block._modules["attn1"] = attention


class Known(nn.Module):
    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, **ignored: object) -> Tensor:
        return self.output


def test_seeds_reach_the_operator_and_are_put_back() -> None:
    network, x = unet(), latents(1)
    with compressed(network, "tome:0.5") as compression:
        default = run_unet(network, x)
        with compression.seeds(torch.tensor([0])):
            assert torch.equal(run_unet(network, x), default)
        with compression.seeds(torch.tensor([1])):
            assert not torch.equal(run_unet(network, x), default)
        assert torch.equal(run_unet(network, x), default)


def test_unshared_randomness_is_new_every_time_but_repeats_from_the_start() -> None:
    network, x = unet(), latents(1).expand(2, -1, -1, -1)
    runs = []
    for _ in range(2):
        with compressed(network, "tome:0.5@unshared"):
            runs.append([run_unet(network, x, times(1).expand(2)) for _ in range(2)])
    (first, second), again = runs
    assert not torch.equal(first[0], first[1]) and not torch.equal(first, second)
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])


def test_global_randomness_is_left_alone() -> None:
    network, x = unet(), latents(1)
    for spec in ("tome:0.5", "tome:0.5@unshared"):
        state = torch.get_rng_state()
        with compressed(network, spec):
            run_unet(network, x)
        assert torch.equal(torch.get_rng_state(), state)


def test_a_plan_that_was_not_recorded_is_missed() -> None:
    network, x = unet(), latents(1)
    with compressed(network, "lgtm:0.5@blocks=0") as compression, compression.record() as plans:
        run_unet(network, x)
    missing = pytest.raises(ModelError, match=r"no plan was recorded for it\. Plans were recorded for down_blocks\.0")
    with (
        compressed(network, "lgtm:0.5@blocks=0-1") as compression,
        compression.replay(plans, torch.tensor([0])),
        missing,
    ):
        run_unet(network, x)
