"""Attention between image and text in plain loops and float64: which tokens ask, which answer, where each stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass
class Stream:
    """Tokens that share their weights: one part of what attends."""

    tokens: Array  # [n c]
    places: list[tuple[float, ...]] | None  # each token's position, an axis each; None: it is not rotated


def matrix(layer: Any, rows: slice = slice(None)) -> tuple[Array, Array]:
    weight = layer.weight.double().numpy()[rows]
    return weight, np.zeros(len(weight)) if layer.bias is None else layer.bias.double().numpy()[rows]


def projected(tokens: Array, weights: tuple[Array, Array], heads: int) -> list[list[Array]]:
    """Multiply every token; split it into heads."""
    return [list(np.split(weights[0] @ token + weights[1], heads)) for token in tokens]


def normed(rows: list[list[Array]], norm: Any) -> list[list[Array]]:
    if norm is None:
        return rows
    gain = norm.weight.double().numpy()
    eps = norm.eps if norm.eps is not None else np.finfo(np.float32).eps
    return [[part / math.sqrt(float((part * part).mean()) + eps) * gain for part in row] for row in rows]


def turned(rows: list[list[Array]], places: list[tuple[float, ...]] | None, axes: tuple[int, ...]) -> list[list[Array]]:
    """Rotate pairs of channels: each axis has its channels, each pair its frequency."""
    if places is None:
        return rows
    found = []
    for row, place in zip(rows, places, strict=True):
        angles = [at * 10000.0 ** (-2 * i / d) for at, d in zip(place, axes, strict=True) for i in range(d // 2)]
        new = []
        for part in row:
            out = part.copy()
            for i, angle in enumerate(angles):
                a, b = part[2 * i], part[2 * i + 1]
                out[2 * i] = a * math.cos(angle) - b * math.sin(angle)
                out[2 * i + 1] = a * math.sin(angle) + b * math.cos(angle)
            new.append(out)
        found.append(new)
    return found


def attended(
    queries: list[list[Array]], keys: list[list[Array]], values: list[list[Array]], extra: list[float] | None = None
) -> Array:
    """Return every query's mean of the values, heads side by side."""  # [n c]
    found = []
    for query in queries:
        heads = []
        for h, part in enumerate(query):
            logits = [float(part @ key[h]) / math.sqrt(len(part)) for key in keys]
            logits = [a + b for a, b in zip(logits, extra or [0.0] * len(logits), strict=True)]
            weights = [math.exp(each - max(logits)) for each in logits]
            heads.append(sum(w * value[h] for w, value in zip(weights, values, strict=True)) / sum(weights))
        found.append(np.concatenate(heads))
    return np.stack(found)


def out(rows: Array, layer: Any) -> Array:
    weight, bias = matrix(layer)
    return rows @ weight.T + bias
