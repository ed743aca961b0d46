"""The machine that a benchmark runs on: its name, attention kernel, speed of a matrix product, and memory."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend

from bigain_cli.compress.plan import Grid
from bigain_cli.compress.site import Site

SMALLEST, LARGEST = 256, {"cpu": 1024, "cuda": 8192, "mps": 4096}  # rows and columns of a product
REPEATS, LONG_ENOUGH = 3, 0.01  # products of each size; seconds that a product must take
STATUS, RESET, STAT = (Path("/proc/self") / name for name in ("status", "clear_refs", "stat"))


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device) -> str:
    """Return the name of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def attention_kernel(site: Site, latent: Grid, device: torch.device, dtype: torch.dtype) -> str:
    """Name diffusers' processor of a block's attention, and the kernel that torch chooses for it."""
    attention = site.attention
    shape = (1, attention.heads, site.grid(latent).n, attention.inner_dim // attention.heads)
    query = torch.empty(shape, device=device, dtype=dtype)
    kernel = SDPBackend(torch._fused_sdp_choice(query, query, query)).name.lower()
    return f"{type(attention.processor).__name__}, {kernel}"


def product_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations per second of a square matrix product that is large enough to keep the device busy."""
    side = SMALLEST
    while True:
        matrix = torch.rand(side, side, device=device, dtype=dtype)  # zeros and ones are multiplied faster
        torch.mm(matrix, matrix)  # the first one of a size may choose its kernel
        seconds = min(_product_seconds(matrix, device) for _ in range(REPEATS))
        if seconds > LONG_ENOUGH or side >= LARGEST[device.type]:
            return 2 * side**3 / seconds
        side *= 2


def _product_seconds(matrix: torch.Tensor, device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    torch.mm(matrix, matrix)
    synchronize(device)
    return time.perf_counter() - started


def memory_kind(device: torch.device) -> str:
    """Describe what `peak_memory` counts."""
    if device.type == "cuda":
        return "allocated on the device"
    return "resident set of the process" if RESET.exists() else "resident set of the process, since its start"


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak, where the system can do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        RESET.write_text("5")


def peak_memory(device: torch.device) -> int:
    """Return the most bytes in use since `reset_peak_memory`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def process_age() -> float | None:
    """Return the seconds since this process started, or None where the system does not say."""
    try:
        ticks = int(STAT.read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return None
