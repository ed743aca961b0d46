"""A model is what its folder holds, to the byte, and nothing that the folder points to."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import bigain
import pytest
import torch
from safetensors.torch import load_file, save_file

from bigain_cli.backbones import file_digests, folder_checks
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.file_digests import FileDigests, digest_of
from bigain_cli.backbones.load_errors import run_errors
from bigain_cli.backbones.model_locations import is_present, resolve
from bigain_cli.cli.cache_folder import cache_folder
from bigain_cli.compress.forward_state import PlansComplete
from bigain_cli.errors import ModelError

WEIGHTS = "diffusion_pytorch_model.safetensors"


class Canary:
    """An object whose unpickling would leave a trace."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, ("unpickled",)


@pytest.fixture
def folder(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a tiny model that may be damaged, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(models["epsilon"], tmp_path / "model"))


def identity(folder: Path, digests: FileDigests | None = None) -> str:
    parts = DiffusersFolder("m", folder, torch.device("cpu"), torch.float32, digests=digests or FileDigests())
    return parts.identity


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        bigain.load(str(folder), device="cpu")
    return str(caught.value)


def split_vocabulary(folder: Path) -> None:
    """Replace tokenizer.json by vocab.json and merges.txt."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer.json").unlink()


def test_every_byte_of_every_file_that_is_read_is_part_of_the_identity(folder: Path) -> None:
    split_vocabulary(folder / "tokenizer")
    dice, before = Random(0), identity(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.suffix for path in paths} == {".json", ".txt", ".safetensors"}
    for path in paths:
        data = path.read_bytes()
        for place in {0, len(data) - 1, *(dice.randrange(len(data)) for _ in range(5))}:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert identity(folder) != before, f"{path.name}, byte {place}"
        path.write_bytes(data[:-1])
        assert identity(folder) != before
        path.write_bytes(data)
    (folder / "tokenizer" / "added_tokens.json").write_text("{}")
    assert identity(folder) != before, "a new file"


def test_what_is_not_read_is_no_part_of_the_identity(folder: Path) -> None:
    before = identity(folder)
    for name in ("README.md", "safety_checker/model.safetensors", "training/checkpoint.safetensors", "unet/notes.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"{}")
    shutil.copytree(folder, folder.parent / "elsewhere")
    assert identity(folder) == identity(folder.parent / "elsewhere") == before


def test_a_digest_covers_the_pieces_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digests, "PIECE", 10)
    found = set()
    for number, data in enumerate(
        (bytes(35), bytes(34), b"\1" + bytes(34), bytes(34) + b"\1", bytes(10) + b"\1" + bytes(24))
    ):
        path = tmp_path / str(number)
        path.write_bytes(data)
        found.add(digest_of(path))
        assert digest_of(path) == digest_of(path)
    assert len(found) == 5


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Digests of all files are kept, and the files that are read are listed."""
    read: list[str] = []
    monkeypatch.setattr(file_digests, "LEAST_KEPT", 1)
    monkeypatch.setattr(file_digests, "SETTLED", -(10**18))
    monkeypatch.setattr(file_digests, "digest_of", lambda path: read.append(path.name) or digest_of(path))
    return read


def test_a_file_that_stayed_as_it_was_is_not_read_again(folder: Path, kept: list[str]) -> None:
    digests = FileDigests(folder.parent / "cache")
    before, count = identity(folder, digests), len(kept)
    assert identity(folder, digests) == before == identity(folder) and len(kept) == 2 * count
    path = folder / "unet" / WEIGHTS
    data, stat = path.read_bytes(), path.stat()
    kept.clear()
    path.write_bytes(data[:-1] + b"?")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns and path.stat().st_size == stat.st_size
    assert identity(folder, digests) != before, "its time was set back"
    assert kept == [WEIGHTS]


def test_a_file_that_changed_just_now_is_not_kept(
    folder: Path, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "SETTLED", 10**18)
    digests = FileDigests(folder.parent / "cache")
    identity(folder, digests)
    count = len(kept)
    identity(folder, digests)
    assert len(kept) == 2 * count and not (folder.parent / "cache").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"file": [], "digest": "x"}', "[" * 100_000, '{"digest": 3}']
)
def test_a_broken_cache_costs_time_and_nothing_else(content: str, folder: Path, kept: list[str]) -> None:
    cache = folder.parent / "cache"
    before = identity(folder, FileDigests(cache))
    files = list(cache.iterdir())
    assert files and not [path for path in files if path.suffix != ".json"]
    for path in files:
        path.write_text(content)
    assert identity(folder, FileDigests(cache)) == before
    assert all(path.read_text() != content for path in files), "it is mended"
    for bad in ("/proc/nothing", "/dev/null/x", str(folder / "unet" / WEIGHTS), "\0", "x" * 300):
        assert identity(folder, FileDigests(Path(bad))) == before


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == "~/.cache/bigain"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == "~/.cache/bigain", "the standard wants an absolute path"
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == "/caches/bigain"


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
@pytest.mark.parametrize(
    ("shard", "why"),
    [
        ("evil.bin", "names evil.bin; only safetensors weights are read"),
        ("../outside.safetensors", "names ../outside.safetensors, which is not a file in its folder"),
        ("{folder}/outside.safetensors", "which is not a file in its folder"),
        ("sub/inside.safetensors", "which is not a file in its folder"),
        ("..\\outside.safetensors", "which is not a file in its folder"),
        ("gone.safetensors", "names gone.safetensors, which is missing"),
        ("pickle.safetensors", "pickle.safetensors: not a safetensors file, whatever its name"),
        (3, "has no table weight_map"),
    ],
)
def test_an_index_names_safetensors_files_beside_it_and_nothing_else(
    part: str, shard: object, why: str, folder: Path
) -> None:
    [weights] = (folder / part).glob("*.safetensors")
    tensors = load_file(weights)
    for name in ("model/outside.safetensors", f"model/{part}/../outside.safetensors"):
        save_file(tensors, name, {"format": "pt"})
    (folder / part / "sub").mkdir()
    shutil.copy("model/outside.safetensors", folder / part / "sub" / "inside.safetensors")
    for name in ("evil.bin", "pickle.safetensors"):
        (folder / part / name).write_bytes(pickle.dumps(Canary()))
    weights.unlink()
    shard = shard.format(folder=folder) if isinstance(shard, str) else shard
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, shard)}
    (folder / part / f"{weights.name}.index.json").write_text(json.dumps(index))
    assert why in refused(folder)
    assert not Path("unpickled").exists()


def test_weights_in_several_files_are_read(folder: Path) -> None:
    before = bigain.load(str(folder), device="cpu").network.state_dict()
    tensors = load_file(folder / "unet" / WEIGHTS)
    (folder / "unet" / WEIGHTS).unlink()
    shards = [f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    named = {name: shards[number % 2] for number, name in enumerate(tensors)}
    for shard in shards:
        some = {name: tensor for name, tensor in tensors.items() if named[name] == shard}
        save_file(some, folder / "unet" / shard, {"format": "pt"})
    (folder / "unet" / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": named}))
    after = bigain.load(str(folder), device="cpu").network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def _pipe(folder: Path) -> None:
    (folder / "vae" / "config.json").unlink()
    os.mkfifo(folder / "vae" / "config.json")


def _entry(file: str, **entries: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, **entries}))

    return write


def _merges(folder: Path) -> None:
    split_vocabulary(folder / "tokenizer")
    (folder / "tokenizer" / "merges.txt").write_text("")


def _no_pieces(folder: Path) -> None:
    split_vocabulary(folder / "tokenizer")
    (folder / "tokenizer" / "vocab.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: (folder / "tokenizer" / "tokenizer.json").unlink(), "tokenizer: without its vocabulary"),
        (_merges, "without its vocabulary (tokenizer.json, or vocab.json and merges.txt)"),
        (_no_pieces, "its vocabulary is empty"),
        (_entry("tokenizer/tokenizer_config.json", vocab="/etc/passwd"), "vocab names a file elsewhere"),
        (_entry("tokenizer/tokenizer_config.json", merges_file="../x"), "merges_file names a file elsewhere"),
        (_entry("tokenizer/tokenizer_config.json", model_max_length=2), "prompts of 2 tokens are too short"),
        (_entry("text_encoder/config.json", transformers_weights="../x.safetensors"), "it names a file of weights"),
        (_entry("text_encoder/config.json", num_hidden_layers=10**9), "num_hidden_layers is 1000000000; at most 200"),
        (_entry("unet/config.json", quantization_config={"load_in_4bit": True}), "it is quantised"),
        (_entry("unet/config.json", in_channels="4"), "in_channels is '4', not a whole number"),
        (_entry("unet/config.json", sample_size=10**6), "sample_size is 1000000, not one or two whole numbers"),
        (_entry("vae/config.json", scaling_factor="x"), "scaling_factor is no number"),
        (_entry("scheduler/scheduler_config.json", num_train_timesteps=10**9), "num_train_timesteps is 1000000000"),
        (_entry("model_index.json", unet="UNet"), "its entry unet is not [library, class]"),
        (lambda folder: (folder / "text_encoder" / "adapter_config.json").write_text("{}"), "an adapter"),
        (_pipe, "not a plain file"),
        (lambda folder: (folder / "bigain.json").write_text("[" * 100_000), "unreadable (nested too deeply)"),
        (lambda folder: (folder / "bigain.json").write_text('{"score": "best"}'), "score must be one of l2"),
        (lambda folder: (folder / "bigain.json").write_text('{"compress": "x:1"}'), "unknown operator 'x'"),
        (
            lambda folder: (folder / "bigain.json").write_text('{"classes": {"cat": []}}'),
            "each of the classes must have",
        ),
    ],
)
def test_a_folder_that_leads_elsewhere_or_makes_no_sense_is_refused(
    change: Callable[[Path], object], why: str, folder: Path
) -> None:
    change(folder)
    assert why in refused(folder)


def test_a_vocabulary_in_two_files_is_read_as_that_in_one(folder: Path) -> None:
    one = bigain.load(str(folder), device="cpu").condition(["a small cat"]).rows
    split_vocabulary(folder / "tokenizer")
    assert torch.equal(bigain.load(str(folder), device="cpu").condition(["a small cat"]).rows, one)


def test_a_tokenizer_of_another_encoder_is_refused(folder: Path) -> None:
    split_vocabulary(folder / "tokenizer")
    path = folder / "tokenizer" / "vocab.json"
    vocabulary = json.loads(path.read_text())
    path.write_text(json.dumps({**vocabulary, "zzz": len(vocabulary)}))
    assert "its pieces have numbers up to 190, the text encoder knows 190" in refused(folder)


@pytest.mark.parametrize(
    "head", [b"", b"\x80\x04", struct.pack("<Q", 2**40) + b"{", struct.pack("<Q", 900) + b"{}", b"PK\3\4" * 9]
)
def test_a_safetensors_file_is_known_by_its_content(head: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(head)
    assert folder_checks.why_not_safetensors(tmp_path / "a.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert not folder_checks.why_not_safetensors(tmp_path / "a.safetensors")


def test_a_snapshot_without_a_vocabulary_is_not_complete(folder: Path, tmp_path: Path) -> None:
    model = resolve("owner/name")
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "abc"
    shutil.copytree(folder, snapshot)
    assert is_present(model, tmp_path)
    (snapshot / "tokenizer" / "tokenizer.json").unlink()
    assert not is_present(model, tmp_path)


def test_only_errors_of_libraries_are_turned_into_errors_of_the_model() -> None:
    """An exception of our own may end a pass early; too little memory halves a batch."""
    for passed in (PlansComplete(), AssertionError("x"), MemoryError(), RuntimeError("CUDA out of memory")):
        with pytest.raises(type(passed)) as caught, run_errors("m"):
            raise passed
        assert caught.value is passed
    for turned in (RuntimeError("a\nb"), IndexError("x"), ZeroDivisionError(), Exception("bare"), TypeError("x")):
        with pytest.raises(ModelError, match="m: cannot be run") as refusal, run_errors("m"):
            raise turned
        assert "\n" not in str(refusal.value) and refusal.value.__cause__ is turned
