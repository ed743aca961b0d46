"""Latents whose squares are tokens: the part that DiT, PixArt, SD3 and PRX have in common. Must not know kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bigain_cli.compress.networks.block_chain import BlockChain
from bigain_cli.compress.plan import Grid


class PatchedLatents(BlockChain):
    """What goes into a transformer over patches."""

    def configured_latent(self, root: Any) -> Grid | None:
        """Return the configured size."""
        return configured_size(root.config.sample_size)

    def latent(self, root: Any, arguments: Mapping[str, Any], expected: Grid) -> Grid:
        """Return the sample's size."""
        return Grid(*arguments["hidden_states"].shape[-2:])

    def root_grid(self, root: Any, latent: Grid) -> Grid:
        """Return the patches."""
        return self.grid(root, latent, root.config.patch_size)

    def grid(self, root: Any, latent: Grid, scale: int) -> Grid:
        """Return the patches."""
        return Grid(latent.h // scale, latent.w // scale)

    def flops_before_text(self, root: Any, latent: Grid) -> int:
        """Return 0: text, or its pooled form, enters with the time or in the first block."""
        return 0


def configured_size(size: int | tuple[int, int] | None) -> Grid | None:
    """Return a configuration's `sample_size` as a grid."""
    if size is None:
        return None
    return Grid(size, size) if isinstance(size, int) else Grid(*size)
