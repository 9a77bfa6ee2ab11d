"""The debug study done once, by the commands that a user types."""

from __future__ import annotations

import pytest
from workplace import Workplace


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The debug study, from nothing to its report, never interrupted."""
    workplace = Workplace(tmp_path_factory.mktemp("finished"))
    workplace.clipgen("dataset", "build", "icons-debug", "--workers", "1")
    workplace.clipgen("sweep", "debug", "--slots", "1")
    workplace.clipgen("report", "debug")
    return workplace
