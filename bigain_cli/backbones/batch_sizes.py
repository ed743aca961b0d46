"""Batch sizes at which an image's result depends on the image alone, to the last bit.

In: a backbone, and how many rows there are; out: sizes that depend on the device, the latent and nothing else.
"""

from __future__ import annotations

import torch

from bigain_cli.backbones.base import Backbone

# By device: latent positions and rows in a batch of network evaluations.
POSITIONS = {"cpu": 10240, "cuda": 131072, "mps": 16384}
ROWS = {"cpu": 40, "cuda": 512, "mps": 32}
# By device: latent positions and images in a batch of images to generate. Its size is the same however many images
# there are, and a shorter batch is filled up: an image's last bits depend on the size. So these sizes are modest.
GENERATED_POSITIONS = {"cpu": 4096, "cuda": 16384, "mps": 8192}
GENERATED_IMAGES = {"cpu": 4, "cuda": 32, "mps": 8}

TILE = 8  # in batches of its multiples a row's bits do not depend on its position, see `stable_batch_size`
SHORTEST = 16  # rows of a short batch: from here on rows had the bits of larger batches, with 8 and one thread not
SHORTEST_PREFIX = 8  # rows of a batch of the prefix


def stable_batch_size(batch: int) -> int:
    """Return the next smaller batch size at which a row's result does not depend on its position: 1, 2, 4 or 8·k.

    Matrix kernels sum the rows left over by their tiles in another order; measured on CPUs, sizes such as 7 make a
    row's last bits depend on its position in the batch, and these sizes do not.
    """
    return batch // TILE * TILE if batch >= TILE else 1 << (batch.bit_length() - 1)


def automatic_batch_size(backbone: Backbone, rows: int | None = None) -> int:
    """Choose a batch size by the latent's size.

    No larger than the rows of one image that come at once, if a batch holds no others and their number is known.
    """
    _, height, width = backbone.latent_shape
    kind = backbone.device.type
    rows = None if fixed_size_batches(backbone.device) else rows
    return stable_batch_size(max(1, min(ROWS[kind], POSITIONS[kind] // (height * width), rows or ROWS[kind])))


def generation_batch_size(backbone: Backbone, shape: tuple[int, int, int], given: int | None) -> int:
    """Return how many images are generated at once, by device and latent shape, if the number is not given."""
    _, height, width = shape
    kind = backbone.device.type
    most = min(GENERATED_IMAGES[kind], GENERATED_POSITIONS[kind] // (height * width))
    return stable_batch_size(max(1, most) if given is None else given)


def prefix_batch_size(batch: int) -> int:
    """Return the batch size for the prefix, which runs once per draw: a large batch would be mostly filling."""
    return min(batch, stable_batch_size(max(SHORTEST_PREFIX, batch // 4)))


def fixed_size_batches(device: torch.device) -> bool:
    """Tell whether all batches have one size and hold rows of several images.

    That is faster on a GPU. On a CPU filling up is lost time, and a short batch is nearly as fast for each row; but a
    row's last bits can differ between sizes, so the size must depend on nothing but the row's own image.
    """
    return device.type != "cpu"


def batch_sizes(count: int, batch: int, device: torch.device) -> list[int]:
    """Return the sizes of the batches for so many rows, filling included."""
    full, rest = divmod(count, batch)
    last = batch if fixed_size_batches(device) else min(batch, max(SHORTEST, -(-rest // TILE) * TILE))
    return [batch] * full + [last] * (rest > 0)


def out_of_memory(problem: Exception) -> bool:
    """Tell whether an operation failed because memory ran out, on any device."""
    # of the CPU, of MPS, of cuBLAS, and of cuDNN, which tries one algorithm after the other
    signs = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "unable to find an engine")
    return isinstance(problem, torch.OutOfMemoryError) or any(sign in str(problem) for sign in signs)
