"""The laws of compression on SDXL, SD3, FLUX, Chroma and PRX: what is touched, what is left, what a row depends on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from compress_nets import latents, times, unet
from diffusers import FluxTransformer2DModel
from flop_counting import counting_flops
from joint_nets import FLUX, JOINT, NEWER, TEXT, chroma, flux, image_ids, pack, pooled, prx, run_flux, sd3, texts
from torch import Tensor, nn

from bigain_cli.compress import apply, compressed, sites_of
from bigain_cli.errors import ModelError, UsageError

SPECS = ["lgtm:0.5@mode=mlerp+mlp", "tome:0.5@share=level", "sito:0.4+iekvd:2@0.8:1.2", "abm:0.5+mlp+todo:3"]
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")


def footprint(network: nn.Module) -> list[Any]:
    """Return everything about a network that hooks or another processor would change."""
    hooks = [len(getattr(module, name)) for module in network.modules() for name in HOOKS]
    processors = [getattr(module, "processor", None) for module in network.modules()]
    return [hooks, processors, [set(vars(module)) for module in network.modules()]]


def size_for(kind: str) -> tuple[int, int]:
    return (16, 12) if kind == "sdxl" else (8, 12)


@pytest.mark.parametrize("kind", NEWER)
def test_what_is_changed_is_left_as_it_was(kind: str) -> None:
    make, run = NEWER[kind]
    network, x = make(), latents(2, *size_for(kind))
    plain, before = run(network, x), footprint(network)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    for spec in SPECS:
        with compressed(network, spec):
            inside = run(network, x)
            assert inside.shape == plain.shape and inside.isfinite().all() and not torch.equal(inside, plain)
            assert torch.equal(run(network, x), inside)
        assert footprint(network) == before
    assert torch.equal(run(network, x), plain)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("kind", NEWER)
def test_what_asks_for_nothing_changes_no_bit(kind: str) -> None:
    make, run = NEWER[kind]
    network, x = make(), latents(2, *size_for(kind))
    for nothing, alone in (("lgtm:0+mlp+iekvd:2", "iekvd:2"), ("iekvd:1+lgtm:0.5", "lgtm:0.5")):
        with compressed(network, nothing):
            mixed = run(network, x)
        with compressed(network, alone):
            assert torch.equal(run(network, x), mixed)
    plain = run(network, x)
    with compressed(network, "none"):
        assert torch.equal(run(network, x), plain)


@pytest.mark.parametrize("kind", JOINT)
def test_a_break_leaves_the_network_as_it_was(kind: str) -> None:
    make, run = JOINT[kind]
    network, x = make(), latents(1)
    plain, before = run(network, x), footprint(network)

    def trip(*_: Any) -> None:
        raise KeyboardInterrupt

    last = sites_of(network)[-1].attention.norm_k
    last = last if last is not None else sites_of(network)[-1].attention.to_v
    with pytest.raises(KeyboardInterrupt), compressed(network, "lgtm:0.5+mlp+iekvd:2"):
        tripwire = last.register_forward_hook(trip)
        try:
            run(network, x)
        finally:
            tripwire.remove()
    assert footprint(network) == before
    assert torch.equal(run(network, x), plain)


@pytest.mark.parametrize("kind", NEWER)
@pytest.mark.parametrize("spec", [SPECS[0], SPECS[2]])
def test_rows_do_not_know_their_batch(kind: str, spec: str) -> None:
    make, run = NEWER[kind]
    network, x, t = make(), latents(4, *size_for(kind)), times(4)
    seeds, order = torch.arange(4) * 77, torch.tensor([3, 0])
    with compressed(network, spec) as compression:
        with compression.seeds(seeds):
            whole = run(network, x, t)
        for rows in (order, order[:1]):
            with compression.seeds(seeds[rows]):
                torch.testing.assert_close(run(network, x[rows], t[rows]), whole[rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", NEWER)
@pytest.mark.parametrize("spec", ["lgtm:0.5+mlp", "tome:0.5@share=level"])
def test_all_labels_share_the_plans_of_one_pass(kind: str, spec: str) -> None:
    """Plans of the empty prompt serve every label, in any order; a replay matches nothing."""
    make, run = NEWER[kind]
    network, x, t = make(), latents(1, *size_for(kind)), times(1)
    with compressed(network, spec) as compression:
        with compression.record() as plans, compression.only_plans():
            run(network, x, t, 0)
        assert plans.keys() == compression.shared_plans
        with compression.replay(plans, torch.tensor([0])):
            alone = [run(network, x, t, text) for text in (5, 6)]
            with counting_flops() as counted:
                again = [run(network, x, t, text) for text in (6, 5)][::-1]
        report = compression.report()
    assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True)) and not torch.equal(*alone)
    assert counted.get_total_flops() == 2 * (report.flops_after - report.matching)
    assert report.matching > 0


@pytest.mark.parametrize("kind", NEWER)
def test_predicted_operations_are_those_that_torch_counts(kind: str) -> None:
    make, run = NEWER[kind]
    network, size = make(), size_for(kind)
    for spec in ("none", SPECS[0], SPECS[3]):
        with compressed(network, spec) as compression, counting_flops() as counted:
            run(network, latents(1, *size))
        report = compression.report(size, context=TEXT)
        assert report.flops_after == counted.get_total_flops(), spec
        assert report.saved > 0 or spec == "none"


@pytest.mark.parametrize("kind", NEWER)
@pytest.mark.parametrize(
    "spec", ["lgtm:0.5", "lgtm:0.5+mlp", "tome:0.5@share=level", "sito:0.4@blocks=0", "abm:0.5+todo:2"]
)
def test_a_pass_that_only_makes_plans_takes_what_is_predicted(kind: str, spec: str) -> None:
    make, run = NEWER[kind]
    network, size = make(), size_for(kind)
    with compressed(network, spec) as compression:
        with counting_flops() as counted, compression.record(), compression.only_plans():
            run(network, latents(1, *size), times(1), 0)
        report = compression.report(size, context=TEXT)
    assert counted.get_total_flops() == report.planning < report.flops_after


@pytest.mark.parametrize("size", [(6, 14), (10, 6), (2, 12)])
@pytest.mark.parametrize("kind", JOINT)
def test_odd_and_oblong_grids(kind: str, size: tuple[int, int]) -> None:
    make, run = JOINT[kind]
    if kind.startswith("sd3") and max(size) > 12:
        size = (6, 10)  # its table of positions ends there
    network, x = make(), latents(2, *size)
    with compressed(network, "lgtm:0.4+mlp+iekvd:2") as compression:
        assert run(network, x).isfinite().all()
        assert {site.grid for site in compression.report().sites} == {(size[0] // 2, size[1] // 2)}


@pytest.mark.parametrize("make", [flux, chroma])
def test_text_tokens_are_never_touched(make: Callable[[], Any]) -> None:
    """The text's own layers see all of its tokens, and in a single block it stays in front."""
    network, seen = make(), []
    layers = [block.ff_context for block in network.transformer_blocks]
    for block in network.single_transformer_blocks:
        layers += [block.attn.to_q, block.proj_mlp]
    for layer in layers:
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    with compressed(network, "lgtm:0.5"):
        run_flux(network, latents(1))
    # proj_mlp runs before the attention, on all tokens; of 16 image tokens 8 remain
    assert seen == [TEXT] * 2 + [TEXT + 16, TEXT + 8] * 2


def test_flux_reads_its_grid_from_the_ids() -> None:
    network, x = flux(), latents(1, 12, 8)
    with compressed(network, "lgtm:0.5") as compression:
        assert compression.report().latent == (128, 128)
        for side in (x, x.transpose(2, 3)):
            run_flux(network, side)
            assert compression.report().latent == side.shape[2:]
        ids, words = torch.cat([image_ids(6, 4)] * 2), {"txt_ids": torch.zeros(TEXT, 3)}  # as with a reference image
        tokens = torch.cat([pack(x)] * 2, 1)
        rest = {"encoder_hidden_states": texts(1), "pooled_projections": pooled(1), "timestep": times(1) / 1000}
        with pytest.raises(ModelError, match="48 image tokens, and the last one is at row 6 and column 4"):
            network(tokens, img_ids=ids, **words, **rest)


def test_ids_that_cannot_be_read_take_the_size_that_is_named() -> None:
    """As in a graph that is being compiled, or without memory."""
    with torch.device("meta"):
        network = FluxTransformer2DModel(**FLUX, pooled_projection_dim=10)
    x = latents(1, 8, 12)
    with compressed(network, "lgtm:0.5", latent=(8, 12)) as compression:
        run_without_memory(network, x)
        assert compression.report().latent == (8, 12)
    why = "it has 24 tokens, not those of a latent of 128x128. A compiled network cannot read its grid: apply"
    with compressed(network, "lgtm:0.5"), pytest.raises(ModelError, match=re.escape(why)):
        run_without_memory(network, x)


def run_without_memory(network: Any, x: Tensor) -> Tensor:
    words = {"encoder_hidden_states": texts(1), "pooled_projections": pooled(1), "timestep": times(1) / 1000}
    ids = {"img_ids": image_ids(x.shape[2] // 2, x.shape[3] // 2), "txt_ids": torch.zeros(TEXT, 3)}
    arguments = {"hidden_states": pack(x), **words, **ids}
    return network(**{name: value.to("meta") for name, value in arguments.items()}).sample


def test_time_from_0_to_1_runs_a_schedule_of_alpha() -> None:
    for kind in ("flux", "prx", "sd3"):
        make, run = JOINT[kind]
        network, x = make(), latents(1)
        with compressed(network, "iekvd:2@0:1", steps=500):
            scheduled = run(network, x, torch.tensor([250.0]))
        alpha = 0.5 if kind == "sd3" else 0.75  # SD3's t is up to the number of steps; the others' is t of 1000
        with compressed(network, f"iekvd:2@{alpha}"):
            torch.testing.assert_close(run(network, x, torch.tensor([250.0])), scheduled, rtol=1e-4, atol=1e-4)


def test_chroma_leaves_masked_text_alone() -> None:
    """What the mask hides changes nothing, merged and pooled; and a mask of ones is none."""
    network, x = chroma(), latents(1)
    mask = torch.arange(TEXT + 16)[None] < TEXT - 2
    mask = mask | (torch.arange(TEXT + 16)[None] >= TEXT)
    for spec in ("lgtm:0.5", "iekvd:2", "lgtm:0.5@bias+mlp"):
        with compressed(network, spec):
            masked = run_flux(network, x, attention_mask=mask)
            torch.testing.assert_close(
                run_flux(network, x, attention_mask=torch.ones_like(mask)), run_flux(network, x), rtol=1e-4, atol=1e-4
            )
        assert not torch.allclose(masked, run_flux(network, x, attention_mask=mask), rtol=1e-2, atol=1e-2)
        assert masked.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    for kind in ("sd3.5", "flux", "prx"):
        make, _ = JOINT[kind]
        network, x = make().to(dtype), latents(2).to(dtype)
        for spec in ("lgtm:0.5+mlp", "iekvd:2@0.8:1.2"):
            with compressed(network, spec):
                assert run_in(kind, network, x).dtype == dtype


def run_in(kind: str, network: nn.Module, x: Tensor) -> Tensor:
    words, t = {"encoder_hidden_states": texts(2).to(x.dtype)}, times(2) / 1000
    if kind == "prx":
        return network(x, timestep=t, **words).sample
    words |= {"pooled_projections": pooled(2).to(x.dtype)}
    if kind == "sd3.5":
        return network(x, timestep=times(2), **words).sample
    guidance = torch.ones(2, dtype=x.dtype)
    ids = {"img_ids": image_ids(4, 4), "txt_ids": torch.zeros(TEXT, 3), "guidance": guidance}
    return network(pack(x), timestep=t.to(x.dtype), **words, **ids).sample


class Adapted(nn.Linear):
    """Stands for a layer that a LoRA or a quantisation has replaced."""


class IPAdapter:
    """Stands for an attention processor with other inputs."""


def with_processor(network: Any) -> Any:
    sites_of(network)[0].attention.processor = IPAdapter()
    return network


def adapted_prx() -> Any:
    network = prx()
    attention = network.blocks[1].attention
    attention.img_qkv_proj = Adapted(16, 48, bias=False)
    return network


REFUSED: list[tuple[str, Callable[[], Any], str, str]] = [
    ("bias in sd3", sd3, "lgtm:0.5@bias", "is added to the attention's logits, and JointTransformerBlock takes no"),
    ("bias in prx", prx, "lgtm:0.5@bias", "is added to the attention's logits, and PRXBlock takes no addition"),
    (
        "image prompts",
        lambda: with_processor(flux()),
        "lgtm:0.5",
        "its attention runs through IPAdapter. Only FluxAttn",
    ),
    ("of sd3", lambda: with_processor(sd3()), "iekvd:2", "its attention runs through IPAdapter. Only JointAttn"),
    ("of prx", lambda: with_processor(prx()), "iekvd:2", "its attention runs through IPAdapter. Only PRXAttn"),
    ("adapted", adapted_prx, "iekvd:2", "its projection is a Adapted, so keys cannot be pooled. Merge tokens"),
    ("no block", flux, "lgtm:0.5@blocks=4", "there is no block 4 for 'lgtm'. This network has blocks 0 to 3."),
]


@pytest.mark.parametrize(("make", "spec", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refusals_name_the_way_out(make: Callable[[], Any], spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply(make(), spec)
    assert message in str(caught.value)


@pytest.mark.parametrize("make", [unet, sd3, flux, chroma])
def test_fused_projections_are_refused_until_they_are_unfused(make: Callable[[], Any]) -> None:
    network = make()
    network.fuse_qkv_projections()
    with pytest.raises(ModelError, match=r"are fused\. Call unfuse_qkv_projections\(\) first\."):
        apply(network, "iekvd:2")
    network.unfuse_qkv_projections()
    apply(network, "iekvd:2").remove()
