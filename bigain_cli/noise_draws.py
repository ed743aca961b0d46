"""The shared randomness of one image: timesteps, noise and operator seeds, the same for every label.

In: a seed, a digest of the pixels, a draw's index; out: tensors on the CPU. A draw depends on these alone, so batch
size, order, other images, resuming and the device change nothing. Must not know models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigain_cli.views import PLAIN, View, Views


@dataclass(frozen=True)
class Block:
    """A few consecutive draws."""

    t: Tensor  # [n] int64, timesteps of the model
    noise: Tensor  # [n c h w] float32
    seeds: Tensor  # [n] int64, for operators that need randomness

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True)
class Draws:
    """All draws of one image, made on demand; `grid` replaces the random timesteps by given ones."""

    seed: int
    digest: bytes
    shape: tuple[int, ...]
    timestep_range: tuple[int, int] = (0, 1000)  # low ≤ t < high
    grid: Sequence[int] = ()
    views: Views = PLAIN  # of the image, of which each draw takes one

    def block(self, start: int, count: int) -> Block:
        """Return draws start … start + count − 1."""
        indices = range(start, start + count)
        t = torch.tensor([self._timestep(index) for index in indices], dtype=torch.int64)
        noise = torch.stack([self._noise(index) for index in indices])
        seeds = torch.tensor([key(self.seed, self.digest, "operator", index) for index in indices], dtype=torch.int64)
        return Block(t, noise, seeds)

    def times(self, start: int, count: int) -> NDArray[np.float64]:
        """Return the times of these draws, from 0 to 1 over the usable range."""
        low, high = self.timestep_range
        steps = [self._timestep(index) for index in range(start, start + count)]
        return (np.array(steps) + 0.5 - low) / (high - low)

    def views_of(self, start: int, count: int) -> list[View]:
        """Return the view of the image that each of these draws takes."""
        side = key(self.seed, self.digest, "side", 0)
        indices = range(start, start + count)
        return [self.views.choose(index, side, key(self.seed, self.digest, "place", index)) for index in indices]

    def _timestep(self, index: int) -> int:
        if self.grid:
            return self.grid[index]
        low, high = self.timestep_range
        shift = key(self.seed, self.digest, "shift", 0) / 2**63
        return low + int((radical_inverse(index) + shift) % 1.0 * (high - low))

    def _noise(self, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(key(self.seed, self.digest, "noise", index))
        return torch.randn(self.shape, generator=generator)


def radical_inverse(index: int) -> float:
    """Return the index's bits mirrored at the binary point: 0, ½, ¼, ¾, ⅛ … (van der Corput sequence)."""
    value, scale = 0.0, 0.5
    while index:
        value += scale * (index & 1)
        index, scale = index >> 1, scale / 2
    return value


def key(seed: int, digest: bytes, purpose: str, index: int) -> int:
    """Hash to 63 bits, so that seeds, images, purposes and draws are unrelated (torch's CPU generator uses 32)."""
    text = f"{seed}|{digest.hex()}|{purpose}|{index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1
