"""Settings of all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Workers that share the cores take one thread each; set before anything counts them.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(name, "1")

# A machine that does other work at the same time is no defect of ours.
settings.register_profile("clipgen", deadline=None)
settings.load_profile("clipgen")

FIRST = (
    *("test_chaos.py", "test_domainnet_layout.py", "test_whole_way.py", "test_killed.py"),
    *("test_analyses_command.py", "test_binding.py"),
)
"""files of tests that take minutes begin, so that no worker waits for another's end; every worker
begins with two tests, so the longest has a short one beside it"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(FIRST)))
