"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A machine that does other work at the same time is no defect of ours.
settings.register_profile("clipgen", deadline=None)
settings.load_profile("clipgen")
