"""Count the operations of what runs inside, as torch does, fused attention on a CPU included.

torch's own counter knows the fused kernels of GPUs; from 2.14 on it no longer counts the one of CPUs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def _attention(query: Any, key: Any, value: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    return sdpa_flop_count(query, key, value)  # shapes


def counting_flops() -> FlopCounterMode:
    """Return a context that counts operations."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={fused: _attention})
