"""What the machine is: its device, its libraries, how fast it multiplies matrices and moves memory."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from typing import Any

import torch

from bigain_cli.benchmark.machine import device_name, product_speed, synchronize
from gpu_steps.steps import Plan

LIBRARIES = ("torch", "diffusers", "transformers", "safetensors")
COPIED = 1 << 30  # bytes
TIMES = 5


def describe(plan: Plan, seconds: float) -> dict[str, Any]:
    """Return the facts, and two measured speeds."""
    device = torch.device(plan.device)
    found: dict[str, Any] = {
        "device": device_name(device),
        "python": platform.python_version(),
        "cpu_cores": os.cpu_count(),
        **{name: version(name) for name in LIBRARIES},
    }
    if device.type == "cuda":
        total = torch.cuda.mem_get_info(device)[1]
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "gib": round(total / 2**30, 1)}
        found["compute_capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
    for dtype in (torch.float32,) if device.type == "cpu" else (torch.float32, torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        found[f"tflop_per_second_{name}"] = round(product_speed(device, dtype) / 1e12, 3)
    found["gb_per_second"] = round(_copied_per_second(device, COPIED >> 4 if plan.toy else COPIED) / 1e9, 1)
    return found


def _copied_per_second(device: torch.device, size: int) -> float:
    """Return the bytes that are read and written in a second of copying."""
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(TIMES):
        synchronize(device)
        began = time.perf_counter()
        target.copy_(source)
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size / best
