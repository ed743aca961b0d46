"""The grammar of compression: text such as "lgtm:0.5@gate=0.3+mlp+iekvd:2@0.9" in, a Spec out, and back.

NAME:NUMBER, then modifiers, each after an '@' (a word, an alpha, or key=value), then '+mlp' or '+cross' for a
merging; terms are joined by '+'; 'none' is the empty spec. Must not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bigain_cli.compress.operators import (
    ALPHAS,
    OPERATORS,
    OPTIONS,
    OperatorInfo,
    finite_number,
    format_number,
    operator_info,
    whole_number,
)
from bigain_cli.errors import UsageError
from bigain_cli.near_names import did_you_mean

PARTS = ("mlp", "cross")
SEPARATING_COMMA = re.compile(r",(?!\s*\d)")  # between two specs; one before a number is within a list
ALPHA = (0.9, 0.9)


@dataclass(frozen=True)
class Term:
    """One operator with its number and modifiers."""

    name: str
    amount: float  # the ratio of tokens to merge, or the factor of downsampling
    variant: str = ""  # compat, fixed, unshared
    alpha: tuple[float, float] = ALPHA  # at the noisy and at the clean end of time
    bias: bool = False  # weigh merged keys by their size
    mode: str = "mean"
    gate: float = 0.0
    pad: str = "zero"
    pool: str = "sum"  # of a cell's Laplacian responses
    stride: tuple[int, int] = (2, 2)
    levels: int | str | None = None  # None: the network's default
    blocks: tuple[int, ...] | None = None
    plan: str = "shared"  # one plan for all labels, or "per-label"
    share: str | None = None  # "block" or, with one plan for all its blocks, "level"; None: block, unless by_level
    mlp: bool = False
    cross: bool = False

    @property
    def merges(self) -> bool:
        """Say whether the term shortens the whole block's input rather than its keys and values."""
        return OPERATORS[self.name].amount == "ratio"

    @property
    def shared(self) -> bool:
        """Say whether one plan may be used for all labels of a draw."""
        return self.merges and self.plan == "shared" and self.variant != "unshared"

    @property
    def sharing_is_open(self) -> bool:
        """Say whether the spec leaves open which blocks share a plan, where all of them could share one."""
        return self.shared and self.share is None and self.blocks is None and self.levels in (None, 1)

    def __str__(self) -> str:
        words = [f"{self.name}:{format_number(self.amount)}"]
        words += [self.variant] if self.variant else []
        if "alpha" in OPERATORS[self.name].options:
            noisy, clean = self.alpha
            words.append(format_number(noisy) if noisy == clean else f"{format_number(noisy)}:{format_number(clean)}")
        words += ["bias"] if self.bias else []
        default = Term(self.name, self.amount)
        for key, option in OPTIONS.items():
            if (value := getattr(self, key)) != getattr(default, key):
                words.append(f"{key}={option.write(value)}")
        return "@".join(words) + "".join(f"+{part}" for part in PARTS if getattr(self, part))


@dataclass(frozen=True)
class Spec:
    """How a network's tokens are compressed: terms in order; `str()` is the canonical text."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return "+".join(map(str, self.terms)) or "none"

    def __bool__(self) -> bool:
        return bool(self.terms)

    @property
    def shared(self) -> bool:
        """Say whether some plan may be made once and used for all labels of a draw."""
        return any(term.shared for term in self.terms)

    def by_level(self) -> Spec:
        """Share one plan over all blocks at full resolution, unless the spec says otherwise.

        A U-Net's first block there runs before any text is read, so this plan is the same for all labels for free.
        """
        return Spec(tuple(replace(term, share="level") if term.sharing_is_open else term for term in self.terms))


def parse(text: str | Spec) -> Spec:
    """Read a spec; a Spec passes through."""
    if isinstance(text, Spec):
        return text
    if (text := text.strip()) == "none":
        return Spec()
    if SEPARATING_COMMA.search(text):
        hint = "Give one spec; several places or terms join with '+'."
        raise UsageError(f"compression '{text}'", "a comma is no part of a spec", hint)
    terms: list[Term] = []
    for piece in map(str.strip, text.split("+")):
        if piece in PARTS:
            _add_part(piece, terms, text)
        else:
            terms.append(_term(piece, text))
    return Spec(tuple(terms))


def parse_specs(texts: Sequence[str], against: str | None = None) -> list[Spec]:
    """Parse all specs; refuse one that is given twice, and a baseline that is not among them."""
    specs = [parse(text) for text in texts]
    for text, spec in zip(texts, specs, strict=True):
        if specs.count(spec) > 1:
            raise UsageError(f"-c {text}", f"{spec} is given twice", "Keep one of them.")
    if against is not None and specs:
        index_of_spec(against, specs, texts)
    return specs


def index_of_spec(text: str, specs: Sequence[Spec], names: Sequence[str]) -> int:
    """Return the index of the spec that a text names: the same spec, or the same once plans are shared by level."""
    wanted = parse(text)
    if wanted in specs:
        return specs.index(wanted)
    by_level = [spec.by_level() for spec in specs]
    if wanted.by_level() in by_level:
        return by_level.index(wanted.by_level())
    raise UsageError(f"--against {text}", "is not among the specs", f"Compared are {', '.join(names)}.")


def in_short(names: Sequence[str]) -> dict[str, str]:
    """Return specs without what `by_level` adds, for a narrow table, unless two would read alike."""
    short = {name: name.replace("@share=level", "") for name in names}
    return short if len({*short.values()}) == len(short) else {name: name for name in names}


def _add_part(part: str, terms: list[Term], text: str) -> None:
    at = next((i for i in reversed(range(len(terms))) if terms[i].merges), None)
    if at is None:
        raise UsageError(f"compression '{text}'", f"'+{part}' follows no merging", f"Write it as lgtm:0.5+{part}.")
    if getattr(terms[at], part):
        raise UsageError(f"compression '{text}'", f"'+{part}' is written twice", "Once is enough.")
    terms[at] = replace(terms[at], mlp=terms[at].mlp or part == "mlp", cross=terms[at].cross or part == "cross")


def _term(piece: str, text: str) -> Term:
    head, *modifiers = piece.split("@")
    name, colon, amount = head.partition(":")
    if not name:
        raise UsageError(f"compression '{text}'", "a term is empty", "Write NAME:NUMBER, such as lgtm:0.5, or none.")
    info = operator_info(name, text)
    if not colon:
        amount = "0.5" if info.amount == "ratio" else "2"
        example = "@".join([f"{name}:{amount}", *(word.split(":")[0] for word in modifiers)])
        raise UsageError(f"compression '{text}'", f"'{name}' needs a {info.amount}", f"Write {example}.")
    given = [_modifier(word, name, info, text) for word in modifiers]
    keys = [key for key, _ in given]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"compression '{text}'", f"{key} is given twice for '{name}'", "Keep one of them.")
    if {"levels", "blocks"} <= set(keys):
        raise UsageError(f"compression '{text}'", "levels and blocks both say where", "Keep one of them.")
    return replace(Term(name, _amount(amount, name, info, text)), **dict(given))  # type: ignore[arg-type]


def _amount(amount: str, name: str, info: OperatorInfo, text: str) -> float:
    if info.amount == "factor":
        try:
            if (factor := whole_number(amount)) >= 1:
                return factor
        except ValueError:
            pass
        hint = f"Write a whole number from 1 up: {name}:2 keeps one key in four."
        raise UsageError(f"compression '{text}'", f"'{amount}' is no factor for '{name}'", hint)
    try:
        ratio = finite_number(amount)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        hint = "Write the share of tokens to merge, from 0 to 1; at stride 2x2 one token in four stays: 0.75 at most."
        raise UsageError(f"compression '{text}'", f"'{amount}' is no ratio for '{name}'", hint)
    return ratio


def _modifier(word: str, name: str, info: OperatorInfo, text: str) -> tuple[str, object]:
    key, equals, value = word.partition("=")
    known = [*info.variants, *(f"{o}=" if o in OPTIONS else o for o in info.options if o != "alpha")]
    if equals and key in OPTIONS and key in info.options:
        try:
            return key, OPTIONS[key].read(value)
        except ValueError:
            hint = f"Write {OPTIONS[key].expects}."
            raise UsageError(f"compression '{text}'", f"'{value}' is no {key} for '{name}'", hint) from None
    if not equals and word in info.variants:
        return "variant", word
    if word == "bias" and word in info.options:
        return word, True
    if "alpha" in info.options and (not equals or key == "alpha"):
        return "alpha", _alpha(value if equals else word, text, known)
    alpha = ["a number"] if "alpha" in info.options else []
    takes = f"'{name}' takes {', '.join([*known, *alpha])}."
    raise UsageError(f"compression '{text}'", f"unknown modifier '@{word}'", did_you_mean(word, known, takes))


def _alpha(word: str, text: str, known: list[str]) -> tuple[float, float]:
    noisy, colon, clean = word.partition(":")
    try:
        return finite_number(noisy), finite_number(clean if colon else noisy)
    except ValueError:
        hint = f"Write {ALPHAS}."
        raise UsageError(f"compression '{text}'", f"'{word}' is no alpha", did_you_mean(word, known, hint)) from None
