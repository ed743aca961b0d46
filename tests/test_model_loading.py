"""What is said while a model is loaded or downloaded, and how long a long run will take."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import run, warm

from bigain_cli.backbones.model_locations import is_present, resolve
from bigain_cli.cli import progress
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.progress import LONG, MEASURED, ProgressBar

COMMIT = sha1(b"a commit").hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves one model, `owner/tiny`, from a folder, as the hub does."""

    folder = Path()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/owner/tiny/tree/"):
            files = [each for each in sorted(self.folder.rglob("*")) if each.is_file()]
            self._answer(json.dumps([self._entry(each) for each in files]).encode())
        elif path.startswith("/api/models/owner/tiny"):
            self._answer(json.dumps({"id": "owner/tiny", "sha": COMMIT, "siblings": []}).encode())
        else:
            file = self.folder / path.partition(f"/resolve/{COMMIT}/")[2]
            self._answer(file.read_bytes() if file.is_file() else b"", 200 if file.is_file() else 404)

    do_HEAD = do_GET

    def _entry(self, file: Path) -> dict[str, object]:
        name = str(file.relative_to(self.folder))
        return {"type": "file", "path": name, "size": file.stat().st_size, "oid": sha1(name.encode()).hexdigest()}

    def _answer(self, body: bytes, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(models: dict[str, Path]) -> Iterator[str]:
    handler = type("TinyHub", (Hub,), {"folder": models["pixels"]})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_download_says_from_where_to_where_and_how_large(hub: str, models: dict[str, Path], tmp_path: Path) -> None:
    online = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    result = run("generate", "red", "-m", "owner/tiny", "--steps", "2", "-o", "a.png", cwd=tmp_path, env=online)
    cache = tmp_path / "hub"
    size = sum(file.stat().st_size for file in models["pixels"].glob("*/*")) / 1e6
    said = re.match(r"bigain: downloading owner/tiny, ([\d.]+) MB, to (.*)\n", result.err)
    assert result.code == 0 and said is not None, result.err
    assert float(said[1]) == pytest.approx(size, abs=0.1) and said[2] == str(cache)
    assert is_present(resolve("owner/tiny"), cache), "so that it is not downloaded again"


def test_a_model_that_cannot_be_downloaded_is_not_said_to_be(tmp_path: Path) -> None:
    result = warm("generate", "red", "-m", "owner/tiny", "-o", "a.png", cwd=tmp_path, env={"HF_HOME": str(tmp_path)})
    assert result.code == 2 and "downloading" not in result.err and "offline mode is on" in result.err


@pytest.mark.parametrize(("seconds", "said"), [(0.2, []), (2.0, ["40 images on cpu, about 80 s"])])
def test_a_long_run_says_once_what_it_takes_and_not_before_it_is_measured(
    seconds: float, said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(progress, "PAUSE", 1e9)
    with ProgressBar(Messages(quiet=False, verbose=False), "training", "images", 60, "40 images on cpu") as bar:
        for done in range(60, 101):
            bar.show(done, 100)
            lines = capsys.readouterr().err.splitlines() if now[0] - 100 <= MEASURED else []
            assert not lines
            now[0] += seconds
    assert capsys.readouterr().err.splitlines() == [f"bigain: {each}" for each in said]
    assert (40 * seconds > LONG) == bool(said)
