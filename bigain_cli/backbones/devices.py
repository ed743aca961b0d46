"""What happens when float16 has too little range: a warning, and a wider dtype from then on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from bigain_cli.backbones.base import Backbone
from bigain_cli.errors import UsageError, check_known
from bigain_cli.registry import DTYPES as DTYPE_NAMES

if TYPE_CHECKING:
    pass
import contextlib
from collections.abc import Iterator


class PrecisionWarning(UserWarning):
    """float16 overflowed, and the run continues in another dtype."""


def leave_float16(backbone: Backbone) -> None:
    """Make the backbone compute in a dtype with more range."""
    finer = backbone.device.type != "cuda" or not torch.cuda.is_bf16_supported()
    wider = torch.float32 if finer else torch.bfloat16
    warnings.warn(f"float16 overflowed; continuing in {wider}", PrecisionWarning, stacklevel=3)
    backbone.to(wider)


# A batch has the same size however many images there are, and a shorter one is filled up: the last bits of an image
# depend on the size of its batch, though not on what else is in it. So the sizes are modest.
PLACES_AT_ONCE = {"cpu": 4096, "cuda": 16384, "mps": 8192}
IMAGES_AT_ONCE = {"cpu": 4, "cuda": 32, "mps": 8}


def images_at_once(backbone: Backbone, shape: tuple[int, int, int], given: int | None) -> int:
    """Return the size of a batch: a function of device, model and size, never of how many images there are."""
    if given is not None:
        return stable_batch_size(given)
    kind = backbone.device.type
    return stable_batch_size(max(1, min(IMAGES_AT_ONCE[kind], PLACES_AT_ONCE[kind] // (shape[1] * shape[2]))))


DTYPES = {name: getattr(torch, name) for name in DTYPE_NAMES}


def choose_device(name: str) -> torch.device:
    """Return the named device, or the best there is; refuse one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise UsageError(f"--device {name}", "not a device", "Use auto, cpu, cuda, cuda:1 or mps.") from problem
    there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if device.type not in there:
        raise UsageError(f"--device {name}", "not supported", "Use auto, cpu, cuda, cuda:1 or mps.")
    if (device.index or 0) >= there[device.type]:
        raise UsageError(
            f"--device {name}", f"this machine has {there[device.type]} such devices", "Use --device cpu or auto."
        )
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the named dtype; by default float16 on CUDA (finer than bfloat16), float32 elsewhere."""
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    check_known("--dtype", name, ("auto", *DTYPES))
    return DTYPES[name]


TOKENS_AT_ONCE = {"cpu": 10240, "cuda": 131072, "mps": 16384}


MOST_AT_ONCE = {"cpu": 40, "cuda": 128, "mps": 32}


TILE = 8  # rows: in batches of its multiples a row's bits do not depend on its place, see `steady`


SHORTEST = 16  # rows of a short batch: from here on rows had the bits of larger batches, with 8 and one thread not


LEAST_FEW = 8  # rows of a batch of the part that is run once a draw


def stable_batch_size(batch: int) -> int:
    """Return the next smaller batch size at which a row's result does not depend on its place: 1, 2, 4 or 8·k.

    Matrix kernels treat the rows left over by their tiles in another order of summation; measured on CPUs, sizes
    such as 7 make a row's last bits depend on where in the batch it stands, and these sizes do not.
    """
    return batch // TILE * TILE if batch >= TILE else 1 << (batch.bit_length() - 1)


def fixed_size_batches(device: torch.device) -> bool:
    """Tell whether all batches have one size and hold rows of several images.

    That is faster on a GPU. On a CPU filling up is lost time, and a short batch is nearly as fast for each row; but a
    row's last bits can differ between sizes, so the size must depend on nothing but the row's own image.
    """
    return device.type != "cpu"


def sizes(count: int, batch: int, device: torch.device) -> list[int]:
    """Return the sizes of the batches that take so many rows, filling included."""
    full, rest = divmod(count, batch)
    last = batch if fixed_size_batches(device) else min(batch, max(SHORTEST, -(-rest // TILE) * TILE))
    return [batch] * full + [last] * (rest > 0)


def prefix_batch_size(batch: int) -> int:
    """Return the batch size for the part that is run once a draw: a large batch would be mostly filling."""
    return min(batch, stable_batch_size(max(LEAST_FEW, batch // 4)))


def automatic_batch_size(backbone: Backbone, rows: int | None = None) -> int:
    """Choose a batch size by the latent's size; no larger than the rows that come at once, if their number is known."""
    _, height, width = backbone.latent_shape
    kind = backbone.device.type
    return stable_batch_size(
        max(1, min(MOST_AT_ONCE[kind], TOKENS_AT_ONCE[kind] // (height * width), rows or MOST_AT_ONCE[kind]))
    )


@contextlib.contextmanager
def repeatable(backbone: Backbone) -> Iterator[None]:
    """Choose kernels that give the same bits every time, and full float32 where float32 was asked for."""
    if backbone.device.type != "cuda":
        yield
        return
    exact = backbone.dtype == torch.float32
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=not exact):
        yield


def out_of_memory(problem: RuntimeError) -> bool:
    """Tell whether an operation failed for want of memory, on whatever device."""
    signs = ("can't allocate memory", "out of memory", "ALLOC_FAILED")  # of the CPU, of MPS, of cuBLAS
    return isinstance(problem, torch.OutOfMemoryError) or any(sign in str(problem) for sign in signs)
