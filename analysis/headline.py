"""The study's headline: does a setting that shares more generalize better, its accuracy aside?

A linear regression over settings of held-out accuracy on sharing, with the accuracy on seen
classes and the amount of test-domain data as covariates: without them, sharing only measures
accuracy once more. docs/headline.md has the model.

Legend: N cells (a setting, or a seed, in a block: a test domain and draw), U settings or seeds,
B blocks, J columns of the regression.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from analysis.statistics import Refused, benjamini_hochberg, partial_effect

BLOCK = ["test_domain", "draw"]
COVARIATES = ("seen", "log_samples")
OUTCOME, PREDICTOR = "held_out", "predictor"
COLUMNS = [OUTCOME, PREDICTOR, *COVARIATES]
BASELINE = ("embedding", "cka")
"""site and measure of sharing to which inner layers must add something"""
SCALARS = ("transfer", "confidence")
"""baselines without a measure of sharing; `transfer` is that of the primary site"""
HEADLINE: dict[str, Any] = {
    **dict.fromkeys(["role", "site", "measure"], pl.String),
    **dict.fromkeys(["beta", "lo", "hi", "delta_r2", "delta_chance"], pl.Float64),
    **dict.fromkeys(["p", "p_bh"], pl.Float64),
    "units": pl.String,
    **dict.fromkeys(["n", "n_runs"], pl.Int64),
    "note": pl.String,
}


def headline(rows: pl.DataFrame, primary: tuple[str, str]) -> pl.DataFrame:
    """What every kind of sharing adds to accuracy and data in predicting held-out accuracy.

    Args:
        rows: one per run, test domain, draw, site and measure: `run`, `setting`, `test_domain`,
            `draw`, `seed`; `held_out`, `seen` (accuracies in the test domain), `log_samples`
            (ln(1 + its training samples)), `confidence` (mean largest probability), `transfer`
            (accuracy of a classifier of another domain, at the site; may be null), `site`,
            `measure`, `sharing` (null where it cannot be estimated).
        primary: site and measure of the one test that was chosen beforehand.

    Returns:
        One row per predictor; the primary one first, then the baselines, then all other sites and
        measures. `role` (`primary`, `baseline`, `exploratory`), `site`, `measure`, `beta` with
        `lo` and `hi`, `delta_r2`, `delta_chance`, `p` (`partial_effect`), `p_bh` (Benjamini and
        Hochberg's; the family: all exploratory ones), `units` (what counts as one piece of
        evidence: `setting`; `seed` where there is a single setting), `n` of them, `n_runs`,
        `note` (why a number is null, what was left out).
    """
    units = "seed" if rows["setting"].n_unique() == 1 else "setting"
    found = [key | _effect(table, units) for key, table in _predictors(rows, primary)]
    result = pl.DataFrame(found, schema=HEADLINE)
    is_family = (result["role"] == "exploratory") & result["p"].is_not_null()
    places = is_family.arg_true().to_list()
    adjusted: list[float | None] = [None] * result.height
    corrected = benjamini_hochberg(result["p"].gather(places).to_list())
    for place, p in zip(places, corrected, strict=True):
        adjusted[place] = p
    return result.with_columns(p_bh=pl.Series(adjusted, dtype=pl.Float64))


def _predictors(
    rows: pl.DataFrame, primary: tuple[str, str]
) -> Iterator[tuple[dict[str, str | None], pl.DataFrame]]:
    """Name and rows of every predictor, whose values are in the column PREDICTOR."""
    shared = rows.with_columns(pl.col("sharing").alias(PREDICTOR))
    by_pair = shared.partition_by("site", "measure", as_dict=True, maintain_order=True)
    yield _named("primary", *primary), by_pair.pop(primary, shared.clear())
    if BASELINE in by_pair:
        yield _named("baseline", *BASELINE), by_pair.pop(BASELINE)
    single = _at_one_site(rows, primary)
    for name in SCALARS:
        yield _named("baseline", None, name), single.with_columns(pl.col(name).alias(PREDICTOR))
    for (site, measure), table in by_pair.items():
        yield _named("exploratory", str(site), str(measure)), table


def _at_one_site(rows: pl.DataFrame, primary: tuple[str, str]) -> pl.DataFrame:
    """One row per run, test domain and draw: that of the primary site and measure, if any."""
    is_primary = (pl.col("site") == primary[0]) & (pl.col("measure") == primary[1])
    keys = ["run", "test_domain", "draw"]
    return rows.sort(is_primary, descending=True, maintain_order=True).unique(
        keys, keep="first", maintain_order=True
    )


def _named(role: str, site: str | None, measure: str) -> dict[str, str | None]:
    return {"role": role, "site": site, "measure": measure}


def _effect(table: pl.DataFrame, units: str) -> dict[str, Any]:
    """The numbers of one predictor, a row of its regression per setting or seed."""
    known = table.drop_nulls(COLUMNS)
    compared = known.filter(pl.col(units).n_unique().over(BLOCK) > 1)
    notes = []
    if known.height < table.height:
        notes.append(f"{table.height - known.height} of {table.height} rows have no value")
    if compared.height < known.height:
        alone = known.height - compared.height
        notes.append(f"{_count(alone, 'row')} without another {units} in the test domain and draw")
    n = compared[units].n_unique()
    counts = {"units": units, "n": n, "n_runs": compared["run"].n_unique()}
    values_UJ = _unit_values(compared, units)
    if isinstance(values_UJ, Refused):
        return counts | {"note": "; ".join([*notes, values_UJ.reason])}
    effect = partial_effect(values_UJ[:, 0], values_UJ[:, 1], values_UJ[:, 2:])
    if isinstance(effect, Refused):
        return counts | {"note": "; ".join([*notes, f"{_count(n, units)}: {effect.reason}"])}
    return counts | asdict(effect) | {"note": "; ".join(notes)}


def _unit_values(rows: pl.DataFrame, units: str) -> np.ndarray | Refused:
    """Every column of the regression per setting (or seed), free of what domains and draws are.

    Least squares of cell = unit + block over the cell means. Where every unit stands in every
    block it is the unit's mean over blocks, minus the mean of all.

    Args:
        rows: of one predictor, no value missing.
        units: the column that names them.

    Returns:
        float64, [U, J], in the order of COLUMNS; or why not: a domain is as easy as the settings
        in it are good, and settings that no shared domain connects cannot be told apart from it.
    """
    cells = rows.sort("run").group_by(units, *BLOCK).agg(pl.col(COLUMNS).mean())
    cells = cells.sort(units, *BLOCK)
    _, unit_N = np.unique(cells[units].to_list(), return_inverse=True)
    block_N = cells.select(pl.struct(BLOCK).rank("dense")).to_series().to_numpy() - 1
    count, blocks = cells[units].n_unique(), cells.select(BLOCK).n_unique()
    if count < 2:
        return Refused(f"no two {units}s stand in one test domain and draw")
    design_NK = np.zeros((cells.height, count + blocks))
    design_NK[np.arange(cells.height), unit_N] = 1
    design_NK[np.arange(cells.height), count + block_N] = 1
    fitted_KJ, _, rank, _ = np.linalg.lstsq(design_NK, cells.select(COLUMNS).to_numpy())
    if rank < count + blocks - 1:
        return Refused(f"test domains and draws fall into parts that no {units} connects")
    return fitted_KJ[:count] - fitted_KJ[:count].mean(axis=0)


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
