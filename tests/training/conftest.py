from __future__ import annotations

from collections.abc import Iterator

import pytest
from train_cases import Forks


@pytest.fixture(scope="session")
def bigain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Return what runs the command."""
    forks = Forks(tmp_path_factory.mktemp("streams"))
    yield forks
    forks.close()
