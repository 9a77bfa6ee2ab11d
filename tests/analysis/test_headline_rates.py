"""How often the headline regression finds a relation where none is planted, in the shipped designs.

Legend: G settings, D test domains, K seeds.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from analysis.headline import headline
from analysis.statistics import partial_effect

SHIPPED = [(6, 2, 1), (6, 5, 1), (6, 5, 3), (6, 13, 3), (12, 5, 3)]
ERRORS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "heavy tails": lambda rng, size: rng.standard_t(3, size=size) / np.sqrt(3),
    "skewed": lambda rng, size: rng.exponential(size=size) - 1,
}
PRIMARY = ("layer4", "s_id_nc")


def study(rng, shape, of_setting=1.0, errors="normal", serving_all=0):
    """Runs whose sharing follows seen accuracy, and adds nothing to it.

    Args:
        shape: G, D, K.
        of_setting: share of every column's variance that all runs of a setting have in common;
            of the rest half is that of a setting in a test domain, half that of a run.
        errors: how outcomes differ beyond the covariates.
        serving_all: settings whose one mixture serves all test domains.
    """

    def column(draw=ERRORS["normal"]):
        own, cell, run = (draw(rng, size) for size in ((shape[0], 1, 1), (*shape[:2], 1), shape))
        cell[:serving_all], run[:serving_all] = cell[:serving_all, :1], run[:serving_all, :1]
        return np.sqrt(of_setting) * own + np.sqrt((1 - of_setting) / 2) * (cell + run)

    seen = column()
    setting, domain, seed = np.indices(shape).reshape(3, -1)
    held_out = (seen + column(ERRORS[errors])).ravel() - 2 * domain
    return pl.DataFrame(
        {
            "run": [f"{g}-{d}-{k}" for g, d, k in zip(setting, domain, seed, strict=True)],
            "setting": [f"setting {g}" for g in setting],
            "test_domain": [f"domain {d}" for d in domain],
            "draw": 0,
            "seed": seed,
            "held_out": held_out,
            "seen": seen.ravel(),
            "log_samples": rng.normal(size=shape[0])[setting],
            "confidence": None,
            "transfer": None,
            "site": PRIMARY[0],
            "measure": PRIMARY[1],
            "sharing": (seen + column()).ravel(),
        },
        schema_overrides={"confidence": pl.Float64, "transfer": pl.Float64},
    )


def rate(repeats, *args, **options):
    """Share of studies with p ≤ 0.05; each is the site of one table, which has rows of its own."""
    rng = np.random.default_rng(0)
    tables = [
        study(rng, *args, **options).with_columns(site=pl.lit(f"study {number}"))
        for number in range(repeats)
    ]
    found = headline(pl.concat(tables), ("study 0", PRIMARY[1])).drop_nulls("site")
    assert found.height == found["p"].count() == repeats
    return np.mean(found["p"].to_numpy() <= 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHIPPED, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"of_setting": 0.5},
        {"of_setting": 0.5, "serving_all": 2},
        {"errors": "heavy tails"},
        {"errors": "skewed"},
    ],
    ids=str,
)
def test_the_shipped_designs_hold_their_level(shape, options):
    assert 0.028 <= rate(1000, shape, **options) <= 0.072  # ± 3.2 standard errors


@pytest.mark.parametrize(("settings", "highest"), [(6, 0.09), (12, 0.14)])
def test_errors_that_grow_with_sharing_are_found_too_often(settings, highest):
    """One variance is what Student's test asks for; this much its lack does."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(4000):
        covariates = rng.normal(size=(settings, 2))
        sharing = covariates[:, 0] + rng.normal(size=settings)
        error = rng.normal(size=settings) * (0.3 + np.abs(sharing - sharing.mean()))
        p.append(partial_effect(covariates[:, 0] + error, sharing, covariates).p)
    assert 0.06 < np.mean(np.array(p) <= 0.05) < highest
