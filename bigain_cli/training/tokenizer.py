"""The words a backbone learns: its classes' names, the sentences around them, a tokenizer for both.

Two classes that would read the same are refused here, before anything is trained.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bigain_cli.backbones.vocabulary import PromptVocabulary, plain
from bigain_cli.errors import UsageError

START, END = "<|startoftext|>", "<|endoftext|>"
ROUND = 4  # the text's length is a multiple of it
RENAME = "Rename one, or drop a synonym."


def make_phrases(
    classes: Sequence[str], synonyms: Mapping[str, Sequence[str]], templates: Sequence[str]
) -> PromptVocabulary:
    """Return the classes with all their names; refuse empty names, and names of two classes."""
    unknown = [name for name in synonyms if name not in classes]
    if unknown:
        raise UsageError("--synonyms", f"{unknown[0]!r} is no class of this data", f"Classes: {', '.join(classes)}.")
    named = {name: tuple(dict.fromkeys(map(_word, (name, *synonyms.get(name, ()))))) for name in classes}
    phrases = PromptVocabulary(named, tuple(templates))
    owners: dict[str, str] = {}
    for name, words in named.items():
        parts = (part for word in words for part in (word, *word.split(",")) if part.strip())
        for text in (*parts, *phrases.sentences(name)):
            if owners.setdefault(plain(text), name) != name:
                what = f"classes {owners[plain(text)]!r} and {name!r}"
                raise UsageError(what, f"both are called {plain(text)!r}", RENAME)
    return phrases


def _word(name: str) -> str:
    """Return a class's name as it stands in a sentence."""
    if not plain(name):
        raise UsageError(f"class {name!r}", "a name without a letter or a digit", "Rename it.")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise UsageError(f"class {name!r}", "its name is not plain text", "Rename it.")
    return unicodedata.normalize("NFC", name.replace("_", " ")).strip()


def prompts_of(phrases: PromptVocabulary) -> list[list[str]]:
    """Return every sentence for every class, as the model will read it."""
    return [[phrases.normalize(text) for text in phrases.sentences(name)] for name in phrases.classes]


def pieces_of(texts: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a byte-pair vocabulary and merges that read the words of these texts as few pieces."""
    from tokenizers.pre_tokenizers import ByteLevel

    spell = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str  # a letter for each byte
    words = sorted({spell(word)[0][0] for text in texts for word in text.replace(".", " .").split()})
    letters = sorted({letter for word in words for letter in word} | set("abcdefghijklmnopqrstuvwxyz"))
    pieces = dict.fromkeys([*letters, *(f"{letter}</w>" for letter in letters)])
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        ends = [*word[:-1], f"{word[-1]}</w>"]
        grown = ends[0]
        for piece in ends[1:]:
            merges.setdefault((grown, piece))
            grown += piece
            pieces.setdefault(grown)
    return {piece: number for number, piece in enumerate([*pieces, START, END])}, list(merges)


def make_tokenizer(texts: Sequence[str]) -> Any:
    """Make a CLIP tokenizer that knows these texts and no more, as long as the longest of them."""
    from transformers import CLIPTokenizer

    vocabulary, merges = pieces_of(texts)
    tokenizer: Any = CLIPTokenizer(vocab=vocabulary, merges=merges)  # type: ignore[arg-type]
    longest = max(len(ids) for ids in tokenizer(list(texts)).input_ids)
    tokenizer.model_max_length = -(-longest // ROUND) * ROUND
    return tokenizer


def refuse_twins(phrases: PromptVocabulary, tokenizer: Any) -> None:
    """Refuse classes that differ in ways which a tokenizer cannot see, as `type 2` and `type2`."""
    owners: dict[tuple[int, ...], str] = {}
    for name, texts in zip(phrases.classes, prompts_of(phrases), strict=True):
        for ids in tokenizer(texts).input_ids:
            if (other := owners.setdefault(tuple(ids), name)) != name:
                raise UsageError(f"classes {other!r} and {name!r}", "the model would read them alike", RENAME)
