"""Images by URL, from a server of the test's own: what is fetched, what is refused, and that nothing hangs or leaks."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import commands
import pytest
from commands import LABELS, warm
from PIL import Image

import bigain_cli as bigain
from bigain_cli.errors import InputError
from bigain_cli.images import Source, fetching, find, read
from bigain_cli.images.fetching import MOST_REDIRECTS, fetch
from bigain_cli.images.urls import without_credentials

ONLINE = {"HF_HUB_OFFLINE": "0"}
DRIP = 0.05  # seconds between bytes


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), commands.COLOURS["red"]).save(stream, "PNG")
    return stream.getvalue()


RED = png()


class Server(BaseHTTPRequestHandler):
    """Answers by the path; remembers each request's path and headers."""

    seen: list[tuple[str, dict[str, str]]]

    def do_GET(self) -> None:
        self.seen.append((self.path, dict(self.headers)))
        kind, _, rest = self.path.strip("/").partition("/")
        match kind:
            case "to":
                self._answer(302, b"", Location=rest)
            case "chain":
                self._answer(302, b"", Location=f"/chain/{int(rest) - 1}" if int(rest) else "/red.png")
            case "status":
                self._answer(int(rest), b"<html>no</html>")
            case "html":
                self._answer(200, b"<!doctype html><title>login</title>")
            case "short":
                self._answer(200, RED[:40], **{"Content-Length": str(len(RED))})
            case "silent":
                time.sleep(1)
            case "drip" | "endless":
                self._pour(DRIP if kind == "drip" else 0)
            case "huge":
                self._answer(200, b"", **{"Content-Length": str(1 << 40)})
            case _:
                self._answer(200, RED)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _pour(self, pause: float) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"\0" * (1 if pause else 1 << 20))
                time.sleep(pause)
        except OSError:
            return

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Return the address of a server that runs meanwhile."""
    Server.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def refused(url: str) -> InputError:
    with pytest.raises(InputError) as problem:
        fetch(url)
    return problem.value


def test_the_bytes_of_an_image_come_back(site: str) -> None:
    assert (
        fetch(f"{site}/red.png") == fetch(f"{site}/to//red.png") == fetch(f"{site}/chain/{MOST_REDIRECTS - 1}") == RED
    )
    assert fetch(f"HTTP{site[4:]}/Füße und mehr.png?q=ä&b=1%20") == RED
    path, headers = Server.seen[-1]
    assert path == "/F%C3%BC%C3%9Fe%20und%20mehr.png?q=%C3%A4&b=1%20"
    assert headers["User-Agent"].startswith("bigain/") and "Authorization" not in headers


REFUSALS = {
    "status/404": ("http-error", "the server answered 404 (Not Found)"),
    "status/503": ("http-error", "503 (Service Unavailable)"),
    "status/204": ("http-error", "204"),
    f"chain/{MOST_REDIRECTS}": ("http-error", "redirected more than 5 times"),
    "to/file:///etc/passwd": ("http-error", "redirected from http to file, which is not followed"),
    "to/ftp://127.0.0.1/x.png": ("http-error", "from http to ftp"),
    "to/data:image/png;base64,AAAA": ("http-error", "from http to data"),
    "status/302": ("http-error", "redirected to nowhere"),
    "short": ("unreachable", f"the connection ended after 40 of {len(RED)} bytes"),
    "huge": ("too-large", "more than 64 MiB"),
}


@pytest.mark.parametrize("path", REFUSALS)
def test_what_cannot_be_fetched_is_refused_by_a_reason(site: str, path: str) -> None:
    kind, why = REFUSALS[path]
    problem = refused(f"{site}/{path}")
    assert problem.kind == kind and why in problem.why and problem.hint
    assert str(problem).startswith(f"{site}/{path}: ")


def test_a_step_from_https_to_http_is_not_followed() -> None:
    with pytest.raises(InputError, match="redirected from https to http, which is not followed"):
        fetching._redirected("https://a.org/x", "http://a.org/x", "name")
    assert fetching._redirected("http://a.org/x/y", "../z", "name") == "http://a.org/z"


@pytest.mark.parametrize("path", ["drip", "endless", "silent"])
def test_nothing_is_waited_for_or_stored_without_end(site: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PATIENCE", 0.3)
    monkeypatch.setattr(fetching, "LONGEST", 0.5)
    monkeypatch.setattr(fetching, "MOST_BYTES", 3 << 20)
    began = time.monotonic()
    problem = refused(f"{site}/{path}")
    assert problem.kind == ("too-large" if path == "endless" else "timeout")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a:port/", "http://127.0.0.1:9/x", "http://a..b/x"])
def test_a_place_that_is_none_is_an_error_of_one_line(url: str) -> None:
    problem = refused(url)
    assert problem.kind in ("unsupported-url", "unreachable") and "\n" not in str(problem)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.org/x.png", "az://bucket/x.png", "FILE:///x"])
def test_other_schemes_are_never_tried(url: str) -> None:
    (source,) = find([url])
    assert source.url is None and source.error is not None and source.error.kind == "unsupported-url"


def test_a_password_is_sent_once_and_never_shown(site: str) -> None:
    url = f"{site.replace('//', '//me:s%40cret@')}/red.png"
    (source,) = find([url])
    assert source.id == f"{site}/red.png" and "cret" not in repr(source)
    assert read(source).size == (32, 24)
    sent = Server.seen[-1][1]["Authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"me:s@cret"
    assert fetch(f"{site.replace('//', '//me:s%40cret@')}/to/{site.replace('127.0.0.1', 'localhost')}/red.png") == RED
    assert "Authorization" not in Server.seen[-1][1], "another host must not get it"
    assert "cret" not in str(refused(url.replace("red.png", "status/404")))
    assert without_credentials("https://a.org/@me?x=@") == "https://a.org/@me?x=@"


def test_a_file_of_that_name_goes_before_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    (tmp_path / "http:" / "x.png").write_bytes(RED)
    assert list(find(["http://x.png"])) == [Source("http://x.png", path="http://x.png")]


def test_the_library_takes_a_url(site: str) -> None:
    found = list(bigain.classify("colours", [f"{site}/red.png", f"{site}/html"], "red,blue"))
    assert [(type(each).__name__, each.id) for each in found] == [
        ("Ranking", f"{site}/red.png"),
        ("Failure", f"{site}/html"),
    ]
    assert found[0].label == "red" and found[1].kind == "not-an-image" and "a web page" in found[1].message


def test_the_command_classifies_urls_beside_files(site: str, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "list.txt").write_text(f"{site}/status/404\n{site}/x.png?a=[1]\n")
    command = ("classify", "red.png", f"{site}/red.png", "--files-from", "list.txt", *LABELS, "--jsonl")
    done = warm(*command, cwd=tmp_path, env=ONLINE)
    kinds = [record.get("label") or record["error"]["kind"] for record in done.records]
    assert (done.code, kinds) == (1, ["red", "red", "http-error", "red"])
    assert [record["id"] for record in done.records][1:] == [
        f"{site}/red.png",
        f"{site}/status/404",
        f"{site}/x.png?a=[1]",
    ]
    before = len(Server.seen)
    for flags, env in ((["--offline"], ONLINE), ([], {"HF_HUB_OFFLINE": "1"})):
        offline = warm(*command, *flags, cwd=tmp_path, env=env)
        assert [record.get("error", {}).get("kind") for record in offline.records] == [None, *["offline"] * 3]
    assert len(Server.seen) == before


def test_inspect_takes_a_url(site: str, models: dict[str, Path], tmp_path: Path) -> None:
    command = ("inspect", f"{site}/red.png", "-m", str(models["epsilon"]), "-t", "500", "--json")
    done = warm(*command, cwd=tmp_path, env=ONLINE)
    assert done.code == 0 and json.loads(done.out)["id"] == f"{site}/red.png"
    offline = warm(*command, "--offline", cwd=tmp_path, env=ONLINE)
    assert (offline.code, offline.out) == (1, b"") and "offline mode is on" in offline.err
