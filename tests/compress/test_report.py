"""Predicted arithmetic against what torch counts, on tiny networks and, without memory, on published sizes."""

from __future__ import annotations

import json

import pytest
import torch
from compress_nets import CONTEXT, NETWORKS, dit, latents, run_dit, run_unet, unet
from diffusers import DiTTransformer2DModel, UNet2DConditionModel
from flop_counting import counting_flops

from bigain_cli.compress import apply, compressed

SPECS = [
    "none",
    "lgtm:0.5",
    "lgtm:0.7@levels=all+mlp+cross",
    "tome:0.5@levels=all@share=level@fixed",
    "sito:0.5@stride=2x4+cross",
    "abm:0.5@levels=all@bias+mlp",
    "iekvd:3@levels=all",
    "lgtm:0.5+mlp+iekvd:2@0.8:1.2@levels=all",
]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("spec", SPECS)
def test_tiny_networks(kind: str, spec: str) -> None:
    make, run = NETWORKS[kind]
    network = make()
    for size in [(8, 8)] if kind == "dit" else [(8, 8), (12, 10)]:
        with compressed(network, spec) as compression, counting_flops() as counted:
            run(network, latents(1, *size))
        report = compression.report(size, context=CONTEXT)
        assert report.flops_after == counted.get_total_flops()
        assert (report.saved > 0) == (spec != "none")


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(
    "spec", [*SPECS, "lgtm:0.5@blocks=0", "tome:0.5@blocks=1,2@share=level", "abm:0.5@blocks=0+mlp"]
)
def test_a_pass_that_only_makes_plans_takes_what_is_predicted(kind: str, spec: str) -> None:
    make, run = NETWORKS[kind]
    network = make()
    with compressed(network, spec) as compression:
        with counting_flops() as counted, compression.record(), compression.only_plans():
            run(network, latents(1, 8, 8))
        report = compression.report((8, 8), context=CONTEXT)
    merges = bool(compression.shared_plans)
    assert report.planning == (counted.get_total_flops() if merges else 0)
    assert report.planning < report.flops_after


def test_a_plan_of_a_level_is_counted_beside_one_of_a_block() -> None:
    network = dit()
    with compressed(network, "lgtm:0.5@blocks=0+tome:0.5@blocks=1,2@share=level") as compression:
        with counting_flops() as counted:
            run_dit(network, latents(1, 8, 8))
        report = compression.report((8, 8), context=CONTEXT)
    assert report.flops_after == counted.get_total_flops()
    assert [site.matching > 0 for site in report.sites] == [True, True, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"use_linear_projection": True, "layers_per_block": 2},
        {"transformer_layers_per_block": 2, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
         "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")},
        {"downsample_padding": 0},
    ],
    ids=["linear", "deep", "unpadded"],
)  # fmt: skip
@pytest.mark.parametrize("size", [(8, 8), (9, 14)])
def test_other_unets(changes: dict[str, object], size: tuple[int, int]) -> None:
    network = unet(**changes)
    with compressed(network, "lgtm:0.5@levels=all") as compression, counting_flops() as counted:
        run_unet(network, latents(1, *size))
    assert compression.report(context=CONTEXT).flops_after == counted.get_total_flops()


def stable_diffusion_2() -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=64,
            in_channels=4,
            out_channels=4,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
        )


def dit_xl_2(pixels: int) -> DiTTransformer2DModel:
    with torch.device("meta"):
        return DiTTransformer2DModel(sample_size=pixels // 8)


SAVED = [
    ("lgtm:0.7", 0.124),
    ("lgtm:0.7@share=level", 0.1336),
    ("lgtm:0.5", 0.098),
    ("iekvd:2", 0.108),
    ("iekvd:4", 0.135),
]


def test_stable_diffusion_2_costs_what_is_published() -> None:
    network = stable_diffusion_2()
    assert apply(network, "none").report().flops_before == pytest.approx(804e9, rel=0.002)
    for spec, saved in SAVED:
        with compressed(network, spec) as compression:
            report = compression.report()
        assert report.saved == pytest.approx(saved, abs=0.0006)
        assert [site.grid for site in report.sites] == [(64, 64)] * 5
        assert report.blocks == 16


def test_dit_xl_2_costs_what_is_published() -> None:
    for pixels, flops in ((256, 237e9), (512, 1049e9)):
        assert apply(dit_xl_2(pixels), "none").report().flops_before == pytest.approx(flops, rel=0.002)


@pytest.mark.parametrize("spec", ["none", "lgtm:0.7", pytest.param("iekvd:4", marks=pytest.mark.slow)])
def test_stable_diffusion_2_is_counted_alike(spec: str) -> None:
    network = stable_diffusion_2()
    with compressed(network, spec) as compression, counting_flops() as counted, torch.device("meta"):
        network(torch.empty(1, 4, 64, 64), torch.empty(1), torch.empty(1, 77, 1024))
    assert compression.report((64, 64)).flops_after == pytest.approx(counted.get_total_flops(), rel=1e-6)


@pytest.mark.parametrize(
    ("pixels", "spec"),
    [
        (256, "lgtm:0.5+mlp"),
        pytest.param(256, "none", marks=pytest.mark.slow),
        pytest.param(512, "none", marks=pytest.mark.slow),
        pytest.param(512, "iekvd:2@levels=all", marks=pytest.mark.slow),
    ],
)
def test_dit_xl_2_is_counted_alike(pixels: int, spec: str) -> None:
    network, side = dit_xl_2(pixels), pixels // 8
    with compressed(network, spec) as compression, counting_flops() as counted, torch.device("meta"):
        network(torch.empty(1, 4, side, side), torch.empty(1), torch.empty(1, dtype=torch.int64))
    assert compression.report((side, side)).flops_after == pytest.approx(counted.get_total_flops(), rel=1e-6)


def test_the_table_and_the_record() -> None:
    network = unet()
    with compressed(network, "lgtm:0.5@blocks=0+iekvd:2") as compression:
        report = compression.report(context=5)
    lines = str(report).splitlines()
    assert lines[0].split() == ["site", "grid", "tokens", "keys", "GFLOP", "saved"]
    assert lines[1].split()[:6] == ["down_blocks.0.attentions.0.transformer_blocks.0", "8x8", "64", "->", "32", "64"]
    assert lines[-1].startswith("lgtm:0.5@blocks=0+iekvd:2@0.9 at 3 of 7 blocks of UNet2DConditionModel, latent 8x8: ")
    assert len(lines) == 5 and len({line.index("x8") for line in lines[1:4]}) == 1
    record = json.loads(json.dumps(report.to_dict()))
    assert record["compress"] == "lgtm:0.5@blocks=0+iekvd:2@0.9" and record["latent"] == [8, 8]
    assert record["flops_before"] - record["flops_after"] == sum(
        site["flops_before"] - site["flops_after"] for site in record["sites"]
    )
    assert record["matching"] == record["sites"][0]["matching"] == 2 * 48 * 16 * 16
    assert [(site["tokens"], site["queries"], site["keys"]) for site in record["sites"]] == [
        (64, 32, 16),
        (64, 64, 16),
        (64, 64, 16),
    ]


def test_a_shortfall_is_noted() -> None:
    with compressed(unet(), "lgtm:0.9") as compression:
        report = compression.report()
    assert report.notes == ("lgtm: 48 of 64 tokens leave at 8x8, not 57: of each 2x2 one stays.",)
    assert str(report).endswith(report.notes[0])
    with compressed(unet(), "lgtm:0.75") as compression:
        assert compression.report().notes == ()


def test_a_part_that_does_nothing_is_noted() -> None:
    from compress_nets import dit

    for network, noted in ((dit(), True), (unet(), False)):
        with compressed(network, "lgtm:0.5+cross") as compression:
            notes = compression.report().notes
        assert notes == ("lgtm: '+cross' does nothing on this model: it has no cross-attention.",) * noted


def test_the_report_follows_the_last_size() -> None:
    network = unet()
    with compressed(network, "lgtm:0.5") as compression:
        assert compression.report().latent == (8, 8)
        run_unet(network, latents(1, 12, 10))
        assert compression.report().latent == (12, 10)
        assert [site.grid for site in compression.report((16, 8)).sites] == [(16, 8)] * 3


def test_a_dit_counts_its_patches() -> None:
    from compress_nets import dit

    network = dit(size=16)
    with compressed(network, "lgtm:0.5") as compression:
        run_dit(network, latents(1, 16, 16))
        assert [site.grid for site in compression.report().sites] == [(8, 8)] * 2
