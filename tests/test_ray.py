"""Shards on a real cluster of Ray, which the tests start and stop: two nodes on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import COLOURS, environment, image, warm
from stub_job import StubJob, record_of, stub_run

from bigain_cli.errors import UsageError
from bigain_cli.shards.gathering import Gathering
from bigain_cli.shards.manifest import shards
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_status import status_of

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own
TESTS = Path(__file__).parent
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
MODEL = os.environ.get("BIGAIN_TEST_MODEL", "colours")  # by hand larger: BIGAIN_TEST_MODEL=mini BIGAIN_TEST_IMAGES=400
COUNT = int(os.environ.get("BIGAIN_TEST_IMAGES", "72"))
OPTIONS = {
    "colours": ("-l", "red,green,blue", "--schedule", "fixed", "--draws", "256"),
    "mini": ("-l", "cat,dog", "--draws", "16"),
}
MEMORY = 80 << 20  # bytes of a node's object store, of which nothing is used


def strays() -> list[str]:
    """Return the processes of Ray on this machine."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return [each for each in found if "raylet" in each or "gcs_server" in each or each.startswith("ray::")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of a head without room for workers, and two nodes with room for one each."""
    from ray.cluster_utils import Cluster

    before = len(strays())
    with pytest.MonkeyPatch.context() as patched:
        paths = os.pathsep.join((str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")))
        for name, value in {**QUIET, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}.items():
            patched.setenv(name, value)
        checks = {f"health_check_{name}_ms": 500 for name in ("initial_delay", "period", "timeout")}  # a dead node
        head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False, "_system_config": checks}
        made = Cluster(True, head_node_args=head)
        made.nodes_for_tests = [made.add_node(num_cpus=1, object_store_memory=MEMORY) for _ in range(2)]
        yield made
        ray.shutdown()
        made.shutdown()
    until = time.monotonic() + 20
    while len(strays()) > before and time.monotonic() < until:
        time.sleep(0.1)
    assert len(strays()) <= before, strays()


def start(cluster: Any, *arguments: str, cwd: Path, workers: int = 2) -> subprocess.Popen[bytes]:
    """Start the command on the cluster."""
    variables = environment(QUIET)
    command = [sys.executable, "-m", "bigain_cli", *arguments, "--engine", cluster.address, "--workers", str(workers)]
    return subprocess.Popen(command, cwd=cwd, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(folder: RunFolder, images: int, driver: subprocess.Popen[bytes]) -> None:
    """Wait until so many images are recorded."""
    until = time.monotonic() + 240
    while time.monotonic() < until and driver.poll() is None:
        if folder.manifest.exists() and (now := status_of(folder)).done + now.under_way >= images:
            return
        time.sleep(0.05)
    raise AssertionError(f"not so far: {driver.poll()}")


def place(folder: Path, count: int) -> None:
    (folder / "photos").mkdir()
    for number in range(count):
        image(folder / "photos" / f"{number:03}.png", list(COLOURS)[number % 3], number, (32, 32))


def test_a_node_and_the_driver_are_killed_and_nothing_is_lost(cluster: Any, tmp_path: Path) -> None:
    place(tmp_path, count := COUNT)
    options = ("classify", "photos", "-m", MODEL, *OPTIONS[MODEL])
    sharded = (*options, "-o", "results/", "--shard-size", "4")
    folder = RunFolder(tmp_path / "results")
    driver = start(cluster, *sharded, cwd=tmp_path)
    wait_for(folder, count // 6, driver)
    cluster.remove_node(cluster.nodes_for_tests.pop(0), allow_graceful=False)
    cluster.nodes_for_tests.append(cluster.add_node(num_cpus=1, object_store_memory=MEMORY))
    now = status_of(folder)
    wait_for(folder, min(count - 12, now.done + now.under_way + count // 6), driver)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert status_of(folder).done < count
    driver = start(cluster, *sharded, cwd=tmp_path, workers=1)
    printed, said = driver.communicate(timeout=900)
    assert driver.returncode == 0 and b"already recorded" in said and b"Traceback" not in said, said
    assert not printed and b"pid=" not in said and b"INFO" not in said and b"raylet" not in said
    assert warm(*options, "-o", "plain.jsonl", cwd=tmp_path).code == 0
    assert warm("gather", "results", "-o", "all.jsonl", cwd=tmp_path).code == 0
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "plain.jsonl").read_bytes()


def test_an_image_that_kills_its_actor_is_found(cluster: Any, tmp_path: Path) -> None:
    from bigain_cli.engines.ray_actors import run_on_ray

    ids = ["0.png", "deadly", *(f"{number}.png" for number in range(10))]
    folder = stub_run(tmp_path / "run", ids, 2)
    notes = [
        report
        for report in run_on_ray(StubJob(), folder, shards(folder.manifest, 2), 2, cluster.address)
        if isinstance(report, str)
    ]
    records = list(Gathering.of(folder, partial=False).records())
    assert [record["id"] for record in records] == ids and "error" in records[1]
    assert [record for record in records if "error" not in record] == [record_of(id) for id in ids if id != "deadly"]
    assert any("a worker died" in note for note in notes)


def test_a_call_hears_the_options_and_what_it_refuses_is_raised(cluster: Any, tmp_path: Path) -> None:
    from bigain_cli.engines.ray_actors import call_on_ray

    def refuse(folder: RunFolder) -> None:
        raise UsageError(folder.name, "not so", "Otherwise.")

    def offline(folder: RunFolder) -> str | None:
        return os.environ.get("HF_HUB_OFFLINE")

    folder = stub_run(tmp_path / "run", ["a.png"], 2)
    with pytest.raises(UsageError) as refused:
        call_on_ray(refuse, folder, cluster.address, gpu=False)
    assert str(refused.value) == f"{folder.name}: not so. Otherwise."
    for value in ("0", "1"):
        told = {"HF_HUB_OFFLINE": value}
        assert call_on_ray(offline, folder, cluster.address, gpu=False, variables=told) == value


def test_what_an_actor_refuses_is_raised(cluster: Any, tmp_path: Path) -> None:
    from bigain_cli.engines.ray_actors import run_on_ray

    folder = stub_run(tmp_path / "run", ["a.png"], 2)
    for _ in run_on_ray(StubJob(), folder, shards(folder.manifest, 2), 1, cluster.address):
        pass
    folder.part(0).unlink()
    with pytest.raises(UsageError, match="other weights"):
        for _ in run_on_ray(StubJob(fingerprint="1"), folder, shards(folder.manifest, 2), 1, cluster.address):
            pass
