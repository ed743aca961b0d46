"""Slow references for every operator, written with plain loops over one sample's tokens; no torch in the decisions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from bigain_cli.compress.spec import Term

F = np.float32
Array = np.ndarray


def pairwise(values: list[F]) -> F:
    """Sum a list by halves, the last of an odd number joining the last of the halves."""
    while len(values) > 1:
        half = len(values) // 2
        sums = [F(values[i] + values[half + i]) for i in range(half)]
        if len(values) % 2:
            sums[-1] = F(sums[-1] + values[-1])
        values = sums
    return values[0]


def scores(x: Array, h: int, w: int, pad: str) -> list[F]:
    """Return the summed absolute Laplacian of each token."""  # x [n c]
    found = []
    for i in range(h):
        for j in range(w):
            response = []
            for c in range(x.shape[1]):
                total = F(0)
                for di, dj in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    y, z = i + di, j + dj
                    if pad == "replicate":
                        y, z = min(max(y, 0), h - 1), min(max(z, 0), w - 1)
                    if 0 <= y < h and 0 <= z < w:
                        total = F(total + x[y * w + z, c])
                response.append(F(abs(F(total - F(F(4) * x[i * w + j, c])))))
            found.append(pairwise(response))
    return found


def whole_vectors(x: Array) -> list[list[int]]:
    """Round unit vectors to 1/2047."""
    found = []
    for token in x:
        token = token / max(np.abs(token).max(), np.finfo(np.float32).tiny)
        norm = F(np.sqrt(pairwise([F(v * v) for v in token])))
        factor = F(F(2047) / max(norm, F(1e-9)))
        found.append([int(np.rint(F(v * factor))) for v in token])
    return found


def cell_tokens(h: int, w: int, stride: tuple[int, int]) -> list[list[int]]:
    """List each whole cell's tokens."""
    sy, sx = stride
    return [
        [(i * sy + dy) * w + j * sx + dx for dy in range(sy) for dx in range(sx)]
        for i in range(h // sy)
        for j in range(w // sx)
    ]


def leaving(term: Term, n: int, destinations: int) -> int:
    """Return how many tokens leave."""
    return min(int(Fraction(str(term.amount)) * n), n - destinations) if destinations else 0


def matched(x: Array, dest: list[int], r: int, against: list[F] | None = None) -> dict[int, int]:
    """Send the r best sources to their most similar destinations."""
    if r == 0:
        return {}
    units, pairs = whole_vectors(x), []
    for source in range(len(x)):
        if source in dest:
            continue
        likeness = [sum(a * b for a, b in zip(units[source], units[d], strict=True)) for d in dest]
        best = max(range(len(dest)), key=lambda i: (likeness[i], -i))
        rank = F(likeness[best]) if against is None else F(F(likeness[best]) - against[source])
        pairs.append((-rank, source, dest[best]))
    return {source: d for _, source, d in sorted(pairs)[:r]}


def lgtm(term: Term, x: Array, h: int, w: int) -> dict[int, int]:
    score = scores(x, h, w, term.pad)
    cells = cell_tokens(h, w, term.stride)
    if term.variant == "compat":
        sy, sx = term.stride
        cropped = [score[i * w + j] for i in range(h // sy * sy) for j in range(w // sx * sx)]
        size = sy * sx
        strips = [cropped[k * size : (k + 1) * size] for k in range(len(cells))]
        dest = [cell[strip.index(min(strip))] for cell, strip in zip(cells, strips, strict=True)]
    else:
        dest = [min(cell, key=lambda token: (score[token], token)) for cell in cells]
    against = None
    if term.gate:
        largest = max([*score, np.finfo(np.float32).tiny])
        against = [F(F(F(2047**2 * term.gate) * s) / largest) for s in score]
    return matched(x, dest, leaving(term, len(x), len(dest)), against)


def sito(term: Term, x: Array, h: int, w: int) -> dict[int, int]:
    units = whole_vectors(x)
    if not cell_tokens(h, w, term.stride):
        return {}
    total = [sum(column) for column in zip(*units, strict=True)]
    likeness = [sum(a * b for a, b in zip(unit, total, strict=True)) for unit in units]
    dest = [max(cell, key=lambda token: (likeness[token], -token)) for cell in cell_tokens(h, w, term.stride)]
    return matched(x, dest, leaving(term, len(x), len(dest)))


def abm(term: Term, x: Array, h: int, w: int) -> dict[int, int]:
    score, cells = scores(x, h, w, term.pad), cell_tokens(h, w, term.stride)
    others = term.stride[0] * term.stride[1] - 1
    if not others or not cells:
        return {}
    most = min(int(Fraction(str(term.amount)) * len(x)) // others, len(cells))
    pool = max if term.pool == "max" else pairwise
    smooth = sorted(range(len(cells)), key=lambda k: (pool([score[t] for t in cells[k]]), k))[:most]
    return {token: cells[k][0] for k in smooth for token in cells[k][1:]}


def mixed(x: Array, h: int, w: int, factor: int, alpha: float) -> Array:
    """Return α·nearest + (1 − α)·average for each cell, in float64."""  # [n c] -> [k c]
    found = []
    for top in range(0, h, factor):
        for left in range(0, w, factor):
            rows, columns = range(top, min(top + factor, h)), range(left, min(left + factor, w))
            tokens = [x[i * w + j].astype(np.float64) for i in rows for j in columns]
            middle = x[rows[int(0.5 * len(rows))] * w + columns[int(0.5 * len(columns))]].astype(np.float64)
            found.append(alpha * middle + (1 - alpha) * sum(tokens) / len(tokens))
    return np.stack(found)


def reduced(x: Array, leaves: dict[int, int], mode: str) -> Array:
    """Give every token its cluster's value, in float64."""  # [n c] -> [n c]
    x, found = x.astype(np.float64), np.empty(x.shape)
    for token in range(len(x)):
        head = leaves.get(token, token)
        cluster = [head, *(source for source, d in leaves.items() if d == head)]
        value = x[head] if mode == "prune" else sum(x[i] for i in cluster) / len(cluster)
        if mode == "mlerp" and (norm := np.linalg.norm(value)) > 0:
            value = value * max(np.linalg.norm(x[i]) for i in cluster) / norm
        found[token] = value
    return found
