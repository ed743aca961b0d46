"""Answers on the device against the CPU's in float32: labels, and how far scores and gaps are apart, for each dtype."""

from __future__ import annotations

from typing import Any

import bigain
import numpy as np

from gpu_steps.queue import tell
from gpu_steps.steps import Plan

SPECS = ("none", "lgtm:0.7", "iekvd:2")
DTYPES = ("float32", "bfloat16", "float16")
BOUND = {"float32": 1e-3}  # of the difference between two labels' scores, in units of its spread over the labels


def compare_answers(plan: Plan, seconds: float) -> dict[str, Any]:
    """Classify the generated images everywhere; raise if float32 differs by more than rounding."""
    found: dict[str, Any] = {}
    for spec in SPECS[: 1 if plan.toy else None]:
        expected, labels = _scores(plan, "cpu", "float32", spec)
        for dtype in DTYPES[: 2 if plan.toy else None]:  # a CPU is very slow in float16
            scores, answers = _scores(plan, plan.device, dtype, spec)
            off = np.abs((scores - scores.mean(1, keepdims=True)) - (expected - expected.mean(1, keepdims=True)))
            found[f"{spec} in {dtype}"] = {
                "images": len(labels),
                "same_label": sum(one == other for one, other in zip(answers, labels, strict=True)),
                "largest_difference": float(np.max(off / expected.std(1, keepdims=True))),
                "mean_difference": float(np.mean(off / expected.std(1, keepdims=True))),
            }
            tell(found)
    for name, each in found.items():
        bound = BOUND.get(name.rpartition(" ")[2])
        if bound is not None and each["largest_difference"] > bound:
            raise SystemExit(f"{name}: scores differ by {each['largest_difference']:.2g} of their spread")
    return found


def _scores(plan: Plan, device: str, dtype: str, spec: str) -> tuple[np.ndarray, list[str]]:
    """Return every image's scores, in the order of the labels' names, and its label."""
    backbone = bigain.load("mini", device=device, dtype=dtype)
    rules = bigain.StoppingRules("fixed", draws=2 if plan.toy else 8)
    rows, answers = [], []
    paths = sorted(plan.photos.glob("*/*.png"))
    for result in bigain.classify(backbone, paths, rules=rules, compress=spec):
        assert isinstance(result, bigain.Ranking)
        rows.append([each.score for each in sorted(result.ranked, key=lambda each: each.label)])
        answers.append(result.label)
    if not rows:
        raise SystemExit(f"there are no images in {plan.photos}")
    return np.array(rows), answers
