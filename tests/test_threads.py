"""The CPU threads of the command: their number, and that they sleep while they wait unless the user chose."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import benchmark_busy_machine
import commands
import pytest

from bigain_cli.cli.threads import WAITING, sleep_while_waiting


@pytest.fixture
def place(tmp_path: Path) -> Path:
    commands.image(tmp_path / "photo.png")
    return tmp_path


@pytest.mark.parametrize("chosen", [{}, *({name: "1000"} for name in WAITING)])
def test_threads_sleep_while_they_wait_unless_the_user_chose(chosen: dict[str, str], monkeypatch) -> None:
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    sleep_while_waiting()
    assert {name: os.environ[name] for name in WAITING if name in os.environ} == (
        chosen or {"OMP_WAIT_POLICY": "passive"}
    )


def test_the_number_of_threads_is_the_options_whatever_the_environment_says() -> None:
    line = (
        "bench",
        "-m",
        "colours",
        "--rounds",
        "1",
        "--labels",
        "2",
        "--draws",
        "1",
        "--json",
        "-q",
        "--threads",
        "3",
    )
    assert json.loads(commands.run(*line, env={"OMP_NUM_THREADS": "1"}).out)["threads"] == 3


@pytest.mark.slow
@pytest.mark.quiet
def test_busy_neighbours_cost_their_share_and_no_more(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "bigain_cli", "classify", str(place / "photo.png"), "-l", "cifar10", "-q"]
    idle, busy = [], []
    for _ in range(3):
        idle.append(benchmark_busy_machine.seconds(command, {}))
        with benchmark_busy_machine.busy_loops(benchmark_busy_machine.CORES):
            busy.append(benchmark_busy_machine.seconds(command, {}))
    with capsys.disabled():
        sys.stdout.write(f"\n  {min(idle):.2f} s idle, {min(busy):.2f} s beside a busy loop per core\n")
    assert min(busy) < 2.5 * min(idle)
