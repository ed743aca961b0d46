"""The table of token compression: one line per operator, and the modifiers that may follow its number.

Must not import torch: the command checks a spec and lists the operators before anything heavy is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bigain_cli.errors import UsageError
from bigain_cli.near_names import did_you_mean

PLACE = ("levels", "blocks")
MERGING = (*PLACE, "plan", "share", "bias")
IN_CELLS = ("stride", *MERGING)


@dataclass(frozen=True)
class OperatorInfo:
    """One operator: where it is implemented, what its number means, which modifiers it takes."""

    target: str  # "module:attribute"
    amount: str  # "ratio" of tokens to merge, or "factor" of key-value downsampling per axis
    about: str
    options: tuple[str, ...]
    variants: tuple[str, ...] = ()


OPERATORS: dict[str, OperatorInfo] = {
    "lgtm": OperatorInfo(
        "bigain_cli.compress.token_merging:laplacian_gated",
        "ratio",
        "Laplacian-gated merging (@compat: as released but near ties)",
        ("mode", "gate", "pad", *IN_CELLS),
        ("compat",),
    ),
    "tome": OperatorInfo(
        "bigain_cli.compress.token_merging:random_cells",
        "ratio",
        "token merging, a random destination per cell",
        ("mode", *IN_CELLS),
        ("fixed", "unshared"),
    ),
    "sito": OperatorInfo(
        "bigain_cli.compress.token_merging:similarity_pruned",
        "ratio",
        "pruning by similarity, recovered by copy",
        IN_CELLS,
    ),
    "abm": OperatorInfo(
        "bigain_cli.compress.token_merging:AdaptiveBlocks",
        "ratio",
        "smooth cells collapse to one each; @pool=max as its authors do",
        ("mode", "pad", "pool", *IN_CELLS),
    ),
    "iekvd": OperatorInfo(
        "bigain_cli.compress.kv_pooling:KvPooling",
        "factor",
        "keys and values between nearest and average samples",
        ("alpha", *PLACE),
    ),
    "todo": OperatorInfo(
        "bigain_cli.compress.kv_pooling:nearest", "factor", "keys and values from the nearest sample", PLACE
    ),
    "avg": OperatorInfo("bigain_cli.compress.kv_pooling:average", "factor", "keys and values from the average", PLACE),
}


def operator_info(name: str, text: str) -> OperatorInfo:
    """Return an operator's line; refuse an unknown name."""
    if name not in OPERATORS:
        raise UsageError(f"compression '{text}'", f"unknown operator '{name}'", did_you_mean(name, OPERATORS))
    return OPERATORS[name]


@dataclass(frozen=True)
class Option:
    """One `@key=value` modifier: how its value is read and written, and which values it takes."""

    read: Callable[[str], object]
    expects: str
    write: Callable[..., str] = str


ALPHAS = "a number such as 0.9, or NOISY:CLEAN such as 0.8:1.2"  # a modifier without a key


def _choice(*words: str) -> Option:
    def read(value: str) -> str:
        if value not in words:
            raise ValueError(value)
        return value

    return Option(read, " or ".join(words))


def finite_number(value: str) -> float:
    """Read a finite decimal number."""
    if not math.isfinite(x := float(value)):
        raise ValueError(value)
    return x


def format_number(value: float) -> str:
    """Return a short text that is read back as the same number; never with a '+'."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value).replace("e+", "e")


def _non_negative(value: str) -> float:
    if (x := finite_number(value)) < 0:
        raise ValueError(value)
    return x


def whole_number(value: str) -> int:
    """Read a whole number of at most nine digits."""
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise ValueError(value)
    return int(value)


def _stride(value: str) -> tuple[int, int]:
    rows, columns = value.split("x")
    if min(stride := (whole_number(rows), whole_number(columns))) < 1:
        raise ValueError(value)
    return stride


def _levels(value: str) -> int | str:
    if value == "all":
        return value
    if (level := whole_number(value)) < 1:
        raise ValueError(value)
    return level


def _blocks(value: str) -> tuple[int, ...]:
    picked: set[int] = set()
    for part in value.split(","):
        first, dash, last = part.partition("-")
        span = range(whole_number(first), whole_number(last if dash else first) + 1)
        if not span or span[-1] > 9999:
            raise ValueError(value)
        picked.update(span)
    return tuple(sorted(picked))


def _format_blocks(blocks: tuple[int, ...]) -> str:
    known = set(blocks)
    starts = [b for b in blocks if b - 1 not in known]
    ends = [b for b in blocks if b + 1 not in known]
    return ",".join(str(a) if a == z else f"{a}-{z}" for a, z in zip(starts, ends, strict=True))


OPTIONS: dict[str, Option] = {
    "mode": _choice("mean", "prune", "mlerp"),
    "gate": Option(_non_negative, "a number from 0 up", format_number),
    "pad": _choice("zero", "replicate"),
    "pool": _choice("sum", "max"),
    "stride": Option(_stride, "ROWSxCOLUMNS such as 2x2", lambda stride: f"{stride[0]}x{stride[1]}"),
    "levels": Option(_levels, "1, 2, 4 … or all"),
    "blocks": Option(_blocks, "block numbers from 0, such as 1-5,7-11", _format_blocks),
    "plan": _choice("shared", "per-label"),
    "share": _choice("block", "level"),
}


def list_operators() -> list[dict[str, object]]:
    """Return all operators with the meaning of their numbers and the modifiers that may follow."""
    rows: list[dict[str, object]] = []
    for name, info in OPERATORS.items():
        takes = {key: f"{key}=({option.expects})" for key, option in OPTIONS.items()} | {"alpha": f"({ALPHAS})"}
        modifiers = [f"@{word}" for word in (*info.variants, *(takes.get(key, key) for key in info.options))]
        rows.append({"name": name, "takes": info.amount, "about": info.about, "modifiers": modifiers})
    return rows
