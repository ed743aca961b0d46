"""The words a text-conditioned backbone learns: its classes' names, the sentences around them, a tokenizer for both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bigain_cli.backbones.phrases import Phrases

START, END = "<|startoftext|>", "<|endoftext|>"
ROUND = 4  # the text's length is a multiple of it


def prompts_of(phrases: Phrases) -> list[list[str]]:
    """Return every sentence for every class, as the model will read it."""
    return [[phrases.folded(text) for text in phrases.sentences(name)] for name in phrases.classes]


def pieces_of(texts: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a byte-pair vocabulary and merges that read the words of these texts as few pieces."""
    words = sorted({word for text in texts for word in text.replace(".", " .").split()})
    letters = sorted({letter for word in words for letter in word} | set("abcdefghijklmnopqrstuvwxyz"))
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in words:
        ends = [*word[:-1], f"{word[-1]}</w>"]
        grown = ends[0]
        for piece in ends[1:]:
            if (grown, piece) not in merges:
                merges.append((grown, piece))
            grown += piece
            if grown not in pieces:
                pieces.append(grown)
    return {piece: number for number, piece in enumerate([*pieces, START, END])}, merges


def make_tokenizer(texts: Sequence[str]) -> Any:
    """Make a CLIP tokenizer that knows these texts and no more, as long as the longest of them."""
    from transformers import CLIPTokenizer

    vocabulary, merges = pieces_of(texts)
    tokenizer: Any = CLIPTokenizer(vocab=vocabulary, merges=merges)  # type: ignore[arg-type]
    longest = max(len(ids) for ids in tokenizer(list(texts)).input_ids)
    tokenizer.model_max_length = -(-longest // ROUND) * ROUND
    return tokenizer
