"""Plans of several batches as one: what was recorded part by part can be replayed by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from bigain_cli.compress.hooks import Plans
from bigain_cli.compress.plan import Plan


def joined(parts: Sequence[Plans]) -> Plans:
    """Concatenate the plans of each site row-wise; what is no tensor is the same in all parts."""
    return {key: _joined([part[key] for part in parts]) for key in parts[0]}


def _joined(plans: Sequence[Plan]) -> Plan:
    columns = zip(*cast(Sequence[tuple[Any, ...]], plans), strict=True)
    fields = (torch.cat(column) if isinstance(column[0], Tensor) else column[0] for column in columns)
    return cast(Plan, type(plans[0])(*fields))
