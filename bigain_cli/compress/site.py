"""One place where a network can be compressed, and what is described of its kind of network and its kind of block.

A new kind of network is a file in `networks/` that fulfils `NetworkKind`, and a line in `networks/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import nn

from bigain_cli.compress.block_compression import BlockCompression
from bigain_cli.compress.forward_state import NetworkInputs
from bigain_cli.compress.plan import Grid


class Tokens(NamedTuple):
    """The number of image tokens that each part of a block works on."""

    queries: int
    keys: int
    cross: int
    mlp: int

    @staticmethod
    def all(n: int) -> Tokens:
        """Return the numbers of an uncompressed block."""
        return Tokens(n, n, n, n)


class RemovableHook(Protocol):
    """Something that was put on a module, and can be taken off."""

    def remove(self) -> None:
        """Leave the module as it was."""


class BlockKind(Protocol):
    """A kind of transformer block: where its image tokens are, and which of its parts get which hook."""

    text_in_front: bool  # whether the text's tokens are in the image's sequence, before them
    takes_bias: bool  # whether its attention can count merged keys by their size

    def attention(self, block: Any) -> Any:
        """Return the self-attention of the image's tokens."""

    def parts(self, block: Any) -> tuple[nn.Module, ...]:
        """Return the modules inside the block that hooks act on."""

    def has_cross_attention(self, block: Any) -> bool:
        """Say whether image tokens attend to the text in a part of their own."""

    def check(self, block: Any, name: str, pools: bool) -> None:
        """Refuse a block whose attention the hooks would not reach."""

    def attach(self, block: Any, compression: BlockCompression) -> list[RemovableHook]:
        """Put hooks on the block."""

    def flops(self, block: Any, tokens: Tokens, context: int) -> int:
        """Return the operations of the block with so many tokens of the image and of the text."""

    def flops_before_plan(self, block: Any, n: int, context: int, mlp: bool) -> int:
        """Return those of them that run before its plan is made; `mlp` says whether its MLP is merged, too."""


class BlockPlace(NamedTuple):
    """A block in its network."""

    block: Any
    kind: BlockKind
    scale: int  # latent cells per token along an axis
    host: nn.Module | None  # the module whose input has the grid's shape; None: the network
    before_text: bool = False  # whether its self-attention runs before the network reads any text
    ends_before_text: bool = False  # whether all of it does


class NetworkKind(NetworkInputs, Protocol):
    """A kind of network: how to recognise it, what goes in, where its blocks are."""

    default_blocks: frozenset[int] | None  # where a term acts by default; None: at the finest level

    def recognises(self, root: Any) -> bool:
        """Say whether a network is of this kind."""

    def blocks(self, root: Any) -> Iterator[BlockPlace]:
        """Yield the blocks with self-attention over image tokens, in running order."""

    def configured_latent(self, root: Any) -> Grid | None:
        """Return the latent's size that the configuration names, or its pipeline's default."""

    def grid(self, root: Any, latent: Grid, scale: int) -> Grid:
        """Return the tokens' grid at a scale, for a latent's size."""

    def flops(self, root: Any, latent: Grid, context: int) -> int:
        """Return the operations of one uncompressed forward pass of one sample."""

    def flops_before_text(self, root: Any, latent: Grid) -> int:
        """Return those of them that run before the network reads any text."""

    def flops_before_block(self, root: Any, latent: Grid, context: int, block: Any) -> int:
        """Return those of them that run before one of its blocks."""


@dataclass(frozen=True)
class Site:
    """One transformer block with a self-attention over image tokens."""

    name: str
    index: int  # in running order, from 0
    level: int  # 1 where the network attends at its finest grid; 2 where a token covers twice as much along an axis
    place: BlockPlace
    network: NetworkKind
    root: Any  # the network

    @property
    def block(self) -> Any:
        """Return the block."""
        return self.place.block

    @property
    def kind(self) -> BlockKind:
        """Return the kind of block."""
        return self.place.kind

    @property
    def attention(self) -> Any:
        """Return the block's self-attention."""
        return self.kind.attention(self.block)

    @property
    def width(self) -> int:
        """Return the number of channels."""
        return int(self.attention.query_dim)

    def grid(self, latent: Grid) -> Grid:
        """Return the tokens' grid for a latent's size."""
        return self.network.grid(self.root, latent, self.place.scale)


@runtime_checkable
class HasSites(Protocol):
    """Anything that lists its sites, such as a backbone."""

    def sites(self) -> Iterable[Site]:
        """Yield the sites, in running order."""
