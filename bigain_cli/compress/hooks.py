"""Plain torch hooks through which operators act on a network's blocks; no forward is copied, nothing is left behind.

`ForwardState` follows a forward pass (time, grid, seeds, recorded and replayed plans); `BlockHooks` acts on one block.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bigain_cli.compress.plan import Grid, Operator, Plan, PlanRows, Plans
from bigain_cli.compress.sites import Assignment, Site
from bigain_cli.compress.spec import Term
from bigain_cli.errors import ModelError, UsageError

ROW_BITS = 32  # of a default row id; the number of the forward is in the bits above
ATTENTION_ARGUMENTS = ("hidden_states", "encoder_hidden_states", "attention_mask")


class PlansComplete(Exception):
    """Every required plan is recorded: the rest of the forward pass is not needed."""


@dataclass(frozen=True)
class Observation:
    """One plan of an operator, with the input that it was made from."""

    site: Site
    key: str  # of the plan
    operator: Operator
    plan: Plan
    tokens: Tensor  # [b n c]
    grid: Grid
    rows: PlanRows


class ForwardState:
    """What is known during a forward pass; one per compressed network."""

    def __init__(self, root: Any, steps: int, count_forwards: bool) -> None:
        self.root, self.steps, self.count_forwards = root, steps, count_forwards
        self.argument_names = list(inspect.signature(root.forward).parameters)
        self.active, self.hooks_ran = True, False
        self.forward_number = torch.zeros(1, dtype=torch.int64)
        self.latent: Grid | None = None
        self.grids: dict[str, Grid] = {}  # by the host module's name
        self.t: Tensor | None = None
        self.seeds: Tensor | None = None
        self.row_ids: Tensor | None = None
        self.level_plans: Plans = {}  # of this forward, where the blocks of a level share one
        self.recorded: Plans | None = None
        self.required: frozenset[str] | None = None  # the plans after which a forward may stop
        self.replayed: tuple[Plans, Tensor] | None = None
        self.observed: list[Observation] | None = None

    def attach(self) -> list[RemovableHandle]:
        """Put hooks on the network's start and end."""
        return [
            self.root.register_forward_pre_hook(self.start_forward, with_kwargs=True),
            self.root.register_forward_hook(self.end_forward),
        ]

    def start_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the time and the latent's size."""
        arguments = dict(zip(self.argument_names, args, strict=False)) | kwargs
        sample, t = arguments[self.argument_names[0]], arguments.get("timestep")
        self.latent = Grid(*sample.shape[-2:])
        self.t = _times(t, sample) if t is not None else None
        if self.count_forwards:
            self.forward_number = self.forward_number.to(sample.device) + 1
        self.hooks_ran = False
        self.level_plans.clear()

    def end_forward(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Refuse a compiled network that ignored the hooks on its blocks."""
        if not self.hooks_ran:
            why = "it ran without its compression: it had been compiled before"
            raise ModelError(f"model {type(module).__name__}", why, "Compress first, then call torch.compile.")

    def rows(self, tokens: Tensor, site: int) -> PlanRows:
        """Return what is known about the rows."""  # tokens [b n c]
        b, seeds, row_ids = tokens.shape[0], self.seeds, self.row_ids
        if self.t is None:
            why = "its blocks ran without a timestep"
            raise ModelError(f"model {type(self.root).__name__}", why, "Call the network itself, not its parts.")
        if seeds is None:
            seeds = torch.zeros(b, dtype=torch.int64, device=tokens.device)
        if row_ids is None:  # every row of every forward is a different one
            row_ids = torch.arange(b, device=tokens.device) + (self.forward_number.to(tokens.device) << ROW_BITS)
        for name, value in (("timesteps", self.t), ("seeds", seeds), ("row numbers", row_ids)):
            if len(value) not in (1, b):
                raise UsageError(f"{len(value)} {name}", f"the batch has {b} rows", "Give one for each row.")
        return PlanRows(self.t.expand(b), seeds.expand(b), self.steps, site, row_ids.expand(b))


class BlockHooks:
    """Applies at most one merging and one pooling at one block."""

    def __init__(self, state: ForwardState, assignment: Assignment, host: str, operators: dict[Term, Operator]) -> None:
        self.state, self.site, self.host, self.key = state, assignment.site, host, assignment.key
        self.term, pooling = assignment.merging, assignment.pooling
        self.merging = operators[self.term] if self.term else None
        self.pooling = operators[pooling] if pooling else None
        self.by_level = self.term is not None and self.term.share == "level"
        self.shared = self.term is not None and self.term.shared
        self.metric: Tensor | None = None
        self.plan: Plan | None = None

    def attach(self) -> list[RemovableHandle]:
        """Put hooks on the block and on the parts of it that work on fewer tokens."""
        block, term = self.site.block, self.term
        handles = [
            block.register_forward_pre_hook(self.start_block, with_kwargs=True),
            block.register_forward_hook(self.end_block),
            block.attn1.register_forward_pre_hook(self.compress_attention, with_kwargs=True),
        ]
        parts = [block.attn1] if term else []
        for part in (block.attn2 if term and term.cross else None, block.ff if term and term.mlp else None):
            if part is not None:
                handles.append(part.register_forward_pre_hook(self.merge_input, with_kwargs=True))
                parts.append(part)
        return handles + [part.register_forward_hook(self.restore_output) for part in parts]

    def start_block(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the block's input, by which tokens are compared, unless they are compared after norm1."""
        if not self.state.active:
            return
        self.state.hooks_ran = True
        self.plan = None
        if self.merging is not None and not self.site.modulated:
            self.metric = args[0] if args else kwargs["hidden_states"]
            if self.by_level:  # the other blocks need the plan even where this attention is skipped
                self.plan = self._find_or_make_plan(self.metric)

    def end_block(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Release the block's tokens."""
        self.metric = self.plan = None

    def compress_attention(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Merge the queries, pool the keys and values."""
        if not self.state.active:
            return None
        arguments = kwargs | dict(zip(ATTENTION_ARGUMENTS, args, strict=False))
        x = arguments["hidden_states"]  # [b n c]
        if arguments.get("attention_mask") is not None:
            hint = "Masks cannot be compressed yet."
            raise ModelError(f"block {self.site.name}", "its self-attention is masked", hint)
        if self.pooling is not None:
            arguments["encoder_hidden_states"] = self._make_plan(self.pooling, x, self._grid(x)).keys(x)
        if self.merging is not None:
            plan = self._block_plan(x)
            arguments["hidden_states"], arguments["attention_mask"] = plan.query(x), plan.bias(x)
        return (), arguments

    def merge_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Merge the tokens that enter the cross-attention or the MLP."""
        if not self.state.active:
            return None
        if args:
            return (self._block_plan(args[0]).query(args[0]), *args[1:]), kwargs
        x = kwargs["hidden_states"]
        return args, kwargs | {"hidden_states": self._block_plan(x).query(x)}

    def restore_output(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Give every token its result."""
        return self.plan.restore(output) if self.plan is not None else output

    def _block_plan(self, x: Tensor) -> Plan:
        """Return the plan of this block in this forward, made when it is first needed."""
        if self.plan is None:
            self.plan = self._find_or_make_plan(x if self.metric is None else self.metric)
            self.metric = None
        return self.plan

    def _find_or_make_plan(self, tokens: Tensor) -> Plan:
        """Return the level's plan or a replayed one, or make a new one and record it."""
        state = self.state
        if self.by_level and self.key in state.level_plans:
            return state.level_plans[self.key]
        grid = self._grid(tokens)
        if self.shared and state.replayed is not None:
            plans, rows = state.replayed
            plan = self._recorded_plan(plans).select(rows)
        else:
            assert self.merging is not None
            plan = self._make_plan(self.merging, tokens, grid)
            if self.shared and state.recorded is not None:
                state.recorded[self.key] = plan
                if state.required is not None and state.required <= state.recorded.keys():
                    raise PlansComplete
        if self.by_level:
            state.level_plans[self.key] = plan
        return plan

    def _make_plan(self, operator: Operator, tokens: Tensor, grid: Grid) -> Plan:
        rows = self.state.rows(tokens, self.site.index)
        plan = operator.plan(tokens, grid, rows)
        if self.state.observed is not None:
            self.state.observed.append(Observation(self.site, self.key, operator, plan, tokens.detach(), grid, rows))
        return plan

    def _recorded_plan(self, plans: Plans) -> Plan:
        if self.key not in plans:
            known = f"Plans were recorded for {', '.join(plans) or 'no block'}."
            raise ModelError(f"block {self.site.name}", "no plan was recorded for it", known)
        return plans[self.key]

    def _grid(self, x: Tensor) -> Grid:
        grid = self.state.grids[self.host]
        if x.shape[1] != grid.n:
            why = f"it has {x.shape[1]} tokens on a grid of {grid.h}x{grid.w}"
            raise ModelError(f"block {self.site.name}", why, "Only plain image tokens can be compressed.")
        return grid


class GridHook:
    """Notes the true token grid of the blocks inside one module."""

    def __init__(self, state: ForwardState, name: str, patch: int) -> None:
        self.state, self.name, self.patch = state, name, patch

    def note_grid(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read the grid from the input's shape."""
        h, w = (args[0] if args else kwargs["hidden_states"]).shape[-2:]
        self.state.grids[self.name] = Grid(h // self.patch, w // self.patch)


def _times(t: Any, sample: Tensor) -> Tensor:
    """Return the timesteps as one row, without waiting for the device."""
    if isinstance(t, Tensor):
        return t.to(sample.device, torch.float32).reshape(-1)
    return torch.full((1,), float(t), device=sample.device)
