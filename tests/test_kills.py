"""Runs that are killed at random moments: nothing is torn, nothing lost, and nothing left after the next start."""

from __future__ import annotations

from pathlib import Path

import pytest
from kills import HOW, Suite

KILLS = 30  # by hand more: see kills.py


@pytest.mark.slow
def test_random_kills_tear_nothing_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    counts = Suite(tmp_path / "suite", seed=0).run(KILLS)
    assert counts.problems == []
    assert {name.rpartition(": ")[2] for name in counts.kills} == set(HOW)
    assert {name.split()[0] for name in counts.kills} == {"classify", "generate", "evaluate", "train"}
