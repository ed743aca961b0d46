"""Read a file of an object store or of the hub: s3://, gs:// or hf://. fsspec knows the protocols.

What goes wrong is an `InputError`. Credentials are those of the machine; they are never part of an address.
"""

from __future__ import annotations

from bigain_cli.errors import InputError, one_line
from bigain_cli.images.urls import DOWNLOAD
from bigain_cli.object_store import missing_library, scheme_of

MOST_BYTES = 64 << 20


def read_remote(url: str) -> bytes:
    """Return the bytes of a file."""
    missing = missing_library(url)
    if missing:
        why = f"{scheme_of(url)}:// is read with {missing}, which is not installed"
        raise InputError("unsupported-url", url, why, "pip install 'bigain[remote]'")
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read(MOST_BYTES + 1)
    except FileNotFoundError as problem:
        raise InputError("not-found", url, "no such file", "Check the address") from problem
    except PermissionError as problem:
        raise InputError("permission-denied", url, "no permission to read it", "Check the credentials") from problem
    except Exception as problem:  # each store has errors of its own
        why = one_line(problem, 200)
        raise InputError("http-error", url, f"cannot be read ({why})", DOWNLOAD) from problem
    if len(data) > MOST_BYTES:
        raise InputError("too-large", url, f"more than {MOST_BYTES >> 20} MiB", DOWNLOAD)
    return data
