"""Text encoders leave before the network is loaded, and are not loaded at all for prompts that are kept on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import bigain_cli as bigain
from bigain_cli.backbones import text_encoders
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.distillation import DistilledWarning, warn_if_distilled
from bigain_cli.backbones.embedding_cache import EmbeddingCache
from bigain_cli.backbones.model_locations import ModelLocation, _unreachable
from bigain_cli.errors import ModelError, UsageError

PROMPTS = ["a cat", "a dog"]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all parts, in the order in which they are loaded."""
    names: list[str] = []
    network = DiffusersFolder.network

    def noted(folder: DiffusersFolder, part: str, *rest: Any) -> Any:
        names.append(part)
        return network(folder, part, *rest)

    monkeypatch.setattr(DiffusersFolder, "network", noted)
    return names


def open_sd3(families: dict[str, Path], cache: Path | None) -> Any:
    return bigain.load(str(families["sd3"]), "cpu", "float32", cache)


def noise(backbone: Any) -> torch.Tensor:
    conditions = backbone.condition(PROMPTS)
    return backbone.noise(torch.ones(2, *backbone.latent_shape), torch.tensor([5, 900]), conditions)


def test_at_most_one_encoder_is_in_memory_and_none_beside_the_network(
    families: dict[str, Path], loaded: list[str]
) -> None:
    backbone = open_sd3(families, None)
    assert loaded == ["vae"]
    backbone.condition(PROMPTS)
    assert loaded == ["vae", "text_encoder", "text_encoder_2", "text_encoder_3"]
    assert backbone.embedder._loaded[0] == "text_encoder_3"
    assert backbone.sites() is not None and loaded[-1] == "transformer"
    assert backbone.embedder._loaded is None
    backbone.condition([PROMPTS[1], ""])
    assert loaded[-1] == "transformer", "known prompts, and the empty one, need no encoder"
    backbone.condition(["a bird"])
    assert loaded[-1] == "text_encoder_3" and backbone.embedder._loaded is None


def test_of_many_prompts_only_the_last_ones_stay_in_memory(
    families: dict[str, Path], loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_encoders, "MOST_KEPT", 2)
    backbone, prompts = open_sd3(families, None), [f"a {word}" for word in ("cat", "dog", "bird", "ship", "frog")]
    whole = backbone.condition(prompts)
    assert {prompt for _, prompt in backbone.embedder._kept} == {*prompts, ""}
    loaded.clear()
    backbone.condition(["a frog"])
    backbone.condition(["a ship"])
    assert {prompt for _, prompt in backbone.embedder._kept} == {"a bird", "a frog", "a ship", ""} and not loaded
    backbone.condition(["a cat"])
    assert {prompt for _, prompt in backbone.embedder._kept} == {"a frog", "a ship", "a cat", ""} and loaded
    for one, other in zip(backbone.condition(prompts).tensors(), whole.tensors(), strict=True):
        assert torch.equal(one, other)


def test_prompts_are_embedded_before_the_network_comes_under_a_compression_too(
    families: dict[str, Path], loaded: list[str], images: Any
) -> None:
    options = bigain.MatchOptions(draws=1, compress="avg:2")
    list(bigain.match(open_sd3(families, None), images[:1], PROMPTS, options))
    assert loaded == ["vae", "text_encoder", "text_encoder_2", "text_encoder_3", "transformer"]


def test_kept_embeddings_are_those_of_the_encoders_to_the_bit(
    families: dict[str, Path], loaded: list[str], tmp_path: Path
) -> None:
    fresh, written = noise(open_sd3(families, None)), noise(open_sd3(families, tmp_path))
    loaded.clear()
    kept = noise(open_sd3(families, tmp_path))
    assert loaded == ["vae", "transformer"]
    assert torch.equal(fresh, written) and torch.equal(written, kept)


def test_an_embedding_does_not_depend_on_other_prompts(families: dict[str, Path]) -> None:
    alone = open_sd3(families, None).condition(PROMPTS[:1])
    among = open_sd3(families, None).condition([*PROMPTS, "a bird"])
    for one, other in zip(alone.tensors(), among.tensors(), strict=True):
        assert torch.equal(one[0], other[0])


def test_what_is_wrong_with_kept_embeddings_costs_time_only(families: dict[str, Path], tmp_path: Path) -> None:
    first = noise(open_sd3(families, tmp_path))
    for path in (tmp_path / "embeddings").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    assert torch.equal(noise(open_sd3(families, tmp_path)), first)
    for path in (tmp_path / "embeddings").rglob("*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-2] ^= 1  # of the last number
        path.write_bytes(content)
    assert torch.equal(noise(open_sd3(families, tmp_path)), first)
    unwritable = tmp_path / "file"
    unwritable.write_text("")
    assert torch.equal(noise(open_sd3(families, unwritable)), first)


def test_embeddings_belong_to_their_encoder_and_text(tmp_path: Path) -> None:
    one, other = (EmbeddingCache(tmp_path, lambda key=key: key) for key in ("one", "other"))
    one.write("cat", {"tokens": torch.ones(2)})
    assert other.read("cat") is None and one.read("dog") is None
    kept = one.read("cat")
    assert kept is not None and torch.equal(kept["tokens"], torch.ones(2))
    one.write("bird", {"tokens": torch.tensor([float("nan")])})
    assert one.read("bird") is None, "an overflow must not be kept"


def test_a_prompt_that_every_encoder_would_cut_is_refused(families: dict[str, Path]) -> None:
    long = "a cat " * 20
    with pytest.raises(UsageError, match="tokens; this text encoder reads 40"):
        bigain.load(str(families["sd3-without-t5"]), "cpu", "float32", None).condition([long])
    open_sd3(families, None).condition([long])  # T5 reads all of it


def test_kept_embeddings_of_a_cut_prompt_are_not_taken_for_the_whole(families: dict[str, Path], tmp_path: Path) -> None:
    long = "a cat " * 20
    open_sd3(families, tmp_path).condition([long])
    with pytest.raises(UsageError, match="tokens; this text encoder reads 40"):
        bigain.load(str(families["sd3-without-t5"]), "cpu", "float32", tmp_path).condition([long])


def test_a_tokenizer_without_a_length_makes_as_many_tokens_as_its_encoder_reads(
    families: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "flux"
    shutil.copytree(families["flux"], folder)
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 10**30}))
    found, usual = (bigain.load(str(each), "cpu", "float32", None) for each in (folder, families["flux"]))
    assert torch.equal(found.condition(PROMPTS).more["pooled"], usual.condition(PROMPTS).more["pooled"])


def test_a_folder_without_its_encoders_is_refused_at_once(families: dict[str, Path], tmp_path: Path) -> None:
    for part in families["flux"].iterdir():
        if part.name != "text_encoder_2":
            (tmp_path / part.name).symlink_to(part)
    with pytest.raises(ModelError, match="text_encoder_2: no such folder"):
        bigain.load(str(tmp_path), "cpu", "float32", None)


def test_a_model_that_changes_its_dtype_is_the_one_of_that_dtype(families: dict[str, Path]) -> None:
    changed = bigain.load(str(families["sdxl"]), "cpu", "bfloat16", None)
    coarse = noise(changed)
    assert coarse.dtype == torch.float32 and bool(coarse.isfinite().all())
    changed.to(torch.float32)
    fresh = bigain.load(str(families["sdxl"]), "cpu", "float32", None)
    assert torch.equal(changed.condition(PROMPTS).rows, fresh.condition(PROMPTS).rows), "embedded again, not widened"
    assert changed.dtype == torch.float32 == next(changed.network.parameters()).dtype


@pytest.mark.parametrize(("name", "distilled"), [("schnell", True), ("flux", True), ("chroma", False), ("sdxl", False)])
def test_a_distilled_model_is_known_by_its_files(
    name: str, distilled: bool, families: dict[str, Path], tmp_path: Path
) -> None:
    unnamed = tmp_path / "model"
    unnamed.symlink_to(families[name])
    backbone = bigain.load(str(unnamed), "cpu", "float32", None)
    assert bool(backbone.distilled) is distilled
    if distilled:
        with pytest.warns(DistilledWarning, match="classifies badly"):
            warn_if_distilled(backbone)


def test_a_gated_model_says_how_to_log_in() -> None:
    location = ModelLocation("sd3.5-medium", "hub", "stabilityai/stable-diffusion-3.5-medium")
    error = str(_unreachable(location, OSError("no")))
    assert "Accept its terms at https://huggingface.co/stabilityai/stable-diffusion-3.5-medium" in error
    assert "Accept its terms" not in str(_unreachable(ModelLocation("sd2", "hub", "x/y"), OSError("no")))


def test_a_network_that_takes_more_than_a_latent_is_refused(families: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "fill"
    shutil.copytree(families["flux"], folder)
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "in_channels": 96, "out_channels": 16}))
    with pytest.raises(ModelError, match="takes 96 channels and returns 16"):
        bigain.load(str(folder), "cpu", "float32", None)
