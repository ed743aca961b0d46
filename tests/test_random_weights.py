"""Random weights: made once, in the wanted dtype, in range at any depth; and stubs of text encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel, PRXTransformer2DModel
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bigain_cli.backbones.loading import assemble
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.published_configs import PUBLISHED_CONFIGS
from bigain_cli.backbones.random_parameters import BLOCK, initialise
from bigain_cli.backbones.random_weights import RandomWeightsFolder
from bigain_cli.errors import ModelError, UsageError

CPU = torch.device("cpu")


def deep_prx(depth: int) -> PRXTransformer2DModel:
    with init_empty_weights():
        sizes = {"in_channels": 4, "context_in_dim": 12, "hidden_size": 32, "num_heads": 2, "axes_dim": [8, 8]}
        network = PRXTransformer2DModel(**sizes, depth=depth)
    return network.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_stay_in_range(dtype: torch.dtype) -> None:
    network = deep_prx(24)
    initialise(network, CPU, dtype)
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        output = network(x, torch.tensor([0.5, 0.9]), torch.ones(2, 3, 12, dtype=dtype)).sample
    assert output.dtype == dtype and output.isfinite().all() and 1e-3 < output.float().std() < 1e3


def test_weights_are_the_same_every_time_and_nothing_else_is_random() -> None:
    state = torch.get_rng_state()
    first, second = deep_prx(2), deep_prx(2)
    for network in (first, second):
        initialise(network, CPU, torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), state)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) and one.dtype == torch.bfloat16 for one, other in pairs)


def test_large_matrices_repeat_a_block_but_no_row() -> None:
    with init_empty_weights():
        layer = nn.Linear(1024, 2048)
    initialise(layer, CPU, torch.float32)
    flat = layer.weight.flatten()
    assert torch.equal(flat[:100], flat[BLOCK : BLOCK + 100])
    assert len(torch.unique(layer.weight[:, 0])) > 2000
    assert layer.weight.abs().max() <= 1 / 32 and layer.weight.std() == pytest.approx(1 / 32 / 3**0.5, rel=0.01)


def test_no_second_copy_of_the_weights_is_made() -> None:
    """The dtype is the given one from the start: a float32 copy would be twice a network's size."""
    with init_empty_weights():
        network = nn.Sequential(*[nn.Linear(512, 512) for _ in range(4)])
    made: list[torch.dtype] = []
    real = torch.empty

    def watched(*args: object, **options: object) -> torch.Tensor:
        made.append(options["dtype"])  # type: ignore[arg-type]
        return real(*args, **options)  # type: ignore[call-overload, no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", watched)
        initialise(network, CPU, torch.float16)
    assert made == [torch.float16] * 8


def folder(name: str) -> RandomWeightsFolder:
    configs = PUBLISHED_CONFIGS[name]
    return RandomWeightsFolder(name, Path(), CPU, torch.bfloat16, configs, {}, ModelCard())


PROJECTED, T5 = "transformers:CLIPTextModelWithProjection", "transformers:T5EncoderModel"


@pytest.mark.parametrize(
    ("name", "part", "kind", "length", "width", "pooled"),
    [
        ("sdxl", "text_encoder", "transformers:CLIPTextModel", 77, 768, None),
        ("sdxl", "text_encoder_2", PROJECTED, 77, 1280, 1280),
        ("sd3-medium", "text_encoder", PROJECTED, 77, 768, 768),
        ("sd3-medium", "text_encoder_3", T5, 256, 4096, None),
        ("flux-dev", "text_encoder_2", T5, 512, 4096, None),
        ("prx", "text_encoder", "transformers:T5GemmaEncoder", 256, 2304, None),
    ],
)
def test_stubs_speak_as_the_text_encoders_do(
    name: str, part: str, kind: str, length: int, width: int, pooled: int | None
) -> None:
    tokenizer, encoder = folder(name).text_encoder(part, kind, "transformers:AnyTokenizer", torch.bfloat16)
    if length == 77:
        assert tokenizer.model_max_length == 77
    row = tokenizer("a cat", padding="max_length", max_length=length, truncation=True)
    output = encoder(torch.tensor([row.input_ids]), attention_mask=torch.tensor([row.attention_mask]))
    tokens = output.hidden_states[-2]
    assert tokens.shape == (1, length, width) and tokens.dtype == torch.bfloat16
    assert output[0].shape == ((1, length, width) if pooled is None else (1, pooled))
    assert output.pooler_output.shape == (1, pooled or width)


@given(st.sampled_from(["sdxl", "pixart-sigma", "sd3.5-large", "flux-dev", "chroma", "prx"]), st.integers(0, 4000))
def test_sizes_come_in_steps_of_a_token(name: str, size: int) -> None:
    step = 8 if name == "sdxl" else 16
    if size and size % step == 0:
        configs = folder(name).for_size(size).configs
        assert configs["unet" if name == "sdxl" else "transformer"]["sample_size"] == size // 8
    else:
        with pytest.raises(UsageError, match=f"works in steps of {step} pixels"):
            folder(name).for_size(size)


@pytest.mark.parametrize(
    ("name", "latent", "rows"),
    [
        ("sdxl", (4, 128, 128), (2, 77, 2048)),
        ("sdxl-turbo", (4, 64, 64), (2, 77, 2048)),
        ("pixart-alpha", (4, 128, 128), (2, 120, 4096)),
        ("pixart-sigma", (4, 128, 128), (2, 300, 4096)),
        ("sd3.5-large", (16, 128, 128), (2, 333, 4096)),
        ("flux-schnell", (16, 128, 128), (2, 256, 4096)),
        ("chroma", (16, 128, 128), (2, 512, 4096)),
        ("prx", (16, 64, 64), (2, 256, 2304)),
        ("prx-256", (16, 32, 32), (2, 256, 2304)),
    ],
)
def test_published_shapes_become_backbones(name: str, latent: tuple[int, ...], rows: tuple[int, ...]) -> None:
    """Their networks are made when they are needed, which is not here."""
    configs = PUBLISHED_CONFIGS[name]
    index = configs.get("model_index", {})
    backbone = assemble(RandomWeightsFolder(name, Path(), CPU, torch.bfloat16, configs, index, ModelCard()))
    conditions = backbone.condition(["a cat", "a dog"])
    assert backbone.latent_shape == latent and conditions.rows.shape == rows
    assert conditions.rows.dtype == torch.bfloat16


def test_a_part_without_a_configuration_is_missed() -> None:
    folder("sdxl").check("unet", "text_encoder", "text_encoder_2")
    with pytest.raises(ModelError, match=r"sdxl/text_encoder_3: no configuration of it"):
        folder("sdxl").check("text_encoder_3")


def test_a_network_is_made_without_what_is_not_its_own() -> None:
    parts = RandomWeightsFolder(
        "tiny",
        Path(),
        CPU,
        torch.bfloat16,
        {"transformer": {"_class_name": "FluxTransformer2DModel", "sample_size": 16, **TINY}},
        {},
        ModelCard(),
    )
    network = parts.network("transformer", FluxTransformer2DModel)
    assert {each.dtype for each in network.parameters()} == {torch.bfloat16}
    assert not network.training and not any(each.requires_grad for each in network.parameters())
    assert (network.transformer_blocks[0].attn.norm_q.weight == 1).all()


TINY = {
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "pooled_projection_dim": 10,
    "axes_dims_rope": (2, 2, 4),
}
