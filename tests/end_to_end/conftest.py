"""The debug study done once, by the command that a user types."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from workplace import Workplace


@pytest.fixture(scope="session", autouse=True)
def _same_code() -> Iterator[None]:
    """Whoever edits a file while tests run makes no report outdated."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gen.provenance.git_state", lambda: "as tested")
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The debug study, from nothing to its report, never interrupted."""
    workplace = Workplace(tmp_path_factory.mktemp("finished"))
    workplace.clipgen("sweep", "debug", "--slots", "1")
    return workplace
