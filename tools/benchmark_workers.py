"""Time one worker and two beside each other, and a manifest of many lines with records that need no network.

    python tools/benchmark_workers.py [--rounds 5] [--images 64] [--model mini]
    python tools/benchmark_workers.py --lines 1000000

Workers have one thread each; loading is left out. The machine must have two idle cores.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from bigain_cli.images import find, read_paths
from bigain_cli.shards.opening import make_run_folder
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import begin
from bigain_cli.shards.run_status import status_of
from bigain_cli.shards.shard_notes import begun_shards, finished_shards

LEAST, MOST = 0.1, 10.0  # ratios


def images_per_second(folder: Path, name: str, workers: int, count: int, model: str) -> float:
    """Run so many workers, and return their speed from the first shard's begin to the last one's end."""
    command = ["-m", "bigain_cli", "classify", str(folder / "photos"), "-m", model, "-o", str(folder / name)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *command, "--workers", str(workers), "--shard-size", "4", "-q"], env=environment, check=True
    )
    run = RunFolder(folder / name)
    began = max(sorted(each.at for each in begun_shards(run).values())[:workers])  # when the last worker is ready
    done = [each for each in finished_shards(run).values() if each.at > began]
    return sum(each.made for each in done) / (max(each.at for each in done) - began)


def compare(rounds: int, count: int, model: str) -> None:
    """Print the ratio of two workers' speed to that of one."""
    from bigain_cli.intervals import mean_interval

    with TemporaryDirectory() as root:
        folder = Path(root)
        (folder / "photos").mkdir()
        for number in range(count):
            Image.effect_noise((320, 240), 80).convert("RGB").save(folder / "photos" / f"{number:03}.png")
        ratios = []
        for turn in range(rounds):
            one, two = (images_per_second(folder, f"{turn}-{n}", n, count, model) for n in (1, 2))
            ratios.append(two / one)
            print(f"one worker {one:.2f} images/s, two {two:.2f}: {two / one:.2f} times", flush=True)
        interval = mean_interval(ratios, LEAST, MOST)
        ends = f"[{interval.low:.2f}, {interval.high:.2f}]"
        print(f"two workers are {interval.value:.2f} {ends} times as fast as one, n = {rounds}")


def many_lines(count: int) -> None:
    """Print how fast a manifest of so many lines is written and compared, how much memory that took, and the status."""
    with TemporaryDirectory() as root:
        paths = Path(root) / "list"
        with paths.open("w") as file:
            file.writelines(f"photos/of/some/folder/{number:08}.jpg\n" for number in range(count))
        folder = make_run_folder(str(Path(root) / "run"), "")
        for doing in ("written", "compared"):
            began = time.process_time()
            with paths.open("rb") as file:
                manifest = folder.write_manifest(source.id for source in find(read_paths(file)))
            peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())  # of this program alone
            memory = int(peak[1]) >> 10 if peak else 0
            speed = count / (time.process_time() - began)
            print(f"{doing} {speed:.0f} lines a second of processor time, {memory} MB")
        begin(folder, manifest, None)
        began = time.monotonic()
        status_of(folder)
        print(f"status in {time.monotonic() - began:.2f} s")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--images", type=int, default=64)
    options.add_argument("--model", default="mini")
    options.add_argument("--lines", type=int)
    given = options.parse_args()
    many_lines(given.lines) if given.lines else compare(given.rounds, given.images, given.model)


if __name__ == "__main__":
    main()
