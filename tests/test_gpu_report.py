"""The queue of tools/gpu_report.py: a failure stops nothing, a killed run goes on, and the toy run has every result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gpu_steps.queue import RESULTS, Step, results, run_queue
from gpu_steps.steps import Plan, steps
from gpu_steps.tables import NOTHING, as_markdown

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "gpu_report.py"
LINES = {
    "good": 'print("words"); print(\'{"x": 1.5}\')',
    "bad": 'raise SystemExit("no luck")',
    "slow": "import time; print('{}', flush=True); time.sleep(60)",
    "counted": "import sys; open(sys.argv[1], 'a').write('x'); print(1)",
}


def step(name: str, *arguments: str, least: float = 0, seconds: float = 30, needs: Path | None = None) -> Step:
    return Step(name, name, (sys.executable, "-c", LINES[name], *arguments), least, seconds, needs)


def test_a_step_that_fails_or_takes_too_long_stops_no_other(tmp_path: Path) -> None:
    queue = [step("bad"), step("slow", seconds=2), step("good")]
    assert run_queue(queue, tmp_path, 60) == 2
    found = results(tmp_path)
    assert {name: line["status"] for name, line in found.items()} == {
        "bad": "exit code 1",
        "slow": "time is up",
        "good": "ok",
    }
    assert found["good"]["result"] == {"x": 1.5} and "no luck" in found["bad"]["said"]


def test_a_second_run_goes_on_and_repeats_what_failed_only_if_asked(tmp_path: Path) -> None:
    count, queue = tmp_path / "count", [step("counted", str(tmp_path / "count")), step("bad")]
    for retry, expected in ((False, 1), (False, 1), (True, 1)):
        run_queue(queue, tmp_path, 60, retry)
        assert count.read_text() == "x" * expected
    lines = (tmp_path / RESULTS).read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["counted", "bad", "bad"]
    (tmp_path / RESULTS).write_text("\n".join([*lines[1:], '{"name": "counted", "sta']))  # as a kill leaves it
    run_queue(queue, tmp_path, 60)
    assert count.read_text() == "xx" and set(results(tmp_path)) == {"counted", "bad"}


def test_nothing_is_begun_without_time_or_without_what_it_needs(tmp_path: Path, capfd) -> None:
    run_queue([step("good", least=100), step("bad", needs=tmp_path / "gone")], tmp_path, 60)
    assert results(tmp_path) == {}
    said = capfd.readouterr().err
    assert "good: left out, it takes 100 s and 60 are left" in said and "bad: left out, there is no" in said


def test_the_page_says_what_is_not_measured_and_is_the_one_in_the_docs(tmp_path: Path) -> None:
    page = as_markdown(tmp_path)
    assert page.count(f"\n{NOTHING}\n") == page.count("\n## ")
    committed = ROOT / "docs" / "gpu"  # where results.jsonl is, once there is one
    assert as_markdown(committed) == (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8"), (
        "python tools/gpu_report.py --tables docs/gpu > docs/gpu.md"
    )


def test_requirements_are_the_projects(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--requirements"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert any(line.startswith("diffusers>=") for line in lines) and not any(line.startswith("torch") for line in lines)


@pytest.mark.slow
@pytest.mark.long
def test_the_toy_run_has_every_result_though_it_is_killed_in_the_middle(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--toy", "--device", "cpu", "--minutes", "10", "-o", str(tmp_path / "out")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, start_new_session=True) as killed:
        while len(results(tmp_path / "out")) < 2:
            assert killed.poll() is None
            time.sleep(0.2)
        time.sleep(1)
        killed.send_signal(signal.SIGKILL)
    for line in (tmp_path / "out" / RESULTS).read_text().splitlines():
        assert json.loads(line)["status"] == "ok", line
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = results(tmp_path / "out")
    assert done.returncode == 0, done.stderr + str({name: line.get("said") for name, line in found.items()})
    assert set(found) == {each.name for each in steps(Plan(tmp_path / "out", "cpu", toy=True))}
    assert NOTHING not in (tmp_path / "out" / "report.md").read_text()
    assert found["memory"]["result"]["back_off"]["halved_to"] == 8
