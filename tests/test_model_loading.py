"""What is said while a model is loaded or downloaded, and how long a long run will take."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
    asked: list[str] = []  # noqa: RUF012 (each hub has its own)

    def do_GET(self) -> None:
        self.asked.append(self.path)
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


@contextmanager
def served(folder: Path, asked: list[str]) -> Iterator[str]:
    """Serve a model's folder; `asked` is filled with what is asked for."""
    handler = type("TinyHub", (Hub,), {"folder": folder, "asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def hub(models: dict[str, Path]) -> Iterator[str]:
    with served(models["pixels"], []) as address:
        yield address


def test_a_download_says_from_where_to_where_and_how_large(hub: str, models: dict[str, Path], tmp_path: Path) -> None:
    online = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    result = run("generate", "red", "-m", "owner/tiny", "--steps", "2", "-o", "a.png", cwd=tmp_path, env=online)
    cache = tmp_path / "hub"
    size = sum(file.stat().st_size for file in models["pixels"].glob("*/*")) / 1e6
    said = re.match(r"bigain: downloading owner/tiny, ([\d.]+) MB, to (.*)\n", result.err)
    assert result.code == 0 and said is not None, result.err
    assert float(said[1]) == pytest.approx(size, abs=0.1) and said[2] == str(cache)
    assert is_present(resolve("owner/tiny"), cache), "so that it is not downloaded again"


def test_a_model_in_the_cache_is_loaded_without_asking_the_hub(models: dict[str, Path], tmp_path: Path) -> None:
    """Also where the hub has its weights in half precision, too, which are not downloaded."""
    repository = Path(shutil.copytree(models["pixels"], tmp_path / "repository"))
    for weights in repository.glob("*/diffusion_pytorch_model.safetensors"):
        shutil.copy(weights, weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    asked: list[str] = []
    with served(repository, asked) as address:
        online = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        command = ("generate", "red", "-m", "owner/tiny", "--steps", "2", "-o")
        assert run(*command, "a.png", cwd=tmp_path, env=online).code == 0 and asked
        asked.clear()
        again = run(*command, "b.png", cwd=tmp_path, env=online)
    assert again.code == 0 and not asked and "downloading" not in again.err, (asked, again.err)


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
