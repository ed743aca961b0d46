"""The only place where a network is altered: `apply` puts operators on it, `remove` takes them off, bit for bit.

In: a network, a pipeline or a backbone, and a spec; out: a Compression, which reports, records and replays plans.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from torch import Tensor, nn

from bigain_cli.compress.assignment import assign
from bigain_cli.compress.attaching import attach_hooks, check_blocks, refuse_compiled_or_fused
from bigain_cli.compress.forward_state import ForwardState, Observation, PlansComplete
from bigain_cli.compress.networks import kind_of
from bigain_cli.compress.operators import OPERATORS
from bigain_cli.compress.plan import Grid, Operator, Plans
from bigain_cli.compress.report import AppliedSpec, Report
from bigain_cli.compress.site import RemovableHook
from bigain_cli.compress.sites import NamedNetwork, network_of, sites_of
from bigain_cli.compress.spec import Spec, Term, parse
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.registry import attribute


@contextmanager
def compressed(
    model: object, spec: str | Spec, *, steps: int | None = None, latent: tuple[int, int] | None = None
) -> Iterator[Compression]:
    """Compress a network inside a `with`; however the block ends, the network is as it was before."""
    compression = apply(model, spec, steps=steps, latent=latent)
    try:
        yield compression
    finally:
        compression.remove()


@contextmanager
def compressed_or_not(
    backbone: NamedNetwork, spec: Spec, latent: tuple[int, int] | None = None
) -> Iterator[Compression | None]:
    """Compress a backbone's network inside a `with`, unless the spec is empty."""
    if not spec:
        yield None
        return
    if not tuple(backbone.sites()):
        why = f"this spec does nothing on this model: {backbone.name} has no network whose tokens could be merged"
        raise UsageError(f"compression '{spec}'", why, "Leave it out, or choose another model.")
    size = latent or backbone.latent_shape[1:]
    with compressed(backbone, spec, steps=backbone.timesteps, latent=size) as compression:
        yield compression


def apply(
    model: object, spec: str | Spec, *, steps: int | None = None, latent: tuple[int, int] | None = None
) -> Compression:
    """Compress a network until the compression is removed.

    `steps` is the number of timesteps (by default that of a pipeline's scheduler, else 1000); `latent` is the size to
    check the spec against, by default the configured one.
    """
    spec, root = parse(spec), network_of(model)
    refuse_compiled_or_fused(root)
    sites, kind = sites_of(model), kind_of(root)
    assignments = tuple(assign(spec, sites))
    operators = {term: operator(term) for term in spec.terms}
    size = Grid(*latent) if latent is not None else kind.configured_latent(root)
    if size is None:
        why = "its configuration names no sample_size"
        raise ModelError(f"model {type(root).__name__}", why, "Name the latent's size: apply(…, latent=(64, 64)).")
    applied = AppliedSpec(spec, root, size, assignments, operators, len(sites))
    if spec and not applied.moves_tokens():
        why = f"this spec does nothing on this model: it moves no token on a latent of {size.h}x{size.w}"
        raise UsageError(f"compression '{spec}'", why, "Ask for more, or write none for the uncompressed network.")
    check_blocks(assignments)
    count_forwards = any(term.variant == "unshared" for term in spec.terms)
    state = ForwardState(root, kind, size, steps or _timesteps(model), count_forwards)
    return Compression(applied, state, attach_hooks(state, applied))


class Compression:
    """A compressed network: what acts on it, its plans, and the way back."""

    def __init__(self, applied: AppliedSpec, state: ForwardState, hooks: list[RemovableHook]) -> None:
        self.spec = applied.spec
        self.assignments = applied.assignments  # the compressed blocks, in running order
        self.operators = applied.operators  # of each term
        self._applied, self._state, self._hooks = applied, state, hooks

    @property
    def shared_plans(self) -> frozenset[str]:
        """Return the keys of the plans that all labels of a draw may share: what a complete record holds."""
        return frozenset(each.key for each in self.assignments if each.merging is not None and each.merging.shared)

    @property
    def plans_before_text(self) -> frozenset[str]:
        """Return the keys of the shared plans that a U-Net makes before it reads any text."""
        return frozenset(each.key for each in self.assignments if each.site.place.before_text) & self.shared_plans

    @property
    def varies_before_text(self) -> bool:
        """Say whether tokens are merged differently for each row before a network reads any text.

        So they are, too, where a block that ends before the text makes a level's plan, and each label has its own.
        """
        found = [(each, each.merging) for each in self.assignments if each.merging is not None]
        own = [each for each, term in found if term.share == "level" and not term.shared]
        ended = {each.key for each in own if each.site.place.ends_before_text}
        later = {each.key for each in own if not each.site.place.ends_before_text}
        unshared = any(term.variant == "unshared" for each, term in found if each.site.place.before_text)
        return unshared or not ended.isdisjoint(later)

    def remove(self) -> None:
        """Leave the network as it was; a second call does nothing."""
        self._state.active = False
        while self._hooks:
            self._hooks.pop().remove()

    def report(self, latent: tuple[int, int] | None = None, context: int | None = None) -> Report:
        """Return sites, tokens and FLOPs for a size of the latent and a number of text tokens.

        By default for those of the last forward, or for the configured size and the usual number.
        """
        size = Grid(*latent) if latent is not None else self._state.latent
        return self._applied.report(size, context or self._state.text_tokens or self._state.inputs.text_tokens)

    def seeds(self, seeds: Tensor, row_ids: Tensor | None = None) -> AbstractContextManager[None]:
        """Give each row of the forwards inside its operator seed, and an id that separates it from others of that seed.

        The default seed is 0; by default every row of every forward has an id that no other has.
        """  # [b], [b] int64
        return self._with_state(seeds=seeds, row_ids=row_ids)

    @contextmanager
    def record(self) -> Iterator[Plans]:
        """Keep the plans of the forward inside, one row per row of its batch."""
        plans: Plans = {}
        with self._with_state(recorded=plans):
            yield plans

    @contextmanager
    def only_plans(self) -> Iterator[None]:
        """Stop the forward inside a `record()` as soon as all shared plans are made; it returns nothing then."""
        with suppress(PlansComplete), self._with_state(required=self.shared_plans):
            yield

    def replay(self, plans: Plans, rows: Tensor) -> AbstractContextManager[None]:
        """Use recorded plans instead of making new ones: row i of a batch uses row rows[i] of the plans."""  # [b]
        return self._with_state(replayed=(plans, rows))

    @contextmanager
    def observe(self) -> Iterator[list[Observation]]:
        """Keep the inputs and plans of all operators in the forward inside; a plan that several blocks share, once."""
        seen: list[Observation] = []
        with self._with_state(observed=seen):
            yield seen

    @contextmanager
    def _with_state(self, **values: Any) -> Iterator[None]:
        before = {name: getattr(self._state, name) for name in values}
        vars(self._state).update(values)
        try:
            yield
        finally:
            vars(self._state).update(before)


def operator(term: Term) -> Operator:
    """Load a term's operator."""
    loaded: Operator = attribute(OPERATORS[term.name].target)(term)
    return loaded


def _timesteps(model: object) -> int:
    scheduler = getattr(model, "scheduler", None)
    return 1000 if scheduler is None or isinstance(model, nn.Module) else scheduler.config.num_train_timesteps
