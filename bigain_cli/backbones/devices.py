"""Devices and dtypes: chosen by name, kept repeatable, and left when they are too small.

In: what `--device` and `--dtype` name; out: torch's own. Must not know families.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bigain_cli.backbones.base import Backbone
from bigain_cli.errors import UsageError, check_known
from bigain_cli.registry import DTYPES


class PrecisionWarning(UserWarning):
    """float16 overflowed, and the run continues in another dtype."""


def choose_device(name: str) -> torch.device:
    """Return the named device, or the best one; refuse one that this machine lacks."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    hint = "Use auto, cpu, cuda, cuda:1 or mps."
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise UsageError(f"--device {name}", "not a device", hint) from problem
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if device.type not in counts:
        raise UsageError(f"--device {name}", "not supported", hint)
    count = counts[device.type]
    if (device.index or 0) >= count:
        raise UsageError(f"--device {name}", f"this machine has {count} such devices", "Use --device cpu or auto.")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the named dtype; by default bfloat16 on CUDA, whose range no model leaves, and float32 elsewhere.

    A GPU that only imitates bfloat16 gets float16.
    """
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    check_known("--dtype", name, ("auto", *DTYPES))
    dtype: torch.dtype = getattr(torch, name)
    return dtype


@contextmanager
def repeatable(backbone: Backbone) -> Iterator[None]:
    """Choose kernels that give the same bits every time, and full float32 where the backbone computes in float32."""
    with _deterministic(backbone.device, allow_tf32=backbone.dtype != torch.float32):
        yield


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Do the same for what always computes in float32; by default CUDA's convolutions round its inputs to TF32."""
    with _deterministic(device, allow_tf32=False):
        yield


@contextmanager
def _deterministic(device: torch.device, allow_tf32: bool) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=allow_tf32):
        yield


def leave_float16(backbone: Backbone) -> None:
    """Make the backbone compute in a dtype with more range, and warn of it."""
    has_bfloat16 = backbone.device.type == "cuda" and torch.cuda.is_bf16_supported()
    wider = torch.bfloat16 if has_bfloat16 else torch.float32
    warnings.warn(f"float16 overflowed; continuing in {wider}", PrecisionWarning, stacklevel=3)
    backbone.to(wider)
