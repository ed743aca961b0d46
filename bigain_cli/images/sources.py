"""Turn files, folders, globs, URLs, lists of paths, stdin and images in memory into sources, lazily, in a fixed order.

What cannot be found is a source with an `error`, at its position in the order.
"""

# An id is the path exactly as given, which pathlib would normalise.
from __future__ import annotations

import codecs
import glob
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

from bigain_cli.errors import InputError, UsageError
from bigain_cli.images.urls import check_url, is_url, without_credentials

if TYPE_CHECKING:
    from PIL.Image import Image

_SUPPORTED = "jpg jpeg jpe jfif png apng gif webp avif bmp tif tiff ppm pgm pbm pnm pfm jp2 j2k jpx j2c ico qoi"
_REFUSED = "heic heif"  # not supported, but an error is better than silence
SUFFIXES = frozenset(f".{name}" for name in f"{_SUPPORTED} {_REFUSED}".split())


LONGEST_PATH = 1 << 17  # bytes of a path or a URL in a list


@dataclass(frozen=True)
class Source:
    """One input image: a path, a file's bytes, a stream to read once, a URL, or the reason why there is none."""

    id: str
    path: str | None = None
    data: bytes | None = field(default=None, repr=False)
    stream: BinaryIO | None = field(default=None, repr=False)
    error: InputError | None = None
    url: str | None = field(default=None, repr=False)  # it may hold a password, which the id never does


@runtime_checkable
class PixelArray(Protocol):
    """What numpy arrays and torch tensors have in common, so that neither library has to be imported."""

    @property
    def shape(self) -> Sequence[int]:
        """Return the size of each dimension."""

    @property
    def dtype(self) -> Any:
        """Return the type of the elements."""

    def __array__(self) -> Any: ...


OneImage: TypeAlias = "str | PathLike[str] | bytes | Image | PixelArray | Source"
Images: TypeAlias = "OneImage | tuple[str, OneImage] | Iterable[OneImage | tuple[str, OneImage]]"
Found: TypeAlias = "Source | tuple[str, Image]"  # the text is the image's id


def sources_of(images: Images) -> Iterator[Found]:
    """Yield the sources of one image or many: paths, bytes of files, PIL images, arrays, or (id, image) pairs."""
    if isinstance(images, (str, PathLike)):
        yield from find([os.fspath(images)])
    elif (source := _source_of("image", images) or _source_of_pair(images)) is not None:
        yield source
    elif not isinstance(images, Iterable) or isinstance(images, Mapping) or hasattr(images, "read"):
        raise _not_an_image("images", images)
    else:
        for number, entry in enumerate(images):
            if isinstance(entry, (str, PathLike)):
                yield from find([os.fspath(entry)])
                continue
            id, image = entry if isinstance(entry, tuple) and len(entry) == 2 else (f"image-{number}", entry)
            if not isinstance(id, str):
                raise UsageError(f"image-{number}", f"its id is not a text but {type(id).__name__}", "Give str(id).")
            if (source := _source_of(id, image)) is None:
                raise _not_an_image(id, image)
            yield source


def _source_of_pair(pair: object) -> Found | None:
    """Return the source of one (id, image in memory) pair, or None; a tuple of two paths is two images."""
    match pair:
        case (str(id), image) if isinstance(pair, tuple) and not isinstance(image, (str, PathLike)):
            return _source_of(id, image)
    return None


def _source_of(id: str, image: object) -> Found | None:
    """Return an image's source, or None if it is not an image."""
    from PIL.Image import Image

    match image:
        case str() | PathLike():
            return Source(id, path=os.fspath(image))
        case bytes() | bytearray() | memoryview():
            return Source(id, data=bytes(image))
        case Source():
            return image
        case Image():
            return id, image
        case PixelArray():
            return id, _image_of_array(id, image)
    return None


def _image_of_array(id: str, array: PixelArray) -> Image:
    """Convert an array of height × width × 3 bytes."""
    import numpy as np
    from PIL.Image import fromarray

    shape, dtype = tuple(array.shape), str(array.dtype).removeprefix("torch.")
    if dtype != "uint8" or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        why = f"an array of {dtype} and shape {shape} is not an image"
        hint = "Images are uint8 arrays of height × width × 3 (RGB); give several as a list."
        raise UsageError(id, why, hint)
    return fromarray(np.asarray(array.cpu() if hasattr(array, "cpu") else array))  # a tensor may be on a GPU


def _not_an_image(id: str, given: object) -> UsageError:
    hint = "Give paths, bytes, PIL images, uint8 arrays of height × width × 3, or (id, image) pairs."
    if hasattr(given, "read"):
        hint = "Give the bytes of the file: file.read()."
    elif isinstance(given, Mapping):
        hint = "Give (id, image) pairs: images.items()."
    return UsageError(id, f"{type(given).__name__} is not a kind of image", hint)


def find(
    inputs: Iterable[str],
    recursive: bool = False,
    stdin: BinaryIO | None = None,
    offline: bool = False,
    repeated: Callable[[str], object] | None = None,
) -> Iterator[Source]:
    """Yield the sources that the inputs name, each id once, consuming no input before it is needed.

    URLs are errors if `offline`; `repeated` is called with an id that is named once more.
    """
    seen: set[str] = set()
    for given in inputs:
        for source in _sources_of_input(given, recursive, stdin, offline):
            if source.id not in seen:
                seen.add(source.id)
                yield source
            elif repeated is not None:
                repeated(source.id)


def source_of_id(id: str, recursive: bool = False, offline: bool = False) -> Source:
    """Return the source that `find` has given this id, as it is now."""
    again = list(itertools.islice(find([id], recursive, None, offline), 2)) if id != "-" else []
    return again[0] if len(again) == 1 and again[0].id == id else Source(id, path=id)


def look_ahead(sources: Iterator[Source]) -> tuple[Iterator[Source], bool]:
    """Return all sources again, and whether any is not an error; looks no further than the first that is none."""
    seen = []
    for source in sources:
        seen.append(source)
        if source.error is None:
            return itertools.chain(seen, sources), True
    return iter(seen), False


def read_paths(stream: BinaryIO, null: bool = False) -> Iterator[str]:
    """Yield the paths listed in a stream, each as soon as its newline (or NUL) arrives."""
    for number, piece in enumerate(_split(stream, b"\0" if null else b"\n")):
        path = piece if null else piece.removesuffix(b"\r")
        if number == 0 and not null:  # some editors begin a text with a mark
            path = path.removeprefix(codecs.BOM_UTF8)
        if path if null else path.strip():
            yield os.fsdecode(path)


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """Split a stream without waiting for more bytes than there are; the last piece may lack its separator."""
    arrived = getattr(stream, "read1", stream.read)  # read1 returns what has arrived; so does a raw stream's read
    rest = b""
    while chunk := arrived(1 << 16):
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
        if len(rest) > LONGEST_PATH:
            why = f"more than {LONGEST_PATH >> 10} KiB without an end of a path"
            raise UsageError("list of paths", why, "Give one path per line, or add -0.")
    if rest:
        yield rest


def is_one(given: str) -> bool:
    """Return whether an input is one image, not a folder or a pattern."""
    return not os.path.isdir(given) and (os.path.lexists(given) or is_url(given) or not glob.has_magic(given))


def _sources_of_input(given: str, recursive: bool, stdin: BinaryIO | None, offline: bool = False) -> Iterator[Source]:
    """Yield the sources of one input."""
    if given == "-":
        yield _source_of_stdin(stdin)
    elif os.path.isdir(given):
        yield from _sources_of_folder(given, recursive)
    elif os.path.lexists(given):
        yield Source(given, path=given)
    elif is_url(given):
        error = check_url(given, offline)
        yield Source(without_credentials(given), url=None if error else given, error=error)
    elif glob.has_magic(given) and "\0" not in given:
        yield from _sources_of_pattern(given, recursive)
    else:
        hint = "The list seems to be separated by NUL: add -0" if "\0" in given else "Check the path"
        yield Source(given, error=InputError("not-found", given, "no such file or folder", hint))


def _source_of_stdin(stdin: BinaryIO | None) -> Source:
    """Return stdin as one image, which is read when the image is."""
    if stdin is None:
        why, hint = "stdin is not available here", "A file of that name is ./-"
        return Source("-", error=InputError("not-found", "-", why, hint))
    return Source("-", stream=stdin)


def _sources_of_pattern(pattern: str, recursive: bool) -> Iterator[Source]:
    """Yield the sources of each matching path, as if the shell had expanded the pattern."""
    matches = sorted(filter(_is_plain, _matches(pattern)), key=os.fsencode)
    for match in matches:
        yield from _sources_of_input(match, recursive, None)
    if not matches:
        hint = "Check the pattern; ** matches folders of any depth"
        yield Source(pattern, error=InputError("no-match", pattern, "no file matches this pattern", hint))


def _matches(pattern: str) -> set[str]:
    """Return the paths that match; `**` is expanded here because glob itself follows symlink loops."""
    parts = re.split(r"(?:(?<=/)|^)\*\*/", re.sub(r"(?:(?<=/)|^)\*\*$", "**/*", pattern), maxsplit=1)
    if len(parts) == 1:
        return set(glob.glob(pattern))
    head, tail = parts
    bases = glob.glob(head) if head else [""]
    folders = (folder for base in bases for folder in _folders(base))
    return {match for folder in folders for match in _matches(os.path.join(glob.escape(folder), tail))}


def _folders(folder: str, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield a folder and those below it, following no link to a folder above."""
    if (real := os.path.realpath(folder)) in above:
        return
    yield folder
    for entry in _entries(folder)[0]:
        if _is_folder(entry):
            yield from _folders(os.path.join(folder, entry.name), above | {real})


def _sources_of_folder(folder: str, recursive: bool) -> Iterator[Source]:
    """Yield a folder's images, or the error that it has none."""
    empty = True
    for source in _walk(folder, recursive):
        empty = False
        yield source
    if empty:
        hint = "Name another folder, or the files themselves"
        if not recursive and any(map(_is_folder, _entries(folder)[0])):
            hint = "To include its subfolders, add -r (--recursive)"
        yield Source(folder, error=InputError("no-images", folder, "no image file in this folder", hint))


def _walk(folder: str, recursive: bool, above: frozenset[str] = frozenset()) -> Iterator[Source]:
    """Yield the image files of a folder in the order of their names' bytes, dangling links included."""
    entries, error = _entries(folder)
    if error:
        yield Source(folder, error=error)
    here = above | {os.path.realpath(folder)}
    for entry in entries:
        path = os.path.join(folder, entry.name)
        if _is_folder(entry):
            if recursive and os.path.realpath(path) not in here:
                yield from _walk(path, recursive, here)
        elif os.path.splitext(path)[1].lower() in SUFFIXES and _is_file_or_missing(entry):
            yield Source(path, path=path)


def _entries(folder: str) -> tuple[list[os.DirEntry[str]], InputError | None]:
    """List a folder without hidden names, or return why that failed."""
    try:
        with os.scandir(folder or ".") as entries:
            kept = [entry for entry in entries if not entry.name.startswith(".")]
    except PermissionError:
        return [], InputError("permission-denied", folder, "no permission to list this folder", "Check its permissions")
    except OSError as error:
        return [], InputError("not-found", folder, f"cannot list this folder ({error.strerror})", "Check the path")
    return sorted(kept, key=lambda entry: os.fsencode(entry.name)), None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one."""  # without a system call for most entries
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


def _is_plain(path: str) -> bool:
    """Return whether a path is a folder, a file or a broken link, not a pipe, a socket or a device."""
    return os.path.isdir(path) or os.path.isfile(path) or not os.path.exists(path)


def _is_file_or_missing(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file or a broken link, not a pipe or a device."""
    return entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path) or not os.path.exists(entry.path)
