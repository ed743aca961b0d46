"""The arithmetic that classifying one image takes: what all labels of a draw share is counted once for each draw.

In: a backbone, its compression, what is shared; out: GFLOP for so many draws and evaluations. Runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from bigain_cli.backbones.base import Backbone
from bigain_cli.classification.denoising import SharedComputation
from bigain_cli.compress.flops import flops_before_text, forward_flops
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.report import Report


@dataclass(frozen=True)
class RunCost:
    """GFLOP; all are 0 where there is no network."""

    whole: float = 0.0  # of a pass by itself
    per_draw: float = 0.0  # of what the labels of a draw share, a pass that only makes plans included
    per_evaluation: float = 0.0  # of the rest, for each label
    planning: int = 0  # passes of a draw that only make plans

    @staticmethod
    def of(backbone: Backbone, text_tokens: int, shared: SharedComputation, report: Report | None) -> RunCost:
        """Return the cost of a backbone; `report` is that of its compression."""
        whole, early = _uncompressed(backbone, text_tokens)
        if report is not None:
            whole, early = report.flops_after, report.before_text_after
        once = early if shared.share else 0
        each = whole - once
        if shared.plan_evaluations and report is not None:
            later = [site for site in report.sites if site.shared and not (shared.share and site.before_text)]
            each -= sum(site.matching for site in later)
            once = report.planning  # which begins with what is shared before the text, if anything is
        return RunCost(whole / 1e9, once / 1e9, each / 1e9, shared.plan_evaluations)

    def gflop(self, draws: int, evaluations: int) -> float:
        """Return what so many draws and evaluations take; a pass that only makes plans counts as an evaluation."""
        return draws * self.per_draw + (evaluations - draws * self.planning) * self.per_evaluation


def _uncompressed(backbone: Backbone, text_tokens: int) -> tuple[int, int]:
    """Return the operations of a pass, and those before the text."""
    site, latent = next(iter(backbone.sites()), None), Grid(*backbone.latent_shape[1:])
    if site is None:
        return 0, 0
    return forward_flops(site.root, latent, text_tokens), flops_before_text(site.root, latent)
