from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from compress_nets import NETWORKS, dit, dit_pipeline, latents, run_dit, run_unet, stable_diffusion, times, unet
from torch import Tensor, nn

from bigain_cli.compress import apply, compressed, parse, sites_of
from bigain_cli.compress.patching import operator
from bigain_cli.compress.plan import Grid, PlanRows
from bigain_cli.errors import ModelError, UsageError

SPECS = [
    "lgtm:0.5@levels=all",
    "lgtm:0.7@levels=all@mode=mlerp@gate=0.3+mlp+cross",
    "tome:0.5@levels=all@bias+mlp",
    "sito:0.5@levels=all+cross",
    "abm:0.6@levels=all+mlp",
    "iekvd:2@0.8:1.2@levels=all",
    "todo:2@levels=all",
    "lgtm:0.5@levels=all@share=level+avg:2@levels=all",
]
CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")


def hooks_of(network: nn.Module) -> list[int]:
    return [len(getattr(module, name)) for module in network.modules() for name in HOOKS]


def footprint(network: nn.Module) -> dict[str, set[str]]:
    return {name: set(vars(module)) for name, module in network.named_modules()}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("spec", SPECS)
def test_a_network_is_changed_and_left_as_it_was(kind: str, spec: str) -> None:
    make, run = NETWORKS[kind]
    network, x = make(), latents(2)
    plain, marks, weights = run(network, x), footprint(network), {k: v.clone() for k, v in network.state_dict().items()}
    with compressed(network, spec) as compression:
        inside = run(network, x)
        assert inside.shape == plain.shape and not torch.equal(inside, plain)
        assert torch.equal(run(network, x), inside)
        assert footprint(network) == marks
    assert torch.equal(run(network, x), plain)
    assert hooks_of(network) == [0] * len(hooks_of(network))
    assert footprint(network) == marks
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())
    compression.remove()


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
def test_a_network_is_left_as_it_was_after_a_break(problem: type[BaseException]) -> None:
    network, x = unet(), latents(1)
    plain = run_unet(network, x)

    def trip(module: nn.Module, args: tuple[Any, ...]) -> None:
        raise problem

    with pytest.raises(problem), compressed(network, "lgtm:0.5+mlp"):
        tripwire = network.up_blocks[1].attentions[0].transformer_blocks[0].attn2.register_forward_pre_hook(trip)
        try:
            run_unet(network, x)
        finally:
            tripwire.remove()
    assert hooks_of(network) == [0] * len(hooks_of(network))
    assert torch.equal(run_unet(network, x), plain)


def test_a_break_inside_a_forward_does_no_harm_to_the_next() -> None:
    network, x = unet(), latents(1)
    with compressed(network, "lgtm:0.5@share=level@levels=all+mlp"):
        inside = run_unet(network, x)
        block = network.up_blocks[1].attentions[0].transformer_blocks[0]
        tripwire = block.attn2.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_unet(network, latents(1, seed=9))
        tripwire.remove()
        assert torch.equal(run_unet(network, x), inside)


@pytest.mark.parametrize("size", [(8, 8), (10, 14), (9, 7), (5, 12)])
@pytest.mark.parametrize("spec", ["lgtm:0.5@levels=all+mlp", "iekvd:2@levels=all", "abm:0.5@levels=all"])
def test_odd_and_oblong_grids(size: tuple[int, int], spec: str) -> None:
    network, x = unet(), latents(2, *size)
    plain = run_unet(network, x)
    with compressed(network, spec):
        inside = run_unet(network, x)
    assert inside.shape == plain.shape and not torch.equal(inside, plain)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("spec", SPECS)
def test_rows_do_not_know_their_batch(kind: str, spec: str) -> None:
    make, run = NETWORKS[kind]
    network, x, t = make(), latents(5), times(5)
    with compressed(network, spec) as compression:
        seeds = torch.arange(5) * 77
        with compression.seeds(seeds):
            whole = run(network, x, t)
        order = torch.tensor([3, 0, 4])
        with compression.seeds(seeds[order]):
            torch.testing.assert_close(run(network, x[order], t[order]), whole[order], rtol=1e-5, atol=1e-5)
        with compression.seeds(seeds[2:3]):
            torch.testing.assert_close(run(network, x[2:3], t[2:3]), whole[2:3], rtol=1e-5, atol=1e-5)


def by_hand(block: nn.Module, x: Tensor, text: Tensor, change: Callable[[str, Tensor], tuple[Tensor, Any]]) -> Tensor:
    """Run a text-conditioned block of a U-Net in its own steps, each part on changed tokens."""
    normed = block.norm1(x)
    shorter, restore = change("attn1", normed)
    x = x + restore(block.attn1(shorter))
    shorter, restore = change("attn2", block.norm2(x))
    x = x + restore(block.attn2(shorter, encoder_hidden_states=text))
    shorter, restore = change("ff", block.norm3(x))
    return x + restore(block.ff(shorter))


@pytest.mark.parametrize("places", ["", "+mlp", "+cross", "+mlp+cross"])
def test_a_block_does_what_the_paper_says(places: str) -> None:
    """Compared by the block's input; merged behind the norm; restored before the residual."""
    network = unet()
    host = network.down_blocks[0].attentions[0]
    block, seen = host.transformer_blocks[0], {}
    block.register_forward_pre_hook(lambda _, args, kwargs: seen.update(x=args[0], **kwargs), with_kwargs=True)
    block.register_forward_hook(lambda _, args, output: seen.update(out=output))
    term = parse(f"lgtm:0.5@blocks=0{places}").terms[0]
    with compressed(network, f"lgtm:0.5@blocks=0{places}"):
        run_unet(network, latents(2))
    rows = PlanRows(torch.zeros(2), torch.zeros(2, dtype=torch.int64), 1000, 0, torch.arange(2))
    plan = operator(term).plan(seen["x"], Grid(8, 8), rows)
    merged = {"attn1"} | ({"ff"} if "mlp" in places else set()) | ({"attn2"} if "cross" in places else set())

    def change(part: str, tokens: Tensor) -> tuple[Tensor, Any]:
        return (plan.query(tokens), plan.restore) if part in merged else (tokens, lambda y: y)

    assert torch.equal(seen["out"], by_hand(block, seen["x"], seen["encoder_hidden_states"], change))


def test_dit_compares_tokens_behind_the_modulated_norm() -> None:
    network, seen = dit(), {}
    block = network.transformer_blocks[1]
    block.attn1.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    with compressed(network, "lgtm:0.5@blocks=1") as compression, compression.record() as plans:
        run_dit(network, latents(2))
    rows = PlanRows(torch.zeros(2), torch.zeros(2, dtype=torch.int64), 1000, 1, torch.arange(2))
    expected = operator(parse("lgtm:0.5").terms[0]).plan(seen["x"], Grid(4, 4), rows)
    assert torch.equal(plans["transformer_blocks.1"].cluster, expected.cluster)


def attention_by_hand(attention: Any, x: Tensor, keys: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    q, k, v = (f(y).unflatten(-1, (attention.heads, -1)).transpose(1, 2) for f, y in
               ((attention.to_q, x), (attention.to_k, keys), (attention.to_v, keys)))  # fmt: skip
    weights = (q @ k.mT * q.shape[-1] ** -0.5 + bias).softmax(-1)
    return attention.to_out[0]((weights @ v).transpose(1, 2).flatten(2))


def test_proportional_attention_counts_every_merged_key() -> None:
    network, seen = unet(), {}
    attention = network.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    with compressed(network, "lgtm:0.5@bias@blocks=0") as compression, compression.record() as plans:
        attention.to_q.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
        attention.to_out[0].register_forward_hook(lambda _, args, output: seen.update(out=output))
        run_unet(network, latents(2))
    size = next(iter(plans.values())).size
    assert size.max() > 1
    x, found = seen["x"], seen["out"]  # by hand overwrites what was seen
    torch.testing.assert_close(
        found, attention_by_hand(attention, x, x, size.log()[:, None, None]), rtol=1e-4, atol=1e-5
    )
    assert (found - attention_by_hand(attention, x, x)).abs().max() > 1e-3


def test_queries_stay_where_keys_are_pooled() -> None:
    network, seen = unet(), {}
    attention = network.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    with compressed(network, "todo:2@blocks=0"):
        attention.to_q.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
        attention.to_out[0].register_forward_hook(lambda _, args, output: seen.update(out=output))
        run_unet(network, latents(2))
    x, found = seen["x"], seen["out"]  # by hand overwrites what was seen
    keys = x.unflatten(1, (8, 8))[:, 1::2, 1::2].flatten(1, 2)
    torch.testing.assert_close(found, attention_by_hand(attention, x, keys), rtol=1e-4, atol=1e-5)
    assert (found - attention_by_hand(attention, x, x)).abs().max() > 1e-3


def test_terms_compose() -> None:
    """Merged queries look at pooled keys; terms at different levels act each in its place."""
    network, x = unet(), latents(1)
    sizes: dict[str, tuple[int, int]] = {}
    for site in sites_of(network):

        def note(module: Any, args: Any, kwargs: Any, output: Tensor, name: str = site.name) -> None:
            keys = kwargs.get("encoder_hidden_states")
            q = kwargs["hidden_states"].shape[1] if not args else args[0].shape[1]
            sizes[name] = (q, keys.shape[1] if keys is not None else q)

        site.block.attn1.register_forward_hook(note, with_kwargs=True)
    with compressed(network, "lgtm:0.5+iekvd:2@levels=all") as compression:
        run_unet(network, x)
        touched = {site.name: (site.queries, site.keys) for site in compression.report().sites}
    assert touched == sizes
    assert set(sizes.values()) == {(32, 16), (16, 4)}


def test_what_asks_for_nothing_is_the_base_model_bit_for_bit() -> None:
    network, x = unet(), latents(2)
    for nothing, alone in (("lgtm:0+iekvd:2", "iekvd:2"), ("iekvd:1+lgtm:0.5", "lgtm:0.5")):
        with compressed(network, nothing):
            mixed = run_unet(network, x)
        with compressed(network, alone):
            assert torch.equal(run_unet(network, x), mixed)
    plain = run_unet(network, x)
    with compressed(network, "none") as compression:
        assert torch.equal(run_unet(network, x), plain)
        assert compression.report().saved == 0 and not compression.report().sites


def test_both_pipelines() -> None:
    def generate(pipeline: Any, **options: Any) -> Any:
        return pipeline(
            **options, num_inference_steps=2, output_type="np", generator=torch.Generator().manual_seed(0)
        ).images

    text = torch.linspace(-1, 1, 80).view(1, 5, 16)
    unet_options = {"prompt_embeds": text, "negative_prompt_embeds": -text, "height": 16, "width": 24}
    for pipeline, options in (
        (stable_diffusion(), unet_options),
        (dit_pipeline(), {"class_labels": [2], "guidance_scale": 1.0}),
    ):
        plain = generate(pipeline, **options)
        for spec in ("lgtm:0.5", "tome:0.5", "iekvd:2@0.8:1.2"):
            with compressed(pipeline, spec):
                inside = generate(pipeline, **options)
                assert (inside == generate(pipeline, **options)).all()
            assert (inside != plain).any()
        assert (generate(pipeline, **options) == plain).all()


def test_a_pipelines_scheduler_knows_the_end_of_time() -> None:
    text = torch.linspace(-1, 1, 80).view(1, 5, 16)
    x, t = latents(1), torch.tensor([100])
    short, default = stable_diffusion(steps=200), stable_diffusion()
    with compressed(short, "iekvd:2@0:1"), compressed(default, "iekvd:2@0:1"):
        half, tenth = (run_unet(pipeline.unet, x, t, text) for pipeline in (short, default))
    with compressed(default.unet, "iekvd:2@0:1", steps=200):
        assert torch.equal(run_unet(default.unet, x, t, text), half)
    with compressed(default, "iekvd:2@0.5"):
        torch.testing.assert_close(run_unet(default.unet, x, t, text), half)
    assert not torch.allclose(half, tenth)


def test_integer_times_and_keywords() -> None:
    network, x = unet(), latents(2)
    text = torch.linspace(-1, 1, 80).view(1, 5, 16).expand(2, -1, -1)
    with compressed(network, "iekvd:2@0.8:1.2+tome:0.5"):
        expected = network(x, torch.tensor([40, 40]), text).sample
        assert torch.equal(network(x, 40, text).sample, expected)
        assert torch.equal(network(x, torch.tensor(40), text).sample, expected)
        assert torch.equal(network(sample=x, timestep=40, encoder_hidden_states=text).sample, expected)


def test_sites_run_in_order_with_their_levels() -> None:
    network, order = unet(8, (8, 16, 32)), []
    sites = sites_of(network)
    for site in sites:
        site.block.register_forward_pre_hook(lambda *_, name=site.name: order.append(name))
    run_unet(network, latents(1))
    assert order == [site.name for site in sites]
    assert [site.index for site in sites] == list(range(len(sites)))
    assert [site.level for site in sites] == [1, 2, 4, 4, 4, 4, 2, 2, 1, 1]
    assert [site.name.split(".")[0] for site in sites_of(dit())] == ["transformer_blocks"] * 3


def test_a_backbone_lists_its_sites() -> None:
    class Backbone:
        def __init__(self) -> None:
            self.network = unet()

        def sites(self) -> Any:
            return iter(sites_of(self.network))

    backbone, x = Backbone(), latents(1)
    with compressed(backbone, "lgtm:0.5"):
        inside = run_unet(backbone.network, x)
    with compressed(backbone.network, "lgtm:0.5"):
        assert torch.equal(run_unet(backbone.network, x), inside)


def test_attention_to_text_alone_is_no_site() -> None:
    sites = sites_of(unet(only_cross_attention=(True, False)))
    assert sites and all(site.grid(Grid(8, 8)) == (4, 4) for site in sites)


def test_levels_are_counted_from_the_finest_grid_with_attention() -> None:
    """As in SDXL, whose largest feature maps are convolved only."""
    bare = {"down_block_types": ("DownBlock2D", *[CROSS_DOWN] * 2), "up_block_types": (*[CROSS_UP] * 2, "UpBlock2D")}
    network = unet(8, (8, 16, 32), **bare)
    assert {site.level: site.grid(Grid(8, 8)) for site in sites_of(network)} == {1: (4, 4), 2: (2, 2)}
    with compressed(network, "lgtm:0.5") as compression:
        run_unet(network, latents(1))
        assert {site.grid for site in compression.report().sites} == {(4, 4)}


class Skipped(nn.Module):
    def forward(self, x: Tensor, **ignored: Any) -> Tensor:
        return torch.zeros_like(x)


def test_no_activation_outlives_its_forward() -> None:
    network, alive = unet(), []
    for site in sites_of(network):
        site.block.register_forward_pre_hook(lambda _, args: alive.append(weakref.ref(args[0])))
    with compressed(network, "lgtm:0.5@levels=all"):
        run_unet(network, latents(1))
        block = network.down_blocks[0].attentions[0].transformer_blocks[0]
        block._modules["attn1"], attention = Skipped(), block.attn1  # as when its output is known already
        run_unet(network, latents(1))
        block._modules["attn1"] = attention
        assert len(alive) == 14 and not any(x() is not None for x in alive)


def test_dit_takes_the_published_blocks() -> None:
    names = [int(site.name.split(".")[1]) for site in apply(dit(layers=14), "lgtm:0.5").report().sites]
    assert names == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]


def test_gradients_flow_and_checkpointing_repeats_the_same() -> None:
    network, x = unet().requires_grad_(True), latents(1)
    with torch.enable_grad(), compressed(network, "lgtm:0.5@levels=all@share=level+mlp+iekvd:2@levels=all"):
        run_unet(network, x).square().mean().backward()
        plain = {name: p.grad.clone() for name, p in network.named_parameters()}
        network.zero_grad()
        network.train()
        network.enable_gradient_checkpointing()
        run_unet(network, x).square().mean().backward()
    assert all(torch.isfinite(grad).all() and grad.abs().sum() > 0 for grad in plain.values())
    for name, p in network.named_parameters():
        torch.testing.assert_close(p.grad, plain[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    for kind in ("unet", "dit"):
        make, run = NETWORKS[kind]
        network, x = make(), latents(2)
        for spec in ("lgtm:0.5+mlp", "iekvd:2@0.8:1.2", "tome:0.5@bias"):
            with compressed(network, spec):
                exact = run(network, x)
            lower = make().to(dtype)
            with compressed(lower, spec):
                text = {"text": torch.linspace(-1, 1, 80, dtype=dtype).view(1, 5, 16)} if kind == "unet" else {}
                half = run(lower, x.to(dtype), **text)
            assert half.dtype == dtype
            assert (half.float() - exact).abs().mean() < 0.1 * exact.abs().mean()


REFUSED: list[tuple[str, Callable[[], Any], str, str]] = [
    (
        "moves nothing",
        unet,
        "lgtm:0",
        "compression 'lgtm:0': this spec does nothing on this model: it moves no token on a latent of 8x8. "
        "Ask for more, or write none for the uncompressed network.",
    ),
    (
        "ratio below one token",
        unet,
        "lgtm:0.01",
        "compression 'lgtm:0.01': this spec does nothing on this model: it moves no token on a latent of 8x8. "
        "Ask for more, or write none for the uncompressed network.",
    ),
    (
        "no such block",
        unet,
        "lgtm:0.5@blocks=0,7",
        "compression 'lgtm:0.5@blocks=0,7': there is no block 7 for 'lgtm'. This network has blocks 0 to 6.",
    ),
    (
        "no published block",
        lambda: dit(layers=1),
        "lgtm:0.5",
        "compression 'lgtm:0.5': this spec does nothing on this model: 'lgtm' touches no block. "
        "This network has 1 blocks: add @levels=all or @blocks=0.",
    ),
    (
        "two mergings at a block",
        dit,
        "lgtm:0.5+tome:0.5",
        "compression 'lgtm:0.5+tome:0.5': 'lgtm' and 'tome' would both merge at transformer_blocks.1. "
        "Give them different levels= or blocks=.",
    ),
    (
        "two poolings at a block",
        dit,
        "todo:2+avg:2",
        "compression 'todo:2+avg:2': 'todo' and 'avg' would both pool the keys at transformer_blocks.1. "
        "Give them different levels= or blocks=.",
    ),
    (
        "bias without merged keys",
        dit,
        "lgtm:0.5@bias+todo:2",
        "compression 'lgtm:0.5@bias+todo:2': '@bias' counts merged keys, but at transformer_blocks.1 'todo' makes the "
        "keys. Leave out '@bias', or give the terms different levels=.",
    ),
    (
        "not a network",
        lambda: object(),
        "lgtm:0.5",
        "model object: no network was found in it whose tokens lie on a grid. "
        "Give a U-Net, DiT, PixArt, SD3, FLUX, Chroma or PRX network of diffusers, a pipeline around one, "
        "or an object with sites().",
    ),
    (
        "wrapped by torch.compile",
        lambda: torch.compile(dit(), backend="eager"),
        "lgtm:0.5",
        "model OptimizedModule: it is compiled and would ignore its compression. Compress first, then compile.",
    ),
    (
        "no size",
        lambda: unet(size=None),  # type: ignore[arg-type]
        "lgtm:0.5",
        "model UNet2DConditionModel: its configuration names no sample_size. "
        "Name the latent's size: apply(…, latent=(64, 64)).",
    ),
]


@pytest.mark.parametrize(("make", "spec", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refusals_name_the_way_out(make: Callable[[], Any], spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply(make(), spec)
    assert str(caught.value) == message


def test_compiled_fused_and_compressed_networks_are_refused() -> None:
    inner = dit()
    inner.transformer_blocks[1].compile(backend="eager")
    with pytest.raises(ModelError, match="is compiled and would ignore"):
        apply(inner, "lgtm:0.5")
    pipeline = stable_diffusion()
    pipeline.unet = torch.compile(pipeline.unet, backend="eager")
    with pytest.raises(ModelError, match="is compiled and would ignore"):
        apply(pipeline, "lgtm:0.5")
    fused = unet()
    fused.fuse_qkv_projections()
    with pytest.raises(ModelError, match=r"are fused\. Call unfuse_qkv_projections\(\) first\."):
        apply(fused, "lgtm:0.5")
    network = unet()
    with compressed(network, "iekvd:2"), pytest.raises(UsageError, match=r"compressed already\. Remove that first"):
        apply(network, "lgtm:0.5")
    assert hooks_of(network) == [0] * len(hooks_of(network))
    apply(network, "lgtm:0.5").remove()


def test_a_spec_can_be_checked_against_a_given_size() -> None:
    with compressed(unet(size=None), "lgtm:0.5", latent=(8, 8)) as compression:  # type: ignore[arg-type]
        assert compression.report().latent == (8, 8)


def test_a_masked_self_attention_is_refused() -> None:
    network, x = unet(), latents(1)
    with compressed(network, "lgtm:0.5"), pytest.raises(ModelError, match="self-attention is masked"):
        network(x, 5, torch.zeros(1, 5, 16), attention_mask=torch.ones(1, 64))


def test_rows_and_seeds_must_fit() -> None:
    network = unet()
    seeds = torch.zeros(2, dtype=torch.int64)
    complaint = pytest.raises(UsageError, match=r"2 seeds: the batch has 3 rows\. Give one for each row\.")
    with compressed(network, "tome:0.5") as compression, compression.seeds(seeds), complaint:
        run_unet(network, latents(3))
