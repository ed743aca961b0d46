"""Compression while scoring: which plan each row of a batch uses, one plan per draw for all labels.

In: a handle on a compressed network, and batches of (image, draw) pairs; out: contexts for forward passes. A plan
comes from what no label enters, or, where that does not reach, from a pass with the empty prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from bigain_cli.backbones.base import Backbone, Conditions, Shared
from bigain_cli.backbones.prefix import Prefix
from bigain_cli.compress.hooks import Plans
from bigain_cli.compress.plans import joined
from bigain_cli.compress.seam import Handle, compressed
from bigain_cli.compress.spec import Spec
from bigain_cli.errors import UsageError


@contextmanager
def squeezed(backbone: Backbone, spec: Spec, latent: tuple[int, int] | None = None) -> Iterator[Handle | None]:
    """Let a spec act on a backbone's network, if it asks for anything, and leave the network as it was."""
    if not spec:
        yield None
        return
    if not tuple(backbone.sites()):
        why = f"{backbone.name} has no network whose tokens could be merged"
        raise UsageError(f"compression '{spec}'", why, "Leave it out, or choose another model.")
    with compressed(backbone, spec, steps=backbone.length, latent=latent) as handle:
        yield handle


@dataclass(frozen=True)
class Common:
    """What all labels of a draw have in common, one row per (image, draw)."""

    prefix: Shared | None
    plans: Plans

    @staticmethod
    def join(parts: list[Common]) -> Common:
        """Concatenate the parts of a round."""
        prefixes = [part.prefix for part in parts if part.prefix is not None]
        return Common(
            Prefix.join(cast(list[Prefix], prefixes)) if prefixes else None, joined([part.plans for part in parts])
        )


class Rows(NamedTuple):
    """Which (image, draw) pair each row of a batch belongs to, that draw's operator seed, and its prompt."""

    pairs: Tensor  # [b]
    seeds: Tensor  # [b]
    prompts: Tensor  # [b]


class Squeeze:
    """Tells a compressed network what its rows are; without a handle there is only the prefix to share.

    A compiled network cannot stop once its plans are made: its `planner` is the same network, not compiled.
    """

    def __init__(
        self, backbone: Backbone, share: bool, handle: Handle | None = None, planner: Backbone | None = None
    ) -> None:
        self.backbone, self.share, self.handle = backbone, share and backbone.prefixed, handle
        self._planner = planner or backbone
        self._nothing = backbone.condition([""]) if self.extra else None

    @property
    def extra(self) -> int:
        """Return the evaluations that plans take per draw, beside those of the labels: one, or none."""
        if self.handle is None or not self.handle.shared:
            return 0
        return int(not (self.share and self.handle.shared == self.handle.first))

    def common(self, noisy: Tensor, t: Tensor, seeds: Tensor) -> Common:
        """Run what no label enters, and keep the plans that are made on the way."""  # [b c h w], [b], [b]
        if self.handle is None:
            return Common(self._prefix(noisy, t), {})
        with self.handle.seeds(seeds, torch.full_like(seeds, -1)), self.handle.record() as plans:
            prefix = self._prefix(noisy, t)
            if self._nothing is not None:
                nothing = self._nothing.take(torch.zeros_like(t))
                with self.handle.only_plans():
                    self._planner.noise(noisy, t, nothing, prefix)
        return Common(prefix, dict(plans))

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, common: Common, rows: Rows) -> Tensor:
        """Predict the noise of a batch whose rows belong to the given (image, draw) pairs."""
        prefix = common.prefix.take(rows.pairs) if common.prefix is not None else None
        with ExitStack() as stack:
            if self.handle is not None:
                stack.enter_context(self.handle.seeds(rows.seeds, rows.prompts))
            if self.handle is not None and common.plans:
                stack.enter_context(self.handle.replay(common.plans, rows.pairs))
            return self.backbone.noise(noisy, t, conditions, prefix)

    def _prefix(self, noisy: Tensor, t: Tensor) -> Shared | None:
        return self.backbone.shared(noisy, t) if self.share else None
