"""Fetch an image by its URL: the bytes of the answer, or an `InputError` that says why there are none.

Only http and https, at any step of a redirection; bounded in redirections, bytes and seconds. What comes back is not
trusted: the decoder decides whether it is an image. The standard library does it, because the HTTP library that the
hub's client brings differs from one of its versions to the next.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib import parse, request

from bigain_cli.errors import InputError, one_line
from bigain_cli.images.urls import DOWNLOAD, SCHEMES, without_credentials
from bigain_cli.version import __version__

MOST_BYTES = 64 << 20
MOST_REDIRECTS = 5
PATIENCE = 10.0  # seconds that a server may be silent
LONGEST = 60.0  # seconds that one image may take
_PLAIN = "%/:=&?~+!$,;'@()*[]"  # characters that have a meaning in a URL, or are escaped already


def fetch(url: str) -> bytes:
    """Return what a server answers, after at most a few redirections."""
    name, until, opener = without_credentials(url), time.monotonic() + LONGEST, _opener()
    for _ in range(MOST_REDIRECTS + 1):
        with _explained(name), opener.open(_request(url, name), timeout=PATIENCE) as response:
            if response.status not in (301, 302, 303, 307, 308):
                return _body(response, name, until)
            url = _redirected(url, response.headers.get("Location"), name)
    raise InputError("http-error", name, f"redirected more than {MOST_REDIRECTS} times", DOWNLOAD)


def _opener() -> request.OpenerDirector:
    """Return an opener that knows http and https, also by way of a proxy, and neither files nor redirections."""
    opener = request.OpenerDirector()
    for handler in (request.ProxyHandler(), request.HTTPHandler(), request.HTTPSHandler(), request.UnknownHandler()):
        opener.add_handler(handler)
    return opener


def _request(url: str, name: str) -> request.Request:
    """Return the request for a URL, whose credentials become a header and whose letters become ASCII."""
    try:
        parts = parse.urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError as problem:
        raise InputError("unsupported-url", name, f"not a valid URL ({problem})", "Check it") from problem
    if not host:
        raise InputError("unsupported-url", name, "a URL without a host", "Check it")
    place = f"[{host}]{port}" if ":" in host else host + port
    path, query = (parse.quote(text, safe=_PLAIN) for text in (parts.path, parts.query))
    wanted = request.Request(parse.urlunsplit((parts.scheme.lower(), place, path or "/", query, "")))
    wanted.add_header("User-Agent", f"bigain/{__version__}")
    wanted.add_header("Accept", "image/*, */*;q=0.1")
    if parts.username is not None:
        pair = f"{parse.unquote(parts.username)}:{parse.unquote(parts.password or '')}"
        wanted.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    return wanted


def _redirected(url: str, location: str | None, name: str) -> str:
    """Return where a redirection leads; refuse another scheme, and the step from https to http."""
    if not location:
        raise InputError("http-error", name, "redirected to nowhere", DOWNLOAD)
    target = parse.urljoin(url, location)
    before, after = (parse.urlsplit(each).scheme.lower() for each in (url, target))
    if after not in SCHEMES or (before, after) == ("https", "http"):
        raise InputError("http-error", name, f"redirected from {before} to {after}, which is not followed", DOWNLOAD)
    return target


def _body(response: Any, name: str, until: float) -> bytes:
    """Return an answer's bytes; refuse errors, too many bytes, too few and too many seconds."""
    if response.status != 200:
        reason = http.client.responses.get(response.status, "no known status")
        raise InputError("http-error", name, f"the server answered {response.status} ({reason})", "Check the URL")
    length = response.length  # None if the server does not say
    body = bytearray()
    while len(body) <= MOST_BYTES >= (length or 0) and (chunk := response.read1(1 << 16)):
        body += chunk
        if time.monotonic() > until:
            raise InputError("timeout", name, f"took more than {LONGEST:.0f} s", DOWNLOAD)
    if max(len(body), length or 0) > MOST_BYTES:
        raise InputError("too-large", name, f"more than {MOST_BYTES >> 20} MiB", DOWNLOAD)
    if length is not None and len(body) < length:
        why = f"the connection ended after {len(body)} of {length} bytes"
        raise InputError("unreachable", name, why, "Try again")
    return bytes(body)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what goes wrong on the network into an `InputError`."""
    try:
        yield
    except (OSError, http.client.HTTPException) as problem:
        reason = getattr(problem, "reason", problem)
        if isinstance(reason, TimeoutError):
            raise InputError("timeout", name, f"no answer within {PATIENCE:.0f} s", "Try again") from problem
        if isinstance(reason, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted ({reason.verify_message})"
            raise InputError("unreachable", name, why, DOWNLOAD) from problem
        text = getattr(reason, "strerror", None) or one_line(reason)
        raise InputError(
            "unreachable", name, f"cannot be fetched ({text})", "Check the URL and the network"
        ) from problem
