"""Texts as a two-tower model saw them in training: without it, its accuracy falls by points, and nothing says so.

In: a prompt; out: the text for the tokenizer. Must not know models.
"""

from __future__ import annotations

import html
import re
import string
import unicodedata
from collections.abc import Callable, Mapping

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clip_text(text: str) -> str:
    """Write characters out that HTML spells with names, in small letters and with single spaces."""
    text = unicodedata.normalize("NFC", html.unescape(html.unescape(text)))
    return _single_spaces(text).lower()


def siglip_text(text: str) -> str:
    """Write a text in small letters, without ASCII's punctuation and with single spaces."""
    return _single_spaces(text.lower().translate(_PUNCTUATION))


def _single_spaces(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


CANONICAL: Mapping[str, Callable[[str], str]] = {  # by the model's kind
    "clip": clip_text,
    "siglip": siglip_text,
    "siglip2": siglip_text,
}
