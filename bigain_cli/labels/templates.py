"""Make prompts from a label's name: templates with `{}` in, sentences with the right English article out.

The article goes by sound: "an" before vowels, "a" before consonants, and a short list of exceptions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from bigain_cli.errors import UsageError
from bigain_cli.labels.label_files import Label

DEFAULT_TEMPLATE = "a photo of a {}."
_SLOT = re.compile(r"(?:\b(an?|the) +)?\{\}", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:an?|the) ", re.IGNORECASE)
_CONSONANT_SOUND = re.compile(  # spelt with a vowel, spoken with a consonant: unicorn, European, one-way, user, ukulele
    r"uni(?!n|m|d[^i])|eu|ewe|us(?:e|ing|age|u)|ut(?:e|i|op)|uk|ur(?:an|in|ug|olog)|ubiq|ouija|one\b|once\b"
)
_SILENT_H = re.compile(r"hour|honest|hono(?:u?r)|heir")
_SPELT_OUT = re.compile(r"(?:8|1[18](?!\d)|[AEFHILMNORSX](?![^\W\d_]))")  # an 8-bit, an 18-wheeler, an X-ray, an F-16
_LETTERS = re.compile(r"[A-Z]{2,3}(?![^\W\d_])")


def prompts_for(label: Label, templates: Sequence[str], override: bool = False) -> tuple[str, ...]:
    """Return the label's own prompts, or, if there are none or if overridden, the templates filled with its name."""
    if label.prompts and not override:
        return label.prompts
    return tuple(fill(template, label.name) for template in templates or (DEFAULT_TEMPLATE,))


def default_template(templates: Sequence[str]) -> str:
    """Return the template to use if none is given: the command's default, if the model has it, or the model's first."""
    return templates[0] if templates and DEFAULT_TEMPLATE not in templates else DEFAULT_TEMPLATE


def fill(template: str, name: str) -> str:
    """Fill a name into a template, with the article that fits it."""
    if "{}" not in template:
        why, hint = "has no {} for the label", f"Write for instance {DEFAULT_TEMPLATE!r}."
        raise UsageError(f"template {template!r}", why, hint)
    return _SLOT.sub(lambda slot: _with_article(slot[1], name), template)


def _with_article(article: str | None, name: str) -> str:
    """Return the name after the form of the template's article that fits it."""
    if article is None:
        return name
    if _ARTICLE.match(name):  # the name has an article
        return name[0].upper() + name[1:] if article[0].isupper() else name
    if article.lower() == "the":
        return f"{article} {name}"
    return f"{article[0]}{'n' if starts_with_vowel_sound(name) else ''} {name}"


def starts_with_vowel_sound(name: str) -> bool:
    """Return whether a name takes `an`."""
    letters = (letter for letter in unicodedata.normalize("NFD", name) if not unicodedata.combining(letter))
    plain = "".join(letters).lstrip("\"'([ ")
    if _SPELT_OUT.match(plain):
        return True
    if spelt := _LETTERS.match(plain):  # an MRI, a UFO: short words in capitals are read letter by letter
        return spelt[0][0] in "AEFHILMNORSX"
    word = plain.lower()
    if word[:1] in tuple("aeiou"):
        return not (_CONSONANT_SOUND.match(word) or re.match(r"U(?![^\W\d_])", plain))
    return bool(_SILENT_H.match(word))
