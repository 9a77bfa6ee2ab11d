"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# Workers that share the cores take one thread each; set before anything counts them.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(name, "1")

# A machine that does other work at the same time is no defect of ours.
settings.register_profile("clipgen", deadline=None)
settings.load_profile("clipgen")
