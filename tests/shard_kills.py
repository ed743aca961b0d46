"""Random kills of the workers and the driver of a run over shards, with records that need no network.

A test runs some; by hand: python tests/shard_kills.py --kills 100 --engine processes
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stub_job import StubJob, record_of, stub_run

from bigain_cli.outputs.json import line
from bigain_cli.shards.gathering import Gathering
from bigain_cli.shards.manifest import shards
from bigain_cli.shards.opening import existing_run_folder
from bigain_cli.shards.run_status import status_of

SIZE, WORKERS = 16, 2
PACE = 0.004  # seconds a record
DRIVER_SHARE = 0.3  # of the kills


def drive(path: str, engine: str) -> None:
    """Run what is missing, as the command does."""
    folder = existing_run_folder(str(path), "")
    if engine == "processes":
        from bigain_cli.engines.processes import run_in_processes

        reports = run_in_processes(StubJob(PACE), folder, shards(folder.manifest, SIZE), WORKERS)
    else:
        from bigain_cli.engines.ray_actors import run_on_ray

        reports = run_on_ray(StubJob(PACE), folder, shards(folder.manifest, SIZE), WORKERS, engine)
    for report in reports:
        if isinstance(report, str):
            print(report, file=sys.stderr, flush=True)


def workers_of(pid: int, engine: str) -> list[int]:
    """Return the workers below a driver."""
    children: dict[int, list[int]] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                commands[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, below = [], [pid]
    while below:
        below = [child for parent in below for child in children.get(parent, [])]
        found += below
    wanted = "spawn_main" if engine == "processes" else "ray::"
    return [each for each in found if wanted in commands.get(each, "")]


def run(root: Path, kills: int, seed: int, engine: str = "processes") -> tuple[dict[str, int], list[str]]:
    """Kill so many times, restart a driver that was killed, and say what is lost, doubled, torn or out of order."""
    chance = random.Random(seed)
    ids = [f"{number:05}.png" for number in range(kills * 120)]
    folder = stub_run(root / "run", ids, SIZE)
    command = [sys.executable, __file__, "--drive", str(folder.path), "--engine", engine]
    counts, problems = {"driver": 0, "worker": 0, "restarts": 0}, list[str]()
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while counts["driver"] + counts["worker"] < kills and status_of(folder).done < len(ids):
        before = status_of(folder)
        until = time.monotonic() + 120
        while time.monotonic() < until and driver.poll() is None:  # until there is progress, then a little more
            now = status_of(folder)
            if now.done + now.under_way > before.done + before.under_way:
                break
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        if driver.poll() is not None:
            if driver.returncode:
                problems.append(f"the driver ended with {driver.returncode}")
            break
        victims = workers_of(driver.pid, engine)
        if chance.random() < DRIVER_SHARE or not victims:
            driver.kill()
            driver.wait()
            counts["driver"] += 1
            driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            counts["restarts"] += 1
        else:
            os.kill(chance.choice(victims), signal.SIGKILL)
            counts["worker"] += 1
    if driver.wait():
        problems.append(f"the driver ended with {driver.returncode}")
    gathered = b"".join(line(record) + b"\n" for record in Gathering.of(folder, partial=False).records())
    if gathered != b"".join(line(record_of(id)) + b"\n" for id in ids):
        problems.append("the gathered records are not those of a plain run")
    left = [name for name in os.listdir(folder.path) if name.startswith((".part", ".bigain"))]
    problems += [f"left: {name}" for name in left]
    return counts, problems


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--engine", default="processes")
    options.add_argument("--drive")
    given = options.parse_args()
    if given.drive:
        drive(given.drive, given.engine)
        return
    with tempfile.TemporaryDirectory() as root:
        began = time.monotonic()
        counts, problems = run(Path(root), given.kills, given.seed, given.engine)
        print(f"{counts} in {time.monotonic() - began:.0f} s, {len(problems)} problems")
        print("\n".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
