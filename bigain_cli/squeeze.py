"""The work that all labels of a draw share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from bigain_cli.backbones.base import Backbone, Conditions, Shared
from bigain_cli.backbones.prefix_cache import Prefix
from bigain_cli.compress.hooks import Plans
from bigain_cli.compress.patching import Handle, compressed
from bigain_cli.compress.plans import joined
from bigain_cli.compress.spec import Spec
from bigain_cli.errors import UsageError


@contextmanager
def squeezed(backbone: Backbone, spec: Spec, latent: tuple[int, int] | None = None) -> Iterator[Handle | None]:
    """Let a spec act on a backbone's network, unless it is none, and leave the network as it was."""
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
    """The part of an evaluation that all labels of a draw share, one row per (image, draw)."""

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
    """The (image, draw) pair of each row of a batch, that draw's operator seed, and its prompt."""

    pairs: Tensor  # [b]
    seeds: Tensor  # [b]
    prompts: Tensor  # [b]


class Squeeze:
    """Runs the work that all labels of a draw share: the prefix, and the plans of a compression.

    A plan comes from the prefix, or, where that does not reach, from a pass with the empty prompt. A compiled network
    cannot stop once its plans are made: its `planner` is the same network, not compiled.
    """

    def __init__(
        self, backbone: Backbone, share: bool, compression: Handle | None = None, planner: Backbone | None = None
    ) -> None:
        self.backbone, self.share, self.compression = backbone, share and backbone.prefixed, compression
        self._planner = planner or backbone
        self._empty_prompt = backbone.condition([""]) if self.extra else None

    @property
    def extra(self) -> int:
        """Return the evaluations per draw that plans take beside those of the labels: one, or none."""
        if self.compression is None or not self.compression.shared:
            return 0
        return int(not (self.share and self.compression.shared == self.compression.first))

    def shared_part(self, noisy: Tensor, t: Tensor, seeds: Tensor) -> Common:
        """Run the part that no label enters, and keep the plans that are made in it."""  # [b c h w], [b], [b]
        if self.compression is None:
            return Common(self._prefix(noisy, t), {})
        with self.compression.seeds(seeds, torch.full_like(seeds, -1)), self.compression.record() as plans:
            prefix = self._prefix(noisy, t)
            if self._empty_prompt is not None:
                empty = self._empty_prompt.take(torch.zeros_like(t))
                with self.compression.only_plans():
                    self._planner.noise(noisy, t, empty, prefix)
        return Common(prefix, dict(plans))

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: Common, rows: Rows) -> Tensor:
        """Predict the noise of a batch whose rows belong to the given (image, draw) pairs."""
        prefix = shared.prefix.take(rows.pairs) if shared.prefix is not None else None
        with ExitStack() as stack:
            if self.compression is not None:
                stack.enter_context(self.compression.seeds(rows.seeds, rows.prompts))
            if self.compression is not None and shared.plans:
                stack.enter_context(self.compression.replay(shared.plans, rows.pairs))
            return self.backbone.noise(noisy, t, conditions, prefix)

    def _prefix(self, noisy: Tensor, t: Tensor) -> Shared | None:
        return self.backbone.shared(noisy, t) if self.share else None
