"""Is a model's folder what it is named to be? Only safetensors weights, only files of the folder itself.

Files and configurations may come from anybody: what would lead to another file, or to code, is refused before a library
follows it. Must not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bigain_cli.errors import ModelError
from bigain_cli.json_text import read_json
from bigain_cli.limits import MOST_HEADER, is_whole

FETCH_AGAIN = "Fetch or save the model again."
SAVE_AGAIN = "Save the model again with safe_serialization=True."
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
SENTENCE_PIECES = "spiece.model"  # a vocabulary, too, if the packages that read it are installed
SHORTEST_PROMPT = 3  # tokens: a beginning, a word, an end
LARGEST, DEEPEST = 1 << 20, 200  # whole numbers in a network's configuration, and its numbers of layers
_LAYERS = re.compile(r"num_(hidden_)?layers|layers_per_block|transformer_layers_per_block")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_LEADS_ELSEWHERE = {
    "quantization_config": "it is quantised",
    "transformers_weights": "it names a file of weights",
    "auto_map": "it names code of its own",
}
_TOKENIZER_ENTRIES = re.compile(r"vocab|merges|(vocab|merges|tokenizer|added_tokens)_file|fast_tokenizer_files")


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("not a file")
        content = read_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        hint = "A diffusers folder has one; save the whole pipeline."
        raise ModelError(str(path), "no such file", hint) from problem
    except (OSError, ValueError) as problem:
        raise ModelError(str(path), f"unreadable ({problem})", FETCH_AGAIN) from problem
    if not isinstance(content, dict):
        raise ModelError(str(path), "not a JSON object", FETCH_AGAIN)
    return content


def plain_weights(names: Iterable[str]) -> list[str]:
    """Return the names of weights that are neither in half precision nor for training; fp16-00001-of-00002 is."""
    return [name for name in names if not re.search(r"\.(fp16|non_ema)[.-]", name)]


def has_weights(folder: Path) -> bool:
    """Tell whether a network's weights are all there: a file of them, or every shard that an index names."""
    names = [path.name for path in folder.glob("*.safetensors*")]
    wanted = plain_weights(names) or names
    if any(name.endswith(".safetensors") and not _SHARD.search(name) for name in wanted):
        return True
    indices = [name for name in wanted if name.endswith(".json")]
    try:
        shards = {str(shard) for name in indices for shard in read_object(folder / name)["weight_map"].values()}
    except (ModelError, KeyError, AttributeError):
        return True  # what is wrong with it is said when it is loaded
    return bool(indices) and all((folder / shard).is_file() for shard in shards)


def check_network(name: str, folder: Path) -> None:
    """Refuse a network's folder if loading it would read anything but its own safetensors weights."""
    for path in files_of(folder):
        if path.name == "adapter_config.json":
            raise ModelError(f"{name}/{path.name}", "an adapter, which changes the weights", "Merge it, or remove it.")
        if path.name.endswith(".json") and ".safetensors.index." in path.name:
            _check_index(f"{name}/{path.name}", path)
        elif path.suffix == ".safetensors" and (why := why_not_safetensors(path)):
            raise ModelError(f"{name}/{path.name}", why, FETCH_AGAIN)
    config = read_object(folder / "config.json")
    check_config(f"{name}/config.json", config)


def check_config(what: str, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that leads elsewhere, or would make a network without measure."""
    for key, why in _LEADS_ELSEWHERE.items():
        if config.get(key):
            raise ModelError(what, f"{why} ({key}), which is not supported", "Save the plain model.")
    for key, value in config.items():
        numbers = value if isinstance(value, list) else [value]
        most = DEEPEST if _LAYERS.fullmatch(key) else LARGEST
        for number in numbers:
            if isinstance(number, int) and abs(number) > most:
                raise ModelError(what, f"{key} is {number}; at most {most} is supported", FETCH_AGAIN)
        if len(numbers) > DEEPEST:
            raise ModelError(what, f"{key} has {len(numbers)} entries; at most {DEEPEST} are supported", FETCH_AGAIN)


def whole_number(what: str, config: Mapping[str, Any], key: str) -> int:
    """Return an entry of a configuration that must be a whole number from 1 up."""
    value = config.get(key)
    if not is_whole(value) or not 1 <= value <= LARGEST:
        raise ModelError(what, f"{key} is {value!r}, not a whole number from 1 to {LARGEST}", FETCH_AGAIN)
    return value


def check_tokenizer(name: str, folder: Path) -> None:
    """Refuse a tokenizer's folder without its vocabulary, or with a configuration that names other files."""
    if not has_vocabulary(folder):
        _refuse_sentence_pieces(name, folder)
        wanted = ", or ".join(" and ".join(names) for names in VOCABULARIES)
        raise ModelError(name, f"without its vocabulary ({wanted})", FETCH_AGAIN)
    files_of(folder)
    if (path := folder / "tokenizer_config.json").exists():
        for key, value in read_object(path).items():
            texts = value if isinstance(value, list) else [value]
            if _TOKENIZER_ENTRIES.fullmatch(key) and any(isinstance(text, str) and _leaves(text) for text in texts):
                raise ModelError(f"{name}/{path.name}", f"{key} names a file elsewhere", "Remove that entry.")


def fit_tokenizer(name: str, tokenizer: Any, config: Any) -> None:
    """Let a tokenizer make as many tokens as its text encoder reads; refuse one that belongs to another encoder."""
    fit_pieces(f"{name}/tokenizer", tokenizer, config)
    fit_length(f"{name}/tokenizer", tokenizer, config.max_position_embeddings)


def fit_length(what: str, tokenizer: Any, most: int) -> None:
    """Let a tokenizer make at most so many tokens; without a length of its own it has no limit at all."""
    longest = min(tokenizer.model_max_length, most)
    if not isinstance(longest, int) or longest < SHORTEST_PROMPT:
        why = f"prompts of {longest} tokens are too short"
        raise ModelError(what, why, "Correct model_max_length in tokenizer_config.json.")
    tokenizer.model_max_length = longest


def _refuse_sentence_pieces(name: str, folder: Path) -> None:
    """Say what is missing where a vocabulary is there, but cannot be read."""
    if (folder / SENTENCE_PIECES).is_file():
        hint = "Install it: pip install sentencepiece protobuf."
        raise ModelError(name, f"{SENTENCE_PIECES} is read by the package sentencepiece, which is missing", hint)


def fit_pieces(what: str, tokenizer: Any, config: Any) -> None:
    """Refuse a tokenizer without pieces, or with pieces that its text encoder does not know."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if not vocabulary.keys() - set(tokenizer.all_special_tokens):
        raise ModelError(what, "its vocabulary is empty", FETCH_AGAIN)
    if not 0 <= min(vocabulary.values()) <= max(vocabulary.values()) < config.vocab_size:
        why = f"its pieces have numbers up to {max(vocabulary.values())}, the text encoder knows {config.vocab_size}"
        raise ModelError(what, why, "Use the tokenizer that belongs to the model.")


def has_vocabulary(folder: Path) -> bool:
    """Tell whether a folder has all files of a vocabulary, none of them empty, and whether they can be read here."""
    known = (*VOCABULARIES, (SENTENCE_PIECES,)) if find_spec("sentencepiece") else VOCABULARIES
    return any(all((folder / file).is_file() and (folder / file).stat().st_size for file in files) for files in known)


def is_tokenizer(folder: Path) -> bool:
    """Tell whether a folder has a vocabulary, whether or not it can be read here."""
    return has_vocabulary(folder) or (folder / SENTENCE_PIECES).is_file()


def files_of(folder: Path) -> list[Path]:
    """List a folder's files in a fixed order; refuse pipes and devices, which may never end."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.is_dir())
    except OSError as problem:
        raise ModelError(str(folder), f"cannot be listed ({problem.strerror})", FETCH_AGAIN) from problem
    for path in paths:
        if path.exists() and not path.is_file():
            raise ModelError(str(path), "not a plain file", "Remove it.")
    return [path for path in paths if path.is_file()]


def why_not_safetensors(path: Path) -> str:
    """Return why a file is no safetensors file, by its content, or nothing; the whole header is left to its readers."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as problem:
        return f"unreadable ({problem.strerror})"
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:] != b"{" or length > MOST_HEADER:
        return "not a safetensors file, whatever its name; only safetensors weights are read"
    return f"cut off: {size} bytes" if 8 + length > size else ""


def _check_index(what: str, path: Path) -> None:
    """Refuse an index of weights that names anything but safetensors files beside it."""
    shards = read_object(path).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(file, str) for file in shards.values()):
        raise ModelError(what, "has no table weight_map of tensors and files", FETCH_AGAIN)
    for file in sorted(set(shards.values())):
        if _leaves(file) or "/" in file or "\\" in file:
            raise ModelError(what, f"names {file}, which is not a file in its folder", FETCH_AGAIN)
        if not file.endswith(".safetensors"):
            raise ModelError(what, f"names {file}; only safetensors weights are read", SAVE_AGAIN)
        if not (path.parent / file).is_file():
            raise ModelError(what, f"names {file}, which is missing", FETCH_AGAIN)


def _leaves(text: str) -> bool:
    """Tell whether a path leads out of the folder that it is relative to."""
    parts = re.split(r"[/\\]", text)
    return ".." in parts or text.startswith(("/", "\\", "~")) or bool(re.match(r"[A-Za-z]:", text)) or "\0" in text
