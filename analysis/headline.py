"""The study's headline: does a run that shares more generalize better, its accuracy aside?

A linear regression over runs of held-out accuracy on sharing, with the accuracy on seen classes
and the amount of test-domain data as covariates: without them, sharing only measures accuracy
once more. docs/headline.md has the model.

Legend: N rows (a run in a test domain), J columns of the regression, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import norm, t

from analysis.hierarchy import resampled_counts
from analysis.statistics import (
    PartialEffect,
    Refused,
    benjamini_hochberg,
    partial_effect,
    shuffled_groups,
    shuffled_within,
)

FEWEST_RUNS = 8
"""trained runs that the regression needs"""
FEWEST_GROUPS = 5
"""settings, or seeds of a single setting, that tests and intervals over them need"""
MOST_UNFIT = 0.05
"""share of resamples without a slope above which there is no interval"""
SAME = 1e-12
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
    **dict.fromkeys(["p", "p_bh", "p_runs"], pl.Float64),
    **dict.fromkeys(["n", "n_runs"], pl.Int64),
    "note": pl.String,
}


def headline(
    rows: pl.DataFrame,
    primary: tuple[str, str],
    permutations: int = 2000,
    resamples: int = 2000,
    seed: int = 0,
) -> pl.DataFrame:
    """What every kind of sharing adds to accuracy and data in predicting held-out accuracy.

    Args:
        rows: one per run, test domain, draw, site and measure: `run`, `setting`, `test_domain`,
            `draw`, `seed`; `held_out`, `seen` (accuracies in the test domain), `log_samples`
            (ln(1 + its training samples)), `confidence` (mean largest probability), `transfer`
            (accuracy of a classifier of another domain, at the site; may be null), `site`,
            `measure`, `sharing` (null where it cannot be estimated).
        primary: site and measure of the one test that was chosen beforehand.
        permutations: of the test.
        resamples: of the interval.
        seed: of both.

    Returns:
        One row per predictor; the primary one first, then the baselines, then all other sites and
        measures. `role` (`primary`, `baseline`, `exploratory`), `site`, `measure`, `beta` with
        `lo` and `hi`, `delta_r2`, `delta_chance` (`partial_effect`), `p` (settings are permuted,
        each with all its runs), `p_bh` (Benjamini and Hochberg's; the family: all exploratory
        ones), `p_runs` (runs are permuted within their test domain), `n` (a run in a test domain),
        `n_runs`, `note` (why a number is null, what was left out).
    """
    found = []
    for key, table in _predictors(rows, primary):
        found.append(key | _effect(table, permutations, resamples, seed))
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


def _effect(table: pl.DataFrame, permutations: int, resamples: int, seed: int) -> dict[str, Any]:
    """The numbers of one predictor."""
    units = _units(table)
    known = table.drop_nulls(COLUMNS)
    counts = {"n": units.height, "n_runs": known["run"].n_unique()}
    notes = []
    if known.height < table.height:
        notes.append(f"{table.height - known.height} of {table.height} rows have no value")
    if counts["n_runs"] < FEWEST_RUNS:
        return counts | {"note": "; ".join([*notes, _too_few(counts["n_runs"])])}
    found = _of_runs(units, permutations, seed)
    if isinstance(found, Refused):
        return counts | {"note": "; ".join([*notes, found.reason])}
    over_groups = _of_groups(units, permutations, resamples, seed)
    if isinstance(over_groups, Refused):
        return counts | found | {"note": "; ".join([*notes, over_groups.reason])}
    return counts | found | over_groups | {"note": "; ".join(notes)}


def _of_runs(units: pl.DataFrame, permutations: int, seed: int) -> dict[str, float] | Refused:
    """What all runs say, as if each was evidence of its own."""
    blocks = units["test_domain"].to_numpy()
    effect = _regression(units, lambda left: shuffled_within(left, blocks, permutations, seed))
    if isinstance(effect, Refused):
        return effect
    return {"beta": effect.beta, "delta_r2": effect.delta_r2, "p_runs": effect.p}


def _of_groups(
    units: pl.DataFrame, permutations: int, resamples: int, seed: int
) -> dict[str, float] | Refused:
    """What settings say, each as one piece of evidence; of a single setting its seeds.

    Runs of one setting resemble each other in more than the covariates tell: permuted one by one
    they would find relations where there are none.
    """
    level = "setting" if units["setting"].n_unique() > 1 else "seed"
    count = _exchangeable(units, level)
    if count < FEWEST_GROUPS:
        reason = f"{count} {level}s stand in the same test domains"
        return Refused(f"{reason}; tests and intervals over them need {FEWEST_GROUPS}")
    groups, blocks = units[level].to_numpy(), units["test_domain"].to_numpy()
    effect = _regression(
        units, lambda left: shuffled_groups(left, groups, blocks, permutations, seed)
    )
    if isinstance(effect, Refused):
        return effect
    interval = _slope_interval(units, level, resamples, seed)
    if isinstance(interval, Refused):
        return interval
    lo, hi = interval
    return {"lo": lo, "hi": hi, "delta_chance": effect.delta_chance, "p": effect.p}


def _exchangeable(units: pl.DataFrame, level: str) -> int:
    """How many groups can change places with each other: those that stand in equal domains."""
    domains = pl.col("test_domain").unique().sort().str.join("\n")
    patterns = units.group_by(level).agg(domains)["test_domain"]
    return int(patterns.value_counts()["count"].to_numpy().max())


def _regression(
    units: pl.DataFrame, shuffle: Callable[[np.ndarray], np.ndarray]
) -> PartialEffect | Refused:
    columns_NJ = units.select(COLUMNS).to_numpy()
    blocks = units["test_domain"].to_numpy()
    return partial_effect(columns_NJ[:, 0], columns_NJ[:, 1], columns_NJ[:, 2:], blocks, shuffle)


def _too_few(runs: int) -> str:
    return f"{runs} run{'' if runs == 1 else 's'}; a regression over runs needs {FEWEST_RUNS}"


def _units(table: pl.DataFrame) -> pl.DataFrame:
    """One row per run and test domain, of which there are two at least.

    A draw of held-out classes is hard or easy for every run: values are taken minus the mean of
    their (test domain, draw). Of a run that serves several draws it is the mean over them, so
    that one training counts once.
    """
    known = table.drop_nulls(COLUMNS)
    group = ["test_domain", "draw"]
    centred = known.with_columns(pl.col(COLUMNS) - pl.col(COLUMNS).mean().over(group)).filter(
        pl.len().over(group) > 1
    )
    keys = ["test_domain", "setting", "seed", "run"]
    units = centred.group_by(keys, maintain_order=True).agg(pl.col(COLUMNS).mean())
    return units.filter(pl.len().over("test_domain") > 1).sort(keys)


def _slope_interval(
    units: pl.DataFrame, level: str, resamples: int, seed: int, confidence: float = 0.95
) -> tuple[float, float] | Refused:
    """Interval of β over groups, each drawn with all its runs in all test domains.

    Percentiles of the resampled slopes, expanded for few groups (Hesterberg 2015).
    """
    counts_RN = resampled_counts(units[level], resamples, seed)
    slope_R = standardised_slopes(
        units.select(COLUMNS).to_numpy(), units["test_domain"].to_numpy(), counts_RN
    )
    fit = np.isfinite(slope_R)
    if (~fit).mean() > MOST_UNFIT:
        return Refused(f"{(~fit).mean():.0%} of the resamples of {level}s have no slope")
    groups = units[level].n_unique()
    quantile = np.sqrt(groups / (groups - 1)) * t.ppf((1 - confidence) / 2, groups - 1)
    tail = norm.cdf(quantile)
    lo, hi = np.quantile(slope_R[fit], [tail, 1 - tail])
    return float(lo), float(hi)


def standardised_slopes(
    columns_NJ: np.ndarray, blocks: np.ndarray, counts_RN: np.ndarray
) -> np.ndarray:
    """Standardised slope of the first column on the second, per row of counts; NaN for none.

    Weighted least squares with all further columns as covariates and an intercept per block, from
    the sums of squares and products within blocks: S = Σ w x xᵀ - Σ_blocks (Σ w x)(Σ w x)ᵀ / Σ w.

    Args:
        columns_NJ: outcome, predictor, covariates.
        blocks: labels, [N].
        counts_RN: how often every row counts.

    Returns:
        float64, [R].
    """
    rows, width = columns_NJ.shape
    scaled_NJ = columns_NJ - columns_NJ.mean(axis=0)  # so that differences lose no digits
    scaled_NJ = scaled_NJ / np.maximum(scaled_NJ.std(axis=0), SAME)
    products = (scaled_NJ[:, :, None] * scaled_NJ[:, None, :]).reshape(rows, width * width)
    sums_RJJ = (counts_RN @ products).reshape(-1, width, width)
    for block in np.unique(blocks):
        members = blocks == block
        total_R = counts_RN[:, members].sum(axis=1)
        mean_RJ = counts_RN[:, members] @ scaled_NJ[members] / np.maximum(total_R, 1)[:, None]
        sums_RJJ -= total_R[:, None, None] * mean_RJ[:, :, None] * mean_RJ[:, None, :]
    spread_RJ = np.maximum(np.einsum("rjj->rj", sums_RJJ), 0)
    covariances = sums_RJJ[:, 2:, 2:]
    inverse = np.linalg.pinv(covariances, rcond=1e-9, hermitian=True)
    left = sums_RJJ[:, :2, :2] - sums_RJJ[:, :2, 2:] @ inverse @ sums_RJJ[:, 2:, :2]
    enough = (left[:, 1, 1] > 1e-9 * spread_RJ[:, 1]) & (spread_RJ[:, 0] > SAME * rows)
    scale_R = np.sqrt(spread_RJ[:, 1] / np.maximum(spread_RJ[:, 0], SAME))
    slope_R = left[:, 0, 1] / np.where(enough, left[:, 1, 1], 1.0) * scale_R
    return np.where(enough, slope_R, np.nan)
