"""The text a backbone is trained on: the names of classes, their prompts, and a tokenizer made for them.

Two classes with the same prompt are refused here, before anything is trained.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bigain_cli.backbones.vocabulary import PromptVocabulary, plain
from bigain_cli.errors import UsageError

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH_MULTIPLE = 4  # the longest prompt is rounded up to a multiple of it
RENAME = "Rename one, or drop a synonym."


def make_vocabulary(
    classes: Sequence[str], synonyms: Mapping[str, Sequence[str]], templates: Sequence[str]
) -> PromptVocabulary:
    """Return the classes with all their names; refuse empty names, and names of two classes."""
    unknown = [name for name in synonyms if name not in classes]
    if unknown:
        raise UsageError("--synonyms", f"{unknown[0]!r} is no class of this data", f"Classes: {', '.join(classes)}.")
    named = {name: tuple(dict.fromkeys(map(_plain_name, (name, *synonyms.get(name, ()))))) for name in classes}
    vocabulary = PromptVocabulary(named, tuple(templates))
    owners: dict[str, str] = {}
    for name, words in named.items():
        parts = (part for word in words for part in (word, *word.split(",")) if part.strip())
        for text in (*parts, *vocabulary.sentences(name)):
            if owners.setdefault(plain(text), name) != name:
                what = f"classes {owners[plain(text)]!r} and {name!r}"
                raise UsageError(what, f"both are called {plain(text)!r}", RENAME)
    return vocabulary


def _plain_name(name: str) -> str:
    """Return the name of a class as prompts have it; refuse what is not plain text."""
    if not plain(name):
        raise UsageError(f"class {name!r}", "a name without a letter or a digit", "Rename it.")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise UsageError(f"class {name!r}", "its name is not plain text", "Rename it.")
    return unicodedata.normalize("NFC", name.replace("_", " ")).strip()


def prompts_by_class(vocabulary: PromptVocabulary) -> list[list[str]]:
    """Return all prompts of each class, in the spelling that the tokenizer gets."""
    return [[vocabulary.normalise(text) for text in vocabulary.sentences(name)] for name in vocabulary.classes]


def byte_pairs(texts: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a byte-pair vocabulary, and the merges that make one token of each word of these texts."""
    from tokenizers.pre_tokenizers import ByteLevel

    spell = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str  # a letter for each byte
    words = sorted({spell(word)[0][0] for text in texts for word in text.replace(".", " .").split()})
    letters = sorted({letter for word in words for letter in word} | set("abcdefghijklmnopqrstuvwxyz"))
    tokens = dict.fromkeys([*letters, *(f"{letter}</w>" for letter in letters)])
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        ends = [*word[:-1], f"{word[-1]}</w>"]
        prefix = ends[0]
        for letter in ends[1:]:
            merges.setdefault((prefix, letter))
            prefix += letter
            tokens.setdefault(prefix)
    return {token: number for number, token in enumerate([*tokens, START, END])}, list(merges)


def make_tokenizer(texts: Sequence[str]) -> Any:
    """Make a CLIP tokenizer for the words of these texts, with the length of the longest."""
    from transformers import CLIPTokenizer

    vocabulary, merges = byte_pairs(texts)
    tokenizer: Any = CLIPTokenizer(vocab=vocabulary, merges=merges)
    longest = max(len(ids) for ids in tokenizer(list(texts)).input_ids)
    tokenizer.model_max_length = -(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    return tokenizer


def refuse_identical_prompts(vocabulary: PromptVocabulary, tokenizer: Any) -> None:
    """Refuse classes with the same token ids, such as `type 2` and `type2`."""
    owners: dict[tuple[int, ...], str] = {}
    for name, texts in zip(vocabulary.classes, prompts_by_class(vocabulary), strict=True):
        for ids in tokenizer(texts).input_ids:
            if (other := owners.setdefault(tuple(ids), name)) != name:
                raise UsageError(f"classes {other!r} and {name!r}", "the model would read them alike", RENAME)
