"""One cluster and one dataset for all tests with Slurm."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cluster import NEEDED, Cluster, wait_for
from swept import Plan, Swept, planned

from gen.cli import main


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Slurm on this machine, with nodes n1 and n2 of one processor each."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in NEEDED if not shutil.which(name, path=path)]
    if missing or os.geteuid():
        pytest.fail(f"needs root, and Slurm's {', '.join(NEEDED)}: `make test-slurm` installs them")
    os.environ["PATH"] = path
    folder = tmp_path_factory.mktemp("slurm")
    for above in (folder, *folder.parents):  # munge trusts no socket that others cannot reach
        above.chmod(above.stat().st_mode | 0o055)
    made = Cluster(folder)
    try:
        made.start()
        yield made
        made.cancel_all()
    finally:
        killed = made.stop()
    assert not killed, f"these did not end: {killed}"


@pytest.fixture(autouse=True)
def idle(cluster: Cluster) -> Iterator[None]:
    """No test leaves a job behind, nor a node that takes none."""
    yield
    cluster.cancel_all()
    cluster.mend_nodes()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset icons-debug."""
    folder = tmp_path_factory.mktemp("data")
    assert main(["dataset", "build", "icons-debug", "--workers", "2", "--data", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def plan(cluster: Cluster, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Makes a study with a name, some settings, and further keys."""

    def make(name: str, settings: Sequence[str] = ("natural_only",), **more: object) -> Swept:
        folder = tmp_path_factory.mktemp(name)
        return planned(name, folder, cluster, data, settings, **more)

    return make


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, plan: Plan) -> Swept:
    """A study that was swept from its submission to its report while nothing happened."""
    swept = plan("undisturbed", ["natural_only", "leave_out_domain"])
    code, printed = swept.clipgen("sweep", "--executor", "slurm")
    assert code == 0, printed
    assert "submitted to Slurm: " in printed
    wait_for(lambda: not cluster.jobs(), 240, f"the end of {swept}")
    return swept
