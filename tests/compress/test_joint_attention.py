"""Merged and pooled attention between image and text against plain loops, on every kind of block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from compress_cases import Grid
from compress_loops import cell_tokens, mixed, reduced
from joint_loops import attended, matrix, normed, out, projected, turned
from joint_nets import JOINT, latents
from torch import nn

from bigain_cli.compress import compressed, parse
from bigain_cli.compress.patching import operator
from bigain_cli.compress.plan import PlanRows

H, W = 6, 4  # tokens
CASES = ["lgtm:0.5", "iekvd:2@0.8", "tome:0.4@fixed+todo:3"]
BLOCKS = [("sd3", 1), ("sd3.5", 0), ("flux", 1), ("flux", 3), ("chroma", 3), ("prx", 1)]
PAIRS = [(*block, spec) for block in BLOCKS for spec in CASES]
PAIRS += [("flux", 1, "lgtm:0.5@bias"), ("chroma", 2, "lgtm:0.5@bias")]
Token = np.ndarray


def seen_by(attention: nn.Module) -> dict[str, Any]:
    """Keep what the block gives its attention, and what it gets back."""
    seen: dict[str, Any] = {}
    attention.register_forward_pre_hook(lambda _, args, kwargs: seen.update(kwargs), with_kwargs=True, prepend=True)
    attention.register_forward_hook(lambda _, args, output: seen.update(output=output))
    return seen


class Tokens:
    """The image's tokens as they ask and as they answer, with the numbers of their places on the grid."""

    def __init__(self, spec: str, image: torch.Tensor) -> None:
        n = H * W
        self.queries, self.keys = image[0].double().numpy(), None
        self.query_at, self.key_at, self.cluster = list(range(n)), list(range(n)), list(range(n))
        self.bias = [0.0] * n
        for term in parse(spec).terms:
            rows = PlanRows(torch.zeros(1), torch.zeros(1, dtype=torch.int64), 1000, 0, torch.arange(1))
            plan = operator(term).plan(image, Grid(H, W), rows)
            if term.merges:
                self.query_at, self.cluster = plan.kept()[0].tolist(), plan.clusters()[0].tolist()
                leaves = {i: self.query_at[c] for i, c in enumerate(self.cluster) if self.query_at[c] != i}
                self.queries = reduced(self.queries, leaves, "mean")[self.query_at]
                self.bias = [float(np.log(self.cluster.count(c))) * term.bias for c in range(len(self.query_at))]
            else:
                factor, alpha = int(term.amount), {"iekvd": term.alpha[0], "todo": 1.0}[term.name]
                self.keys = mixed(image[0].double().numpy(), H, W, factor, alpha)
                self.bias = [0.0] * len(self.keys)
                tops = range(0, H, factor), range(0, W, factor)
                self.key_at = [
                    (i + min(factor, H - i) // 2) * W + j + min(factor, W - j) // 2 for i in tops[0] for j in tops[1]
                ]
        if self.keys is None:
            self.keys, self.key_at = self.queries, self.query_at

    def restored(self, rows: Token) -> Token:
        return rows[self.cluster]


def places(at: list[int], axes: int) -> list[tuple[float, ...]]:
    """Return rows and columns, in FLUX behind an axis that no image uses."""
    return [(0.0,) * (axes - 2) + (i // W, i % W) for i in at]


def heads_of(attention: Any) -> int:
    return int(attention.heads)


def two_streams(attention: Any, image: Tokens, text: Token, axes: tuple[int, ...] | None) -> tuple[Token, Token]:
    """SD3's attention and FLUX's double block: text has its own weights and, where there is RoPE, stands at 0."""
    heads, parts = heads_of(attention), {}
    at = {"q": image.query_at, "k": image.key_at}
    for name, tokens in (("q", image.queries), ("k", image.keys), ("v", image.keys)):
        rows = projected(tokens, matrix(getattr(attention, f"to_{name}")), heads)
        words = projected(text, matrix(getattr(attention, f"add_{name}_proj")), heads)
        if name != "v":
            rows = normed(rows, getattr(attention, f"norm_{name}"))
            words = normed(words, getattr(attention, f"norm_added_{name}"))
            if axes is not None:
                rows = turned(rows, places(at[name], len(axes)), axes)
        parts[name] = words + rows
    found = attended(parts["q"], parts["k"], parts["v"], [0.0] * len(text) + image.bias)
    return found[: len(text)], image.restored(out(found[len(text) :], attention.to_out[0]))


def one_stream(attention: Any, image: Tokens, text: Token, axes: tuple[int, ...]) -> Token:
    """FLUX's single block: the same weights, text in front, no projection of what comes out."""
    heads, parts = heads_of(attention), {}
    nowhere = [(0.0,) * len(axes)] * len(text)
    for name, tokens, at in (
        ("q", image.queries, image.query_at),
        ("k", image.keys, image.key_at),
        ("v", image.keys, image.key_at),
    ):
        rows = projected(np.concatenate([text, tokens]), matrix(getattr(attention, f"to_{name}")), heads)
        if name != "v":
            rows = turned(normed(rows, getattr(attention, f"norm_{name}")), nowhere + places(at, len(axes)), axes)
        parts[name] = rows
    found = attended(parts["q"], parts["k"], parts["v"], [0.0] * len(text) + image.bias)
    return np.concatenate([found[: len(text)], image.restored(found[len(text) :])])


def image_asks(attention: Any, image: Tokens, text: Token, mask: list[bool]) -> Token:
    """PRX: only the image asks; padding of the text does not answer."""
    heads, width = heads_of(attention), attention.inner_dim
    third = [matrix(attention.img_qkv_proj, slice(i * width, (i + 1) * width)) for i in range(3)]
    half = [matrix(attention.txt_kv_proj, slice(i * width, (i + 1) * width)) for i in range(2)]
    axes = (4, 4)
    queries = turned(
        normed(projected(image.queries, third[0], heads), attention.norm_q), places(image.query_at, 2), axes
    )
    keys = turned(normed(projected(image.keys, third[1], heads), attention.norm_k), places(image.key_at, 2), axes)
    words = [token for token, kept in zip(text, mask, strict=True) if kept]
    keys = normed(projected(np.stack(words), half[0], heads), attention.norm_added_k) + keys
    values = projected(np.stack(words), half[1], heads) + projected(image.keys, third[2], heads)
    return image.restored(out(attended(queries, keys, values), attention.to_out[0]))


@pytest.mark.parametrize(("kind", "number", "spec"), PAIRS)
def test_plain_loops_agree(kind: str, number: int, spec: str) -> None:
    make, run = JOINT[kind]
    network = make()
    with compressed(network, "+".join(f"{term}@blocks={number}" for term in spec.split("+"))) as compression:
        block = compression.assignments[0].site
        seen = seen_by(block.attention)
        run(network, latents(1, H * 2, W * 2))
    tokens, text = seen["hidden_states"], seen.get("encoder_hidden_states")
    words = None if text is None else text[0].double().numpy()
    image = Tokens(spec, tokens[:, -H * W :])
    if kind == "prx":
        mask = seen["attention_mask"][0].tolist()
        expected = [image_asks(block.attention, image, words, mask)]
    elif words is None:
        in_front = tokens[0, : -H * W].double().numpy()
        expected = [one_stream(block.attention, image, in_front, network.config.axes_dims_rope)]
    else:
        axes = None if kind.startswith("sd3") else network.config.axes_dims_rope
        of_text, of_image = two_streams(block.attention, image, words, axes)
        expected = [of_image, out(of_text, block.attention.to_add_out)]
    output = seen["output"] if isinstance(seen["output"], tuple) else (seen["output"],)
    for found, wanted in zip(output, expected, strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(found[0].double().numpy() / scale, wanted / scale, atol=2e-5)


def test_the_loops_can_tell_a_wrong_position() -> None:
    """A key that stands elsewhere changes what comes out by far more than the loops' tolerance."""
    rows = [[np.ones(8)]]
    here, there = (turned(rows, [(0.0, 1.0, at)], (2, 2, 4))[0][0] for at in (1.0, 2.0))
    assert np.abs(here - there).max() > 0.1
    assert len(cell_tokens(H, W, (2, 2))) == 6
