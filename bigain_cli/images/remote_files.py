"""Read a file of an object store or of the hub: s3://, gs:// or hf://. fsspec knows the protocols.

What goes wrong is an `InputError`. Credentials are those of the machine; they are never part of an address.
"""

from __future__ import annotations

import importlib.util

from bigain_cli.errors import InputError
from bigain_cli.images.urls import DOWNLOAD

MOST_BYTES = 64 << 20
LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}  # what fsspec needs for each


def read_remote(url: str) -> bytes:
    """Return the bytes of a file."""
    scheme = url.partition("://")[0].lower()
    missing = [name for name in ("fsspec", LIBRARIES[scheme]) if importlib.util.find_spec(name) is None]
    if missing:
        why = f"{scheme}:// is read with {missing[0]}, which is not installed"
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
        why = " ".join(str(problem).split())[:200] or type(problem).__name__
        raise InputError("http-error", url, f"cannot be read ({why})", DOWNLOAD) from problem
    if len(data) > MOST_BYTES:
        raise InputError("too-large", url, f"more than {MOST_BYTES >> 20} MiB", DOWNLOAD)
    return data
