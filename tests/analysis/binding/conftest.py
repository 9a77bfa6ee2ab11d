"""Tiny scenes, built once."""

import pytest
from tiny_scenes import scenes_dataset

from analysis.binding.approximators import fit_approximator
from analysis.binding.object_probes import fit_probe


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Every object alone, scenes of two objects and of three. Not to be changed."""
    return scenes_dataset(tmp_path_factory.mktemp("scenes"), "[22, 8, 4]")


@pytest.fixture
def few_steps(monkeypatch):
    """Probes and functions that have not converged, where it is not asked what they answer."""
    for fit in (fit_probe, fit_approximator):
        monkeypatch.setitem(fit.__kwdefaults__, "steps", 5)
