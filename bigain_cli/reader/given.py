"""Takes what a caller gives as pictures: paths, sources, PIL images, one or many; out come sources, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike, fspath

from PIL.Image import Image

from bigain_cli.errors import UsageError
from bigain_cli.images import Source, find

OneImage = str | PathLike[str] | Image | Source
Images = OneImage | Iterable[OneImage | tuple[str, Image]]


def sources_of(images: Images) -> Iterator[Source | tuple[str, Image]]:
    """Take one picture or many, as paths, sources, pictures or (id, picture) pairs."""
    if isinstance(images, (str, PathLike)):
        yield from find([fspath(images)])
    elif isinstance(images, Source):
        yield images
    elif isinstance(images, Image):
        yield "image", images
    else:
        for number, entry in enumerate(images):
            if isinstance(entry, (str, PathLike)):
                yield from find([fspath(entry)])
            elif isinstance(entry, Image):
                yield f"image-{number}", entry
            elif isinstance(entry, (Source, tuple)):
                yield entry
            else:
                hint = "Give paths, PIL images or (id, PIL image) pairs."
                raise UsageError(f"image {number}", f"a {type(entry).__name__} is none", hint)
