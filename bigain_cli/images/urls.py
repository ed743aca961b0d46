"""URLs among the inputs: which texts are some, what a record may show of them, and which are never fetched.

Must not import anything that fetches: most runs have no URL.
"""

from __future__ import annotations

import re

from bigain_cli.errors import InputError

SCHEMES = ("http", "https")
STORES = ("s3", "gs", "hf")  # object stores, and the hub
DOWNLOAD = "Download it, and name the file"  # a hint
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Return whether a text has the form of a URL, of whatever scheme."""
    return _URL.match(text) is not None


def without_credentials(url: str) -> str:
    """Return a URL as a record may show it: without a user's name and password."""
    return re.sub(r"(?<=://)[^/?#]*@", "", url, count=1)


def check_url(url: str, offline: bool) -> InputError | None:
    """Return why a URL is not to be fetched, if so."""
    name = without_credentials(url)
    if not url.lower().startswith(tuple(f"{scheme}://" for scheme in (*SCHEMES, *STORES))):
        why = "only http://, https://, s3://, gs:// and hf:// are fetched"
        return InputError("unsupported-url", name, why, DOWNLOAD)
    if offline:
        why = "not fetched, because offline mode is on (--offline or the environment)"
        return InputError("offline", name, why, DOWNLOAD)
    return None


def is_stored(url: str) -> bool:
    """Return whether a URL is that of an object store."""
    return url.partition("://")[0].lower() in STORES
