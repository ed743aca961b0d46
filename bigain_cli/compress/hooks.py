"""Plain torch hooks that let operators act on a network's blocks; no forward is copied, nothing stays on a module.

`Frame` follows a forward pass (time, grid, seeds, plans kept or given); `SiteHooks` acts at one block.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bigain_cli.compress.plan import Grid, Operator, Plan, Plans, Rows
from bigain_cli.compress.sites import Site
from bigain_cli.errors import ModelError, UsageError

CALLS = 32  # bits below which the number of a forward does not reach
ATTENTION = ("hidden_states", "encoder_hidden_states", "attention_mask")


class PlansComplete(Exception):
    """Every plan that was wanted is recorded; the rest of the forward would be for nothing."""


@dataclass(frozen=True)
class Observation:
    """One decision of an operator, with what it looked at."""

    site: Site
    key: str  # of the plan
    operator: Operator
    plan: Plan
    tokens: Tensor  # [b n c]
    grid: Grid
    rows: Rows


class ForwardState:
    """What is known while a network runs; one per compressed network."""

    def __init__(self, root: Any, steps: int, counting: bool) -> None:
        self.root, self.steps, self.counting = root, steps, counting
        self.names = list(inspect.signature(root.forward).parameters)
        self.active, self.touched = True, False
        self.call = torch.zeros(1, dtype=torch.int64)
        self.latent: Grid | None = None
        self.grids: dict[str, Grid] = {}  # by host
        self.t: Tensor | None = None
        self.seeds: Tensor | None = None
        self.apart: Tensor | None = None
        self.level_plans: Plans = {}  # of this forward, where a level shares one
        self.recorded: Plans | None = None
        self.enough: frozenset[str] | None = None  # the plans after which a forward may end
        self.replayed: tuple[Plans, Tensor] | None = None
        self.observed: list[Observation] | None = None

    def attach(self) -> list[RemovableHandle]:
        """Put hooks on the network's start and end."""
        return [
            self.root.register_forward_pre_hook(self.start, with_kwargs=True),
            self.root.register_forward_hook(self.end),
        ]

    def start(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the time and the latent's size."""
        given = dict(zip(self.names, args, strict=False)) | kwargs
        sample, t = given[self.names[0]], given.get("timestep")
        self.latent = Grid(*sample.shape[-2:])
        self.t = _times(t, sample) if t is not None else None
        if self.counting:
            self.call = self.call.to(sample.device) + 1
        self.touched = False
        self.level_plans.clear()

    def end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Find out a compiled network that never saw the hooks."""
        if not self.touched:
            why = "it ran without its compression: it had been compiled before"
            raise ModelError(f"model {type(module).__name__}", why, "Compress first, then call torch.compile.")

    def rows(self, tokens: Tensor, site: int) -> Rows:
        """Return what is known of the rows."""  # tokens [b n c]
        b, seeds = tokens.shape[0], self.seeds
        if self.t is None:
            why = "its blocks ran without a timestep"
            raise ModelError(f"model {type(self.root).__name__}", why, "Call the network itself, not its parts.")
        if seeds is None:
            seeds = torch.zeros(b, dtype=torch.int64, device=tokens.device)
        apart = self.apart
        if apart is None:  # nobody says: every row of every forward is another one
            apart = torch.arange(b, device=tokens.device) + (self.call.to(tokens.device) << CALLS)
        for name, value in (("timesteps", self.t), ("seeds", seeds), ("row numbers", apart)):
            if len(value) not in (1, b):
                raise UsageError(f"{len(value)} {name}", f"the batch has {b} rows", "Give one for each row.")
        return Rows(self.t.expand(b), seeds.expand(b), self.steps, site, apart.expand(b))


class BlockHooks:
    """Applies at most one merging and one pooling at one block."""

    def __init__(
        self, frame: ForwardState, site: Site, host: str, merging: Operator | None, pooling: Operator | None
    ) -> None:
        self.frame, self.site, self.host = frame, site, host
        self.merging, self.pooling = merging, pooling
        self.key, self.by_level, self.shared = site.name, False, False
        self.metric: Tensor | None = None
        self.plan: Plan | None = None

    def attach(self, mlp: bool, cross: bool) -> list[RemovableHandle]:
        """Put hooks on the block and on the parts of it that work on fewer tokens."""
        block = self.site.block
        handles = [
            block.register_forward_pre_hook(self.enter, with_kwargs=True),
            block.register_forward_hook(self.leave),
            block.attn1.register_forward_pre_hook(self.attend, with_kwargs=True),
        ]
        parts = [block.attn1] if self.merging else []
        for part in (block.attn2 if cross else None, block.ff if mlp else None):
            if part is not None:
                handles.append(part.register_forward_pre_hook(self.shorten, with_kwargs=True))
                parts.append(part)
        return handles + [part.register_forward_hook(self.restore) for part in parts]

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the block's input, by which tokens are compared, unless they are compared after norm1."""
        if not self.frame.active:
            return
        self.frame.touched = True
        self.plan = None
        if self.merging is not None and not self.site.modulated:
            self.metric = args[0] if args else kwargs["hidden_states"]
            if self.by_level:  # the other blocks need the plan even where this attention is skipped
                self.plan = self.planned(self.metric)

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Let go of the block's tokens."""
        self.metric = self.plan = None

    def attend(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Shorten the queries, and the keys and values."""
        if not self.frame.active:
            return None
        given = kwargs | dict(zip(ATTENTION, args, strict=False))
        x = given["hidden_states"]  # [b n c]
        if given.get("attention_mask") is not None:
            hint = "Masks cannot be compressed yet."
            raise ModelError(f"block {self.site.name}", "its self-attention is masked", hint)
        if self.pooling is not None:
            given["encoder_hidden_states"] = self._made(self.pooling, x, self._grid(x)).keys(x)
        if self.merging is not None:
            plan = self._plan(x)
            given["hidden_states"], given["attention_mask"] = plan.query(x), plan.bias(x)
        return (), given

    def shorten(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Merge what enters the cross-attention or the MLP."""
        if not self.frame.active:
            return None
        if args:
            return (self._plan(args[0]).query(args[0]), *args[1:]), kwargs
        x = kwargs["hidden_states"]
        return args, kwargs | {"hidden_states": self._plan(x).query(x)}

    def restore(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Give every token its result."""
        return self.plan.restore(output) if self.plan is not None else output

    def _plan(self, x: Tensor) -> Plan:
        """Return the block's plan, made when it is first needed."""
        if self.plan is None:
            self.plan = self.planned(x if self.metric is None else self.metric)
            self.metric = None
        return self.plan

    def planned(self, tokens: Tensor) -> Plan:
        """Look the plan up, or make it."""
        frame = self.frame
        if self.by_level and self.key in frame.level_plans:
            return frame.level_plans[self.key]
        grid = self._grid(tokens)
        if self.shared and frame.replayed is not None:
            plans, rows = frame.replayed
            plan = self._known(plans).select(rows)
        else:
            assert self.merging is not None
            plan = self._made(self.merging, tokens, grid)
            if self.shared and frame.recorded is not None:
                frame.recorded[self.key] = plan
                if frame.enough is not None and frame.enough <= frame.recorded.keys():
                    raise PlansComplete
        if self.by_level:
            frame.level_plans[self.key] = plan
        return plan

    def _made(self, operator: Operator, tokens: Tensor, grid: Grid) -> Plan:
        """Let an operator decide, under the eyes of whoever watches."""
        rows = self.frame.rows(tokens, self.site.index)
        plan = operator.plan(tokens, grid, rows)
        if self.frame.observed is not None:
            self.frame.observed.append(Observation(self.site, self.key, operator, plan, tokens.detach(), grid, rows))
        return plan

    def _known(self, plans: Plans) -> Plan:
        if self.key not in plans:
            known = f"Plans were recorded for {', '.join(plans) or 'no block'}."
            raise ModelError(f"block {self.site.name}", "no plan was recorded for it", known)
        return plans[self.key]

    def _grid(self, x: Tensor) -> Grid:
        grid = self.frame.grids[self.host]
        if x.shape[1] != grid.n:
            why = f"it has {x.shape[1]} tokens on a grid of {grid.h}x{grid.w}"
            raise ModelError(f"block {self.site.name}", why, "Only plain image tokens can be compressed.")
        return grid


class GridHook:
    """Notes the true token grid of the blocks inside one module."""

    def __init__(self, frame: ForwardState, name: str, patch: int) -> None:
        self.frame, self.name, self.patch = frame, name, patch

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read the grid off the input."""
        h, w = (args[0] if args else kwargs["hidden_states"]).shape[-2:]
        self.frame.grids[self.name] = Grid(h // self.patch, w // self.patch)


def _times(t: Any, sample: Tensor) -> Tensor:
    """Return the timesteps as one row, without waiting for the device."""
    if isinstance(t, Tensor):
        return t.to(sample.device, torch.float32).reshape(-1)
    return torch.full((1,), float(t), device=sample.device)
