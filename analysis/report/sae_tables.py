"""Features of sparse autoencoders beside what every run is tested on: results → tables, views."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import numpy as np
import polars as pl

from analysis.report.sharing_tables import KEYS, PLACE, by_target, complete_mean, reasons
from analysis.report.study import StudyResults
from analysis.report.summary import percent, setting_label
from analysis.report.views import NONE, View, count
from analysis.sae_features import SHARED, SILENT
from gen.evaluation.metrics import wilson

AUTOENCODER = [*KEYS, *PLACE, "sae_seed"]
BESIDE = ["chance", "ceiling", "floor", "floor_within"]
FIRES_IN = {
    "shared-class": "classes, in many domains",
    "domain": "domains",
    "class×domain": "single combinations",
    "dense/other": "neither",
}
"""what features of a kind tell apart"""


def features_by_target(results: StudyResults) -> pl.DataFrame:
    """Features of every run's autoencoders, once per test domain that it serves."""
    rows = results.analyses["sae"].with_columns(draw=pl.lit(None, dtype=pl.Int64))
    return by_target(results, rows)


def kind_shares(features: pl.DataFrame) -> pl.DataFrame:
    """Which share of an autoencoder's features is of each kind, a row per kind.

    Args:
        features: `features_by_target`.

    Returns:
        AUTOENCODER, `kind` (without those that never fire), `features` (of the kind), `n` (that
        fire), `value` = features / n, `lo`, `hi` (Wilson, features taken as drawn from those that
        such a training finds), `silent` (features that never fire), `codes` (features that fire
        on an image, on average). Without a feature that fires, `value` is null.
    """
    fires = pl.col("kind") != SILENT
    found = features.group_by(AUTOENCODER, maintain_order=True).agg(
        *((pl.col("kind") == kind).sum().cast(pl.Int64).alias(kind) for kind in FIRES_IN),
        n=fires.sum().cast(pl.Int64),
        silent=(~fires).sum().cast(pl.Int64),
        codes=pl.col("rate").sum(),
    )
    long = (
        found.with_row_index()
        .unpivot(
            list(FIRES_IN),
            index=["index", *AUTOENCODER, "n", "silent", "codes"],
            variable_name="kind",
            value_name="features",
        )
        .sort("index", maintain_order=True)
        .drop("index")
    )
    known = pl.col("n") > 0
    n = np.maximum(long["n"].to_numpy(), 1)
    lo, hi = wilson(long["features"].to_numpy() / n, n)
    return long.with_columns(
        value=pl.when(known).then(pl.col("features") / pl.col("n")),
        lo=pl.when(known).then(pl.Series(lo)),
        hi=pl.when(known).then(pl.Series(hi)),
    )


def sharing_by_target(results: StudyResults) -> pl.DataFrame:
    """Feature sets of every pair of domains, means over the numbers of features compared."""
    rows = results.analyses["sae_sharing"].filter(
        pl.col("k").is_null(), pl.col("measure") != "stability"
    )
    return by_target(results, rows).drop("k")


def sharing_with_test(sharing: pl.DataFrame) -> pl.DataFrame:
    """Means over the pairs of the test domain with the other domains.

    Args:
        sharing: `sharing_by_target`.

    Returns:
        AUTOENCODER, `measure`, `classes`, then of the pairs that have a value the means `value`,
        `lo`, `hi` (as if the errors of pairs were one), `chance`, `ceiling`, `floor` (different
        classes of the two domains), `floor_within` (different classes of one domain, mean of the
        two), `r2_test`, `r2_others` (reconstructed in the test domain, and in the others): null
        where one of the pairs has none; `n` (classes), `n_pairs` (behind the mean),
        `not_estimable` (pairs without value), `note` (why).
    """
    is_a = pl.col("domain_a") == pl.col("test_domain")
    is_b = pl.col("domain_b") == pl.col("test_domain")
    pairs = (
        _with_own_floors(sharing)
        .filter(is_a != is_b)
        .with_columns(
            r2_test=pl.when(is_a).then("r2_a").otherwise("r2_b"),
            r2_others=pl.when(is_a).then("r2_b").otherwise("r2_a"),
        )
    )
    known = pl.col("value").is_not_null()
    others = ["lo", "hi", *BESIDE, "r2_test", "r2_others"]
    return pairs.group_by([*AUTOENCODER, "measure", "classes"], maintain_order=True).agg(
        pl.col("value").mean(),
        *(complete_mean(pl.col(name).filter(known)).alias(name) for name in others),
        n=pl.col("n").min(),
        n_pairs=known.sum().cast(pl.Int64),
        not_estimable=(~known).sum().cast(pl.Int64),
        note=reasons(),
    )


def _with_own_floors(sharing: pl.DataFrame) -> pl.DataFrame:
    """With `floor_within`: how alike different classes of one domain are, mean of the two.

    It is the floor of the rows of a domain with itself, as the ceiling is their value.
    """
    keys = [*AUTOENCODER, "measure", "classes"]
    own = sharing.filter(pl.col("domain_a") == pl.col("domain_b"))
    for side in ("a", "b"):
        domain = f"domain_{side}"
        floors = own.select(*keys, domain, pl.col("floor").alias(f"floor_{side}"))
        on = [*keys, domain]
        sharing = sharing.join(floors, on=on, how="left", nulls_equal=True, maintain_order="left")
    mean = (pl.col("floor_a") + pl.col("floor_b")) / 2
    return sharing.with_columns(floor_within=mean).drop("floor_a", "floor_b")


def stability(results: StudyResults) -> pl.DataFrame:
    """How far autoencoders of other seeds find the same features.

    Columns: AUTOENCODER, `value` (mean cosine of matched features), `chance`, `n` (features).
    """
    rows = results.analyses["sae_sharing"].filter(measure="stability")
    return by_target(results, rows).select(*AUTOENCODER, "value", "chance", "n", "note")


def naming(features: pl.DataFrame) -> pl.DataFrame:
    """How often the text nearest to a shared feature names the class that it fires for most.

    Args:
        features: `features_by_target`.

    Returns:
        AUTOENCODER, `value`, `lo`, `hi` (Wilson), `n` (shared features with a name), and `chance`:
        the same if names and classes were paired at random.
    """
    named = features.filter(kind=SHARED).drop_nulls("name")
    right = (pl.col("name") == pl.col("top_class")).sum()
    table = named.group_by(AUTOENCODER, maintain_order=True).agg(
        right=right.cast(pl.Int64),
        n=pl.len().cast(pl.Int64),
        names=pl.col("name"),
        classes=pl.col("top_class"),
    )
    n, shares = table["n"].to_numpy(), (table["right"] / table["n"]).to_numpy()
    lo, hi = wilson(shares, n)
    chances = [_paired(*row) for row in table.select("names", "classes").iter_rows()]
    ends = {"value": shares, "lo": lo, "hi": hi, "chance": pl.Series(chances, dtype=pl.Float64)}
    return table.select(
        *AUTOENCODER, *(pl.Series(name, values) for name, values in ends.items()), "n"
    )


def _paired(names: list[str], classes: list[str]) -> float:
    """Share of equal pairs, of all pairs of a name with a class."""
    counts = pl.Series(names).value_counts(name="names")
    of = dict(counts.iter_rows())
    return sum(of.get(name, 0) for name in classes) / len(names) ** 2


# ---------------------------------------------------------------------------- views


def kinds_view(shares: pl.DataFrame, stable: pl.DataFrame) -> View:
    """`kind_shares` with a column per kind, and `stability`; a row per autoencoder."""
    stabilities = {_key(row): row for row in stable.iter_rows(named=True)}
    rows = []
    for key, group in groupby(shares.iter_rows(named=True), _key):
        of_kind = {row["kind"]: row for row in group}
        first = next(iter(of_kind.values()))
        cells = [_share(of_kind[kind]) for kind in FIRES_IN]
        fires = f"{count(first['n'])} of {count(first['n'] + first['silent'])}"
        rows.append(
            [*_names(first), *cells, fires, f"{first['codes']:.1f}", _stable(stabilities.get(key))]
        )
    kinds = [f"tell {what} ({kind})" for kind, what in FIRES_IN.items()]
    columns = ["Test domain", "Setting", "Site", "Draw / seed", "Autoencoder", *kinds]
    columns += ["Features that fire", "On an image", "Found by other seeds (chance)"]
    caption = (
        "Features of sparse autoencoders by what they fire for: share of those that fire, with "
        "95 % interval over features. Found by other seeds: mean cosine of features matched one to "
        "one; chance: of random directions that spread as the features do."
    )
    return View(caption, columns, rows, headers=2)


def sharing_view(table: pl.DataFrame) -> View:
    """`sharing_with_test` of the measure `jaccard`, a row per autoencoder and class set."""
    rows = [
        [
            *_names(row),
            row["classes"].replace("_", "-"),
            _estimate(row),
            *(_number(row[name]) for name in BESIDE),
            *(_number(row[name]) for name in ("r2_test", "r2_others")),
            *(str(row[name]) for name in ("n", "n_pairs")),
        ]
        for row in table.filter(measure="jaccard").iter_rows(named=True)
    ]
    columns = ["Test domain", "Setting", "Site", "Draw / seed", "Autoencoder", "Classes"]
    columns += ["Shared features", "Chance", "Ceiling"]
    columns += ["Different classes", "Different classes, same domain"]
    columns += ["R², test domain", "R², others", "Number of classes", "Pairs of domains"]
    caption = (
        "Jaccard index of the strongest features of a class in the test domain and in another "
        "domain, mean over the other domains, with 95 % interval over classes. Ceiling: two halves "
        "of one domain's images. Different classes: of the two domains, and of halves of one. "
        f"{NONE}: not estimable, the CSV says why."
    )
    return View(caption, columns, rows, headers=2)


def _key(row: Mapping) -> tuple:
    return tuple(row[name] for name in AUTOENCODER)


def _names(row: Mapping) -> list[str]:
    draw = "all" if row["draw"] is None else str(row["draw"])
    names = [row["test_domain"], setting_label(row["setting"]), row["site"]]
    return [*names, f"{draw} / {row['seed']}", str(row["sae_seed"])]


def _share(row: Mapping) -> str:
    if row["value"] is None:
        return NONE
    return f"{percent(row['value'], 0)} ({100 * row['lo']:.0f}–{100 * row['hi']:.0f})"


def _stable(row: Mapping | None) -> str:
    if row is None or row["value"] is None:
        return NONE
    return f"{row['value']:.2f} ({row['chance']:.2f})"


def _estimate(row: Mapping) -> str:
    if row["value"] is None:
        return NONE
    ends = "" if row["lo"] is None else f" ({row['lo']:.2f}–{row['hi']:.2f})"
    return f"{row['value']:.2f}{ends}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
