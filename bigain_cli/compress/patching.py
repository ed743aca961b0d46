"""The only place where a network is altered: `apply` puts operators on it, its handle takes them off, bit for bit.

In: a network, a pipeline or a backbone, and a spec; out: a Handle, which reports, and keeps and gives plans.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bigain_cli.compress.hooks import BlockHooks, ForwardState, GridHook, Observation, PlansComplete
from bigain_cli.compress.operators import OPERATORS
from bigain_cli.compress.plan import Grid, Operator, Plans
from bigain_cli.compress.report import Report, Survey
from bigain_cli.compress.sites import Assignment, NamedNetwork, assign, latent_of, network_of, sites_of
from bigain_cli.compress.spec import Spec, Term, parse
from bigain_cli.errors import ModelError, UsageError


class Compression:
    """A compressed network: what was done to it, its plans, and the way back."""

    def __init__(self, spec: Spec, frame: ForwardState, hooks: list[RemovableHandle], survey: Survey) -> None:
        self.spec = spec
        self._frame, self._hooks, self._survey = frame, hooks, survey

    @property
    def shared(self) -> frozenset[str]:
        """Name the plans that one draw's labels may share: what a complete record holds."""
        work = self._survey.work
        return frozenset(item.key for item in work if item.merging is not None and item.merging.shared)

    @property
    def first(self) -> frozenset[str]:
        """Name the plan that is made at the network's very first site, where a U-Net has not looked at any text."""
        return frozenset(item.key for item in self._survey.work[:1] if item.merging and item.site.index == 0)

    def remove(self) -> None:
        """Leave the network as it was; a second time does nothing."""
        self._frame.active = False
        while self._hooks:
            self._hooks.pop().remove()

    def report(self, latent: tuple[int, int] | None = None, context: int = 77) -> Report:
        """Return sites, tokens and FLOPs for a latent's size: the given, the last seen, or the configured one."""
        size = Grid(*latent) if latent is not None else self._frame.latent or self._survey.latent
        return self._survey.report(size, context)

    @contextmanager
    def seeds(self, seeds: Tensor, apart: Tensor | None = None) -> Iterator[None]:
        """Give each row of the coming forwards its operator seed, and what tells it from others of that seed.

        Without seeds all are 0; without the other, every row of every forward is another one.
        """  # [b], [b] int64
        before = self._frame.seeds, self._frame.apart
        self._frame.seeds, self._frame.apart = seeds, apart
        try:
            yield
        finally:
            self._frame.seeds, self._frame.apart = before

    @contextmanager
    def record(self) -> Iterator[Plans]:
        """Keep the plans of the forward inside, one row per row of its batch."""
        plans: Plans = {}
        before, self._frame.recorded = self._frame.recorded, plans
        try:
            yield plans
        finally:
            self._frame.recorded = before

    @contextmanager
    def observe(self) -> Iterator[list[Observation]]:
        """Keep what operators look at and decide in the forward inside; a plan that several blocks share, once."""
        seen: list[Observation] = []
        before, self._frame.observed = self._frame.observed, seen
        try:
            yield seen
        finally:
            self._frame.observed = before

    @property
    def works(self) -> tuple[Assignment, ...]:
        """The blocks that are touched, in running order, with their terms."""
        return self._survey.work

    @property
    def operators(self) -> dict[Term, Operator]:
        """What acts for each term."""
        return self._survey.operators

    @contextmanager
    def only_plans(self) -> Iterator[None]:
        """Let the forward inside a `record()` end as soon as all shared plans are made; it returns nothing then."""
        self._frame.enough = self.shared
        try:
            with suppress(PlansComplete):
                yield
        finally:
            self._frame.enough = None

    @contextmanager
    def replay(self, plans: Plans, rows: Tensor) -> Iterator[None]:
        """Use recorded plans instead of making new ones: row i of a batch takes row rows[i] of the plans."""  # [b]
        before, self._frame.replayed = self._frame.replayed, (plans, rows)
        try:
            yield
        finally:
            self._frame.replayed = before


def apply(
    model: object, spec: str | Spec, *, steps: int | None = None, latent: tuple[int, int] | None = None
) -> Compression:
    """Compress a network until the handle is removed.

    `steps` is the noisy end of time (a pipeline's scheduler knows it, else 1000); `latent` is the size to check
    the spec against where the network's configuration names none.
    """
    spec, root = parse(spec), network_of(model)
    _refuse(root)
    sites = sites_of(model)
    work = assign(spec, sites)
    operators = {term: operator(term) for term in spec.terms}
    size = Grid(*latent) if latent is not None else latent_of(root)
    if size is None:
        why = "its configuration names no sample_size"
        raise ModelError(f"model {type(root).__name__}", why, "Say the latent's size: apply(…, latent=(64, 64)).")
    survey = Survey(spec, root, size, tuple(work), operators, len(sites))
    if spec and not survey.moves():
        why = f"it moves no token on a latent of {size.h}x{size.w}"
        raise UsageError(f"compression '{spec}'", why, "Ask for more, or write none for the uncompressed network.")
    counting = any(term.variant == "unshared" for term in spec.terms)
    frame = ForwardState(root, steps or _steps(model), counting)
    return Compression(spec, frame, _attach(frame, work, operators), survey)


@contextmanager
def compressed(
    model: object, spec: str | Spec, *, steps: int | None = None, latent: tuple[int, int] | None = None
) -> Iterator[Compression]:
    """Compress a network inside a `with`; whatever happens there, it leaves the network as it was."""
    handle = apply(model, spec, steps=steps, latent=latent)
    try:
        yield handle
    finally:
        handle.remove()


def _attach(frame: ForwardState, work: list[Assignment], operators: dict[Term, Operator]) -> list[RemovableHandle]:
    """Put all hooks in place, or none."""
    hooks: list[RemovableHandle] = []
    names = {id(module): name for name, module in frame.root.named_modules()}
    hosts = {names[id(item.site.host)]: item.site for item in work}
    try:
        hooks += frame.attach() if work else []
        for name, site in hosts.items():
            host = GridHook(frame, name, site.patch)
            hooks.append(site.host.register_forward_pre_hook(host.enter, with_kwargs=True))
        for item in work:
            hooks += _at(frame, item, names[id(item.site.host)], operators)
    except BaseException:
        for hook in hooks:
            hook.remove()
        raise
    return hooks


def _at(frame: ForwardState, work: Assignment, host: str, operators: dict[Term, Operator]) -> list[RemovableHandle]:
    """Put hooks on one block."""
    term = work.merging
    site = BlockHooks(
        frame, work.site, host, operators[term] if term else None, operators[work.pooling] if work.pooling else None
    )
    if term is None:
        return site.attach(mlp=False, cross=False)
    site.shared = term.shared
    if term.share == "level":
        site.by_level, site.key = True, work.key
    return site.attach(term.mlp, term.cross)


def _refuse(root: Any) -> None:
    """Refuse networks on which hooks would be ignored, or already are."""
    name = f"model {type(root).__name__}"
    for module in root.modules():
        if "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None:
            raise ModelError(name, "it is compiled and would ignore its compression", "Compress first, then compile.")
        if getattr(module, "fused_projections", False):
            hint = "Call unfuse_qkv_projections() first."
            raise ModelError(name, "its query, key and value projections are fused", hint)
    if is_compressed(root):
        hint = "Remove that first, or join the specs with '+'."
        raise UsageError(name, "it is compressed already", hint)


def is_compressed(root: Any) -> bool:
    """Tell whether a spec acts on a network."""
    return any(_ours(hook) for module in root.modules() for hook in module._forward_pre_hooks.values())


def _ours(hook: Any) -> bool:
    return isinstance(getattr(hook, "__self__", None), ForwardState | BlockHooks)


def operator(term: Term) -> Operator:
    """Load what a term names."""
    module, _, attribute = OPERATORS[term.name].target.partition(":")
    return getattr(importlib.import_module(module), attribute)(term)


def _steps(model: object) -> int:
    scheduler = getattr(model, "scheduler", None)
    return 1000 if scheduler is None or isinstance(model, nn.Module) else scheduler.config.num_train_timesteps


@contextmanager
def compressed_or_not(
    backbone: NamedNetwork, spec: Spec, latent: tuple[int, int] | None = None
) -> Iterator[Compression | None]:
    """Let a spec act on a backbone's network, unless it is none, and leave the network as it was."""
    if not spec:
        yield None
        return
    if not tuple(backbone.sites()):
        why = f"{backbone.name} has no network whose tokens could be merged"
        raise UsageError(f"compression '{spec}'", why, "Leave it out, or choose another model.")
    with compressed(backbone, spec, steps=backbone.timesteps, latent=latent) as handle:
        yield handle
