"""The debug study done once, by the command that a user types; and its dataset alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from filelock import FileLock
from workplace import Workplace


@pytest.fixture(scope="session", autouse=True)
def _same_code() -> Iterator[None]:
    """Whoever edits a file while tests run makes no report outdated."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gen.provenance.git_state", lambda: "as tested")
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Workplace:
    """The debug study, from nothing to its report, never interrupted.

    One of the workers trains it, every worker has its own copy.
    """
    mine = tmp_path_factory.mktemp("finished")
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent
    made, ready = shared / "made", shared / "made.ready"
    with FileLock(shared / "made.lock"):
        if not ready.exists():
            made.mkdir()
            Workplace(made).clipgen("sweep", "debug", "--slots", "1")
            ready.touch()
    shutil.copytree(made, mine, dirs_exist_ok=True)
    return Workplace(mine)


@pytest.fixture(scope="session")
def dataset_only(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The debug study's dataset, and no run; to be read only."""
    workplace = Workplace(tmp_path_factory.mktemp("dataset"))
    workplace.clipgen("dataset", "build", "icons-debug")
    return workplace


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, whose drawing is most of their time; `finished` has all of them."""
    for page in ("page", "split_pages"):
        monkeypatch.setattr(
            f"analysis.report.{page}.svg_text", lambda _figure, _name: '<svg width="9pt"></svg>'
        )
