"""A single file in the original layout is the same model as the diffusers folder it was made from."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from bigain_cli import ModelError, load
from bigain_cli.backbones.single_file import rename
from bigain_cli.backbones.single_file_configs import PREFIXES, text_config, unet_config, vae_config

Tensors = dict[str, Tensor]
PROMPTS = ["a cat", "a small dog!", "seven airliners", ""]
EPSILON = {"modelspec.prediction_type": "epsilon", "modelspec.resolution": "16x16"}
RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "time_emb_proj.": "emb_layers.1.",
    "conv_shortcut.": "skip_connection.",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE = (
    (r"(mid_block\.resnets)\.0", "mid.block_1"),
    (r"(mid_block\.resnets)\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"down_blocks\.(\d+)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
    (r"group_norm", "norm"),
    (r"to_([qkv])\.", r"\1."),
    (r"to_out\.0", "proj_out"),
)
OPEN_CLIP = (
    (r"embeddings\.token_embedding", "token_embedding"),
    (r"embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"final_layer_norm", "ln_final"),
    (r"encoder\.layers", "transformer.resblocks"),
    (r"layer_norm(\d)", r"ln_\1"),
    (r"self_attn", "attn"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
)


# The way back: from diffusers' names to the original ones.


def original_unet(weights: Tensors, layers: int) -> Tensors:
    return {f"model.diffusion_model.{unet_name(key, layers)}": tensor for key, tensor in weights.items()}


def unet_name(key: str, layers: int) -> str:
    start, end = key.rsplit(".", 1)
    if start in ENDS:
        return f"{ENDS[start]}.{end}"
    block, *path = key.split(".")
    side = block.split("_")[0]
    if side == "mid":
        part, number, rest = path[0], int(path[1]), ".".join(path[2:])
        return f"middle_block.{2 * number if part == 'resnets' else 1}." + inner(part, rest)
    level, part, number, rest = int(path[0]), path[1], int(path[2]), ".".join(path[3:])
    if part == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.op.{end}"
    if part == "upsamplers":  # after the attention, or in its place: see `with_moved_upsamplers`
        return f"output_blocks.{(level + 1) * (layers + 1) - 1}.2.conv.{end}"
    position = level * (layers + 1) + number
    start = f"input_blocks.{position + 1}" if side == "down" else f"output_blocks.{position}"
    return f"{start}.{int(part == 'attentions')}." + inner(part, rest)


def inner(part: str, rest: str) -> str:
    for mine, theirs in RESNET.items() if part == "resnets" else ():
        rest = rest.replace(mine, theirs)
    return rest


def with_moved_upsamplers(unet: Tensors) -> Tensors:
    """Move the upsamplers of blocks without attention to their original place."""
    attended = {key.split(".1.")[0] for key in unet if ".1.norm." in key}
    return {
        key.replace(".2.conv.", ".1.conv.") if key.split(".2.conv.")[0] not in attended else key: tensor
        for key, tensor in unet.items()
    }


def original_vae(weights: Tensors, levels: int) -> Tensors:
    found = {}
    for key, tensor in weights.items():
        for pattern, name in VAE:
            key = re.sub(pattern, name, key)
        key = re.sub(r"up_blocks\.(\d+)", lambda match: f"up.{levels - 1 - int(match[1])}", key)
        key = key.replace(".resnets.", ".block.").replace(".upsamplers.0.", ".upsample.")
        if re.search(r"attn_1\.(q|k|v|proj_out)\.weight", key):
            tensor = tensor[:, :, None, None]
        found[f"first_stage_model.{key}"] = tensor
    return found


def original_clip(weights: Tensors) -> Tensors:
    found = {
        f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}": tensor
        for key, tensor in weights.items()
    }
    positions = found["cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"].shape[0]
    found["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(positions)[None]
    return found


def original_open_clip(weights: Tensors, last: bool = True) -> Tensors:
    """Rename, join query, key and value, and add the last block, which is not read."""
    found = {}
    for key, tensor in weights.items():
        key = key.removeprefix("text_model.")
        if "k_proj" in key or "v_proj" in key:
            continue
        if "q_proj" in key:
            names = [key.replace("q_proj", other) for other in ("k_proj", "v_proj")]
            rows = [tensor for end in names for name, tensor in weights.items() if name.endswith(end)]
            tensor, key = torch.cat([tensor, *rows]), key.replace("q_proj.", "in_proj_")
        for pattern, name in OPEN_CLIP:
            key = re.sub(pattern, name, key)
        found[f"cond_stage_model.model.{key}"] = tensor
    blocks = 1 + max(int(number) for key in found for number in re.findall(r"resblocks\.(\d+)", key))
    if last:
        extra = {key.replace("resblocks.0.", f"resblocks.{blocks}."): 9 * tensor for key, tensor in found.items()}
        width = found["cond_stage_model.model.positional_embedding"].shape[1]
        projection = torch.ones(width, width, device=tensor.device)
        ends = {"text_projection": projection, "logit_scale": projection[0, 0].clone()}
        found = extra | found | {f"cond_stage_model.model.{key}": value for key, value in ends.items()}
    return found


# Tiny models.


def networks(second: bool) -> dict[str, Any]:
    width, layers = (64, 1) if second else (32, 2)
    text = CLIPTextConfig(
        vocab_size=190,
        hidden_size=128,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=40,
        hidden_act="gelu" if second else "quick_gelu",
        bos_token_id=188,
        eos_token_id=189,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(width, 2 * width, 2 * width),
        layers_per_block=layers,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=(1, 2, 2) if second else 8,
        use_linear_projection=second,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=2,
    )
    return {"unet": unet, "vae": vae, "text_encoder": CLIPTextModel(text)}


def original(parts: dict[str, nn.Module], second: bool) -> Tensors:
    unet, vae, text = (parts[name].state_dict() for name in ("unet", "vae", "text_encoder"))
    config: Any = parts["unet"].config
    return {
        **with_moved_upsamplers(original_unet(unet, config.layers_per_block)),
        **original_vae(vae, len(parts["vae"].config.block_out_channels)),  # type: ignore[union-attr, arg-type]
        **(original_open_clip(text) if second else original_clip(text)),
    }


def save(folder: Path, second: bool) -> None:
    """Save a tiny model as a diffusers folder `folder/diffusers` and as a file `folder/model.safetensors`."""
    torch.manual_seed(int(second))
    parts = networks(second)
    for network in parts.values():
        for parameter in network.parameters():  # so that no two norms are alike
            parameter.data += 0.05 * torch.randn_like(parameter)
    tiny_models.save_stable_diffusion(folder / "diffusers")
    for part, network in parts.items():
        shutil.rmtree(folder / "diffusers" / part)
        network.save_pretrained(folder / "diffusers" / part)
    tokenizer = folder / "diffusers" / "tokenizer"
    shutil.copytree(tokenizer, folder / "tokenizer")
    if second:
        config = json.loads((tokenizer / "tokenizer_config.json").read_text())
        (tokenizer / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": "!"}))
    save_file(contiguous(original(parts, second)), folder / "model.safetensors", EPSILON)


def contiguous(tensors: Tensors) -> Tensors:
    return {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("single")
    for name in ("sd1", "sd2"):
        save(root / name, name == "sd2")
    return {name: root / name for name in ("sd1", "sd2")}


@pytest.fixture
def rewritten(saved, tmp_path) -> Callable[..., Path]:
    """Write a changed copy of a saved file under a new name, with the tokenizer beside it."""

    def write(kind: str, change=lambda tensors: tensors, notes=EPSILON, name: str = "model") -> Path:
        shutil.copytree(saved[kind] / "tokenizer", tmp_path / "tokenizer", dirs_exist_ok=True)
        path = tmp_path / f"{name}.safetensors"
        save_file(contiguous(change(load_file(saved[kind] / "model.safetensors"))), path, notes)
        return path

    return write


def outputs(backbone: Any) -> list[Tensor]:
    clean = backbone.encode(Image.radial_gradient("L").resize((23, 31)).convert("RGB"))
    conditions = backbone.condition(PROMPTS)
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(len(PROMPTS), *backbone.latent_shape, generator=generator)
    with torch.no_grad():
        return [clean, conditions.rows, backbone.noise(noisy, torch.tensor([3, 400, 700, 999]), conditions)]


# The same model.


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_a_single_file_is_the_same_model_as_its_folder(kind: str, saved) -> None:
    single = load(str(saved[kind] / "model.safetensors"), device="cpu")
    folder = load(str(saved[kind] / "diffusers"), device="cpu")
    assert single.latent_shape == folder.latent_shape and single.timestep_range == folder.timestep_range
    networks = {
        "network": lambda b: b.network,
        "vae": lambda b: b.codec.vae,
        "text": lambda b: b.prompt_encoder.text_encoder,
    }
    for network in networks.values():
        mine, theirs = network(single).state_dict(), network(folder).state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    for mine, theirs in zip(outputs(single), outputs(folder), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
    clean, rows, noise = outputs(single)
    assert clean.std() > 1e-3 and (rows[0] - rows[1]).abs().max() > 1e-3
    other = single.noise(torch.zeros_like(noise), torch.tensor([9] * 4), single.condition(PROMPTS))
    assert (other[0] - other[1]).abs().max() > 1e-4, "the text must matter, or the test says nothing"


def test_the_two_generations_fill_up_prompts_differently(saved) -> None:
    for kind, pad in (("sd1", 189), ("sd2", 0)):
        tokenizer: Any = load(str(saved[kind] / "model.safetensors"), device="cpu").prompt_encoder.tokenizer  # type: ignore[attr-defined]
        assert tokenizer("a", padding="max_length", max_length=5).input_ids[-2:] == [pad, pad]


def test_the_moving_average_is_ignored(rewritten, saved) -> None:
    def with_average(tensors: Tensors) -> Tensors:
        plain = {key.removeprefix("model.").replace(".", ""): key for key in tensors if key.startswith("model.")}
        return tensors | {f"model_ema.{flat}": 0 * tensors[key] for flat, key in plain.items()}

    single = load(str(rewritten("sd1", with_average)), device="cpu")
    for mine, theirs in zip(outputs(single), outputs(load(str(saved["sd1"] / "diffusers"), device="cpu")), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_older_and_trimmed_layouts_of_the_text_encoder_are_read(rewritten, saved) -> None:
    def trimmed(tensors: Tensors) -> Tensors:
        unread = ("resblocks.3.", "text_projection", "logit_scale")
        return {key: tensor for key, tensor in tensors.items() if not any(name in key for name in unread)}

    def flat(tensors: Tensors) -> Tensors:
        return {key.replace(".text_model.", "."): tensor for key, tensor in tensors.items()}

    for kind, change in (("sd1", flat), ("sd2", trimmed)):
        single = load(str(rewritten(kind, change)), device="cpu")
        folder = load(str(saved[kind] / "diffusers"), device="cpu")
        assert torch.equal(single.condition(PROMPTS).rows, folder.condition(PROMPTS).rows)


def test_half_precision_files_compute_in_the_given_dtype(rewritten) -> None:
    path = rewritten("sd1", lambda tensors: {key: tensor.half() for key, tensor in tensors.items()})
    backbone: Any = load(str(path), device="cpu")
    kinds = {tensor.dtype for tensor in backbone.network.state_dict().values()}
    assert kinds == {torch.float32} and backbone.encode(Image.new("RGB", (9, 9))).isfinite().all()
    assert load(str(path), device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_identity_follows_weights_and_notes(rewritten, saved, tmp_path: Path) -> None:
    def identity(**changes: Any) -> str:
        return load(str(rewritten("sd1", **changes)), device="cpu").identity

    published = saved["sd1"] / "model.safetensors"
    copied = shutil.copytree(saved["sd1"], tmp_path / "copied") / "model.safetensors"
    names = [load(str(path), device="cpu").identity for path in (published, published, copied)]
    names += [
        identity(notes=EPSILON | {"modelspec.prediction_type": "v"}),
        identity(change=lambda tensors: {key: 2 * tensor for key, tensor in tensors.items()}),
    ]
    assert names[0] == names[1] == names[2]
    assert len(set(names)) == 3


# Full size, shapes only.

UNETS = {
    False: {"cross_attention_dim": 768, "attention_head_dim": 8, "use_linear_projection": False},
    True: {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
}
TEXTS = {
    False: {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "intermediate_size": 3072},
    True: {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 23, "intermediate_size": 4096},
}


@pytest.mark.parametrize("second", [False, True])
def test_the_published_architectures_are_read_from_their_shapes(second: bool) -> None:
    text = {**TEXTS[second], "hidden_act": "gelu" if second else "quick_gelu", "max_position_embeddings": 77}
    with torch.device("meta"):
        parts = {
            "unet": UNet2DConditionModel(**UNETS[second]),  # diffusers' other defaults are Stable Diffusion's
            "vae": AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
            ),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**text)),
        }
        tensors = original(parts, second)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    readers = {
        "unet": (unet_config, "model.diffusion_model."),
        "vae": (vae_config, "first_stage_model."),
        "text_encoder": (text_config, "cond_stage_model." if second else "cond_stage_model.transformer.text_model."),
    }
    for part, (reader, prefix) in readers.items():
        read = reader({key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)})
        true: Any = parts[part].config
        for key, value in read.items():
            expected = getattr(true, key)
            if key == "transformer_layers_per_block":
                expected = [expected] * 4
            if key in ("projection_dim", "bos_token_id", "eos_token_id"):
                continue
            assert value == (list(expected) if isinstance(expected, tuple) else expected), key
    for part, prefix in PREFIXES.items():
        weights = rename(part, {key: x for key, x in tensors.items() if key.startswith(prefix)}, parts[part])
        true = parts[part].state_dict()
        assert {key: x.shape for key, x in weights.items()} == {key: x.shape for key, x in true.items()}
    assert shapes["model.diffusion_model.output_blocks.2.1.conv.weight"] == (1280, 1280, 3, 3)
    assert shapes["model.diffusion_model.output_blocks.5.2.conv.weight"] == (1280, 1280, 3, 3)


# What shapes do not show.

GUESSES = [
    ("sd1", "v1-5-pruned-emaonly", "epsilon", 64, "Stable Diffusion 1.x"),
    ("sd1", "photo_768", "epsilon", 64, "Stable Diffusion 1.x"),
    ("sd1", "fluffy_vpred", "v_prediction", 64, "file name says v-prediction"),
    ("sd2", "mine", "epsilon", 64, "base model"),
    ("sd2", "512-base-ema", "epsilon", 64, "512 or base"),
    ("sd2", "v2-1_768-ema-pruned", "v_prediction", 96, "768"),
    ("sd2", "other-v-pred-512", "v_prediction", 64, "v-prediction"),
    ("sd2", "photo1768", "epsilon", 64, "base model"),
    ("sd2", "768-epsilon", "epsilon", 96, "epsilon"),
]


@pytest.mark.parametrize(("kind", "name", "prediction", "size", "reason"), GUESSES)
def test_a_guess_is_made_by_name_with_a_warning(kind, name, prediction, size, reason, rewritten) -> None:
    path = rewritten(kind, notes=None, name=name)
    with pytest.warns(UserWarning, match=reason) as record:
        backbone: Any = load(str(path), device="cpu")
    assert backbone.process.prediction == prediction and backbone.latent_shape == (4, size, size)
    (warning,) = record
    text = str(warning.message)
    assert path.name in text and f"assumed {prediction} at {2 * size}×{2 * size} pixels" in text
    assert "diffusers folder" in text


def test_weights_of_a_768_model_are_recognised_by_their_spread(rewritten) -> None:
    def spread(tensors: Tensors) -> Tensors:
        last = "model.diffusion_model.output_blocks.5.1.transformer_blocks.0.norm1.bias"
        return tensors | {last: torch.linspace(-1, 1, len(tensors[last]))}

    with pytest.warns(UserWarning, match="weights look like"):
        backbone: Any = load(str(rewritten("sd2", spread, None)), device="cpu")
    assert backbone.process.prediction == "v_prediction"


@pytest.mark.parametrize(
    ("notes", "flag", "prediction", "shape"),
    [
        ({"modelspec.prediction_type": "v"}, None, "v_prediction", (4, 96, 96)),
        ({"modelspec.prediction_type": "epsilon"}, None, "epsilon", (4, 64, 64)),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, None, "v_prediction", (4, 96, 96)),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, None, "epsilon", (4, 64, 64)),
        (EPSILON | {"modelspec.resolution": "24x16"}, None, "epsilon", (4, 8, 12)),
        (EPSILON | {"modelspec.resolution": "17x16"}, None, "epsilon", (4, 64, 64)),
        (EPSILON | {"modelspec.resolution": "0x16"}, None, "epsilon", (4, 64, 64)),
        (EPSILON, "v_pred", "v_prediction", (4, 8, 8)),
    ],
)
def test_what_the_file_records_is_used_without_a_warning(notes, flag, prediction, shape, rewritten) -> None:
    extra = {flag: torch.zeros(0)} if flag else {}
    backbone: Any = load(str(rewritten("sd2", lambda tensors: tensors | extra, notes)), device="cpu")
    assert backbone.process.prediction == prediction and backbone.latent_shape == shape


def test_a_zero_terminal_signal_is_read_from_its_flag(rewritten) -> None:
    extra = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    backbone: Any = load(str(rewritten("sd1", lambda tensors: tensors | extra)), device="cpu")
    assert backbone.process.a[-1].item() == 0


# Refusals.


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load(str(path), device="cpu")
    assert caught.value.what and caught.value.why and caught.value.hint
    return str(caught.value)


OTHER_FILES = [
    ("lora_unet_down_blocks_0.lora_up.weight", "a LoRA"),
    ("unet.down_blocks.0.attn1.to_q.lora_A.weight", "a LoRA"),
    ("control_model.input_blocks.0.0.weight", "a ControlNet"),
    ("emb_params", "a textual inversion"),
    ("model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight", "Stable Diffusion 3"),
    ("double_blocks.0.img_attn.qkv.weight", "FLUX"),
    ("conditioner.embedders.1.model.ln_final.weight", "Stable Diffusion XL"),
    ("encoder.down.0.block.0.conv1.weight", "a VAE alone"),
    ("down_blocks.0.resnets.0.conv1.weight", "a U-Net alone"),
    ("input_blocks.0.0.weight", "a U-Net alone"),
    ("text_model.embeddings.token_embedding.weight", "a text encoder alone"),
    ("something.else", "no Stable Diffusion in this file (it holds something.else"),
]


@pytest.mark.parametrize(("key", "what"), OTHER_FILES)
def test_other_files_are_named(key: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({key: torch.zeros(1, 1)}, path)
    text = refusal(path)
    assert what in text and str(path) in text and "Supported: a whole Stable Diffusion 1.x or 2.x" in text


def test_a_file_out_of_a_diffusers_folder_points_to_the_folder(saved) -> None:
    text = refusal(saved["sd1"] / "diffusers" / "unet" / "diffusion_pytorch_model.safetensors")
    assert "a U-Net alone" in text and f"-m {(saved['sd1'] / 'diffusers').resolve()}" in text
    assert "a VAE alone" in refusal(saved["sd1"] / "diffusers" / "vae" / "diffusion_pytorch_model.safetensors")
    assert "a text encoder alone" in refusal(saved["sd1"] / "diffusers" / "text_encoder" / "model.safetensors")


def test_missing_parts_are_listed(rewritten) -> None:
    only = rewritten("sd1", lambda tensors: {key: x for key, x in tensors.items() if key.startswith("model.")})
    text = refusal(only)
    assert "only the U-Net" in text and "VAE (first_stage_model.*), text encoder (cond_stage_model.*)" in text
    no_text = rewritten("sd2", lambda tensors: {key: x for key, x in tensors.items() if "cond_stage" not in key})
    text = refusal(no_text)
    assert "only the U-Net and VAE" in text and "missing: text encoder" in text


@pytest.mark.parametrize(("channels", "what"), [(9, "an inpainting model"), (5, "depth"), (8, "image-editing")])
def test_models_with_more_inputs_are_refused(channels: int, what: str, rewritten) -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    assert what in refusal(rewritten("sd1", lambda tensors: tensors | {first: torch.zeros(32, channels, 3, 3)}))


@pytest.mark.parametrize(
    "key",
    [
        "model.diffusion_model.input_blocks.1.0.in_layers.0.bias",
        "model.diffusion_model.out.2.weight",
        "model.diffusion_model.middle_block.1.proj_in.weight",
        "first_stage_model.decoder.up.1.block.0.conv1.weight",
        "first_stage_model.encoder.conv_in.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.1.self_attn.q_proj.bias",
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
    ],
)
def test_a_missing_tensor_is_refused(key: str, rewritten) -> None:
    text = refusal(rewritten("sd1", lambda tensors: {name: x for name, x in tensors.items() if name != key}))
    assert "incomplete" in text or "1 weights are missing" in text


def test_a_missing_block_of_the_text_encoder_is_refused(rewritten) -> None:
    for key in (f"cond_stage_model.model.transformer.resblocks.{block}.mlp.c_fc.weight" for block in (1, 2)):
        text = refusal(
            rewritten("sd2", lambda tensors, key=key: {name: x for name, x in tensors.items() if name != key})
        )
        assert "weights are unknown (encoder.layers" in text or "weights are unknown (text_model.encoder.layers" in text


def test_unknown_and_misshapen_tensors_are_refused(rewritten) -> None:
    extra = {"model.diffusion_model.input_blocks.1.1.adapter.weight": torch.zeros(1)}
    assert "1 weights are unknown" in refusal(rewritten("sd1", lambda tensors: tensors | extra))
    key = "first_stage_model.decoder.conv_out.bias"
    assert "cannot be loaded" in refusal(rewritten("sd1", lambda tensors: tensors | {key: torch.zeros(7)}))


def test_parts_that_do_not_belong_together_are_refused(rewritten, saved) -> None:
    table = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    assert "the U-Net reads 128" in refusal(rewritten("sd1", lambda tensors: tensors | {table: torch.zeros(190, 64)}))
    assert "190 pieces" in refusal(rewritten("sd1", lambda tensors: tensors | {table: torch.zeros(191, 128)}))


@pytest.mark.parametrize("cut", [0, 5, 3000, -9])
def test_broken_files_are_refused(cut: int, saved, tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes((saved["sd1"] / "model.safetensors").read_bytes()[:cut])
    assert "not a safetensors file, or cut off" in refusal(path)


def test_a_missing_tokenizer_says_where_to_put_one(saved, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    shutil.copy(saved["sd1"] / "model.safetensors", tmp_path)
    text = refusal(tmp_path / "model.safetensors")
    assert "openai/clip-vit-large-patch14" in text and "vocab.json" in text and str(tmp_path / "tokenizer") in text


def test_the_tokenizer_is_found_in_the_local_cache(saved, tmp_path: Path, monkeypatch) -> None:
    shutil.copy(saved["sd1"] / "model.safetensors", tmp_path)
    requests = []

    def snapshot_download(name: str, **settings: Any) -> str:
        requests.append((name, settings.get("local_files_only", False)))
        return str(saved["sd1"] / "tokenizer")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    backbone = load(str(tmp_path / "model.safetensors"), device="cpu")
    folder = load(str(saved["sd1"] / "diffusers"), device="cpu")
    assert torch.equal(backbone.condition(PROMPTS).rows, folder.condition(PROMPTS).rows)
    assert requests == [("openai/clip-vit-large-patch14", True)]
