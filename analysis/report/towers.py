"""One tower or two: arms of both kinds of model side by side, on the same mixtures and seeds.

A row is a comparison in one test domain, setting and draw: of the same seed, but for accuracy,
which is of all seeds of the draw and of the same test samples. Nothing is averaged but there.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from analysis.report import tables
from analysis.report.arms import Arms, label_of, settings_of
from analysis.report.contrasts import Contrast
from analysis.report.modality_tables import ANY_BASIS, modality_pairs
from analysis.report.sharing_tables import (
    LAST,
    RESIDUAL,
    SHARED,
    by_target,
    difference,
    sharing_pairs,
)
from analysis.report.spread import t_interval
from analysis.report.study import StudyResults
from analysis.report.study_comparison import ComparedStudy, compare_scores

ONE, TWO = "clippo", "clip"
"""kinds of models: one tower for pixels and words, and two"""
SPLIT = "test"
ACCURACY, SEEN, GAP, DOMAINS, WORDS, APART = (
    *("accuracy_held_out", "accuracy_seen", "generalization_gap", "domain_sharing"),
    *("word_sharing", "modality_gap"),
)
QUANTITIES = (ACCURACY, SEEN, GAP, DOMAINS, WORDS, APART)
"""in the order in which one reads"""
OF_CLASSES = {ACCURACY: "held_out", SEEN: "seen"}
"""sets of classes on which accuracy is compared"""
PLACE = ["test_domain", "setting", "draw", "seed"]
SITE = "compared"
"""stands for the sites that are compared, where towers have other names for theirs"""
TOWERS: dict[str, Any] = {
    **dict.fromkeys(["quantity", "arm", "baseline", "test_domain", "setting"], pl.String),
    **dict.fromkeys(["draw", "seed"], pl.Int64),
    **dict.fromkeys(["value_baseline", "value_arm", "value", "lo", "hi"], pl.Float64),
    **{"n": pl.Int64, "note": pl.String},
}
SPREAD: dict[str, Any] = {
    **dict.fromkeys(["quantity", "arm", "baseline", "test_domain", "setting"], pl.String),
    **dict.fromkeys(["value", "smallest", "largest", "lo", "hi"], pl.Float64),
    **dict.fromkeys(["draws", "seeds", "missing"], pl.Int64),
}


def kind_of(arm: ComparedStudy) -> str:
    """Kind of an arm's model, as its configuration says; empty where it says none."""
    model = arm.config.get("model", {})
    return str(model.get("kind", "")) if isinstance(model, dict) else ""


def compared_arms(arms: Arms) -> list[tuple[ComparedStudy, ComparedStudy]]:
    """The first arm with two towers, with every arm that has one; none without both kinds."""
    twos = [arm for arm in arms if kind_of(arm) == TWO]
    return [(twos[0], arm) for arm in arms if twos and kind_of(arm) == ONE]


def tower_differences(two: ComparedStudy, one: ComparedStudy) -> pl.DataFrame:
    """What one tower has more than two: the columns TOWERS, by QUANTITIES.

    - accuracy_held_out: zero-shot accuracy on the held-out classes of the test domain, paired by
      test sample, a sample counting with the share of seeds that got it right; `seed` is null.
    - accuracy_seen: the same on the other classes there: what was learned of what was shown.
    - generalization_gap: accuracy on seen less that on held-out classes there.
    - domain_sharing: the study's primary measure of the pairs with the test domain, seen classes,
      at the primary site or the site of equal relative depth; jackknife of the difference.
    - word_sharing: noise-corrected CKA of the test domain's images with sentences in the embedding,
      seen classes; jackknife of the difference.
    - modality_gap: ‖mean of images − mean of texts‖ of normalised embeddings, test domain.

    The intervals of the two gaps are put together from those of each model as if they were
    independent (`apart`).
    """
    settings = settings_of([two, one])
    parts = [
        *(_accuracies(quantity, two.results, one.results) for quantity in OF_CLASSES),
        _independent(GAP, generalization_gaps(two.results), generalization_gaps(one.results)),
        _jackknifed(DOMAINS, *(_at_primary(arm.results, [two, one]) for arm in (two, one))),
        _jackknifed(WORDS, *(_with_words(arm.results) for arm in (two, one))),
        _independent(APART, _gaps(two.results), _gaps(one.results)),
    ]
    named = [pl.lit(label_of(one)).alias("arm"), pl.lit(label_of(two)).alias("baseline")]
    columns = [pl.col(name).cast(kind) for name, kind in TOWERS.items()]
    table = pl.concat([part.with_columns(named).select(columns) for part in parts])
    return table.filter(pl.col("setting").is_in(settings))


# ---------------------------------------------------------------------------- accuracy


def _accuracies(quantity: str, two: StudyResults, one: StudyResults) -> pl.DataFrame:
    """Paired by test sample; `note` says why where they are not."""
    rows = compare_scores(two, one, (OF_CLASSES[quantity],)).filter(split=SPLIT)
    return rows.select(
        pl.lit(quantity).alias("quantity"),
        *("test_domain", "setting", "draw"),
        pl.lit(None, dtype=pl.Int64).alias("seed"),
        value_baseline="value_a",
        value_arm="value_b",
        value="difference",
        lo="lo",
        hi="hi",
        n="n",
        note=pl.col("unpaired").fill_null(""),
    )


def accuracies_by_seed(two: ComparedStudy, one: ComparedStudy) -> pl.DataFrame:
    """`quantity`, PLACE and `value`, what one tower has more with the same seed."""
    both = [
        tables.headline(arm.results).filter(split=SPLIT).drop_nulls("value") for arm in (two, one)
    ]
    keys = [*PLACE, "classes"]
    joined = both[1].join(both[0], on=keys, suffix="_two", maintain_order="left")
    names = {classes: quantity for quantity, classes in OF_CLASSES.items()}
    return joined.filter(pl.col("classes").is_in(list(names))).select(
        pl.col("classes").replace_strict(names, return_dtype=pl.String).alias("quantity"),
        *PLACE,
        value=pl.col("value") - pl.col("value_two"),
    )


def generalization_gaps(results: StudyResults) -> pl.DataFrame:
    """Accuracy on seen less that on held-out classes of the test domain, per run and target.

    Both are of other samples and therefore independent. Columns: PLACE, `value`, `lo`, `hi`, `n`.
    """
    scores = tables.headline(results).filter(split=SPLIT)
    seen, held_out = (scores.filter(classes=name) for name in ("seen", "held_out"))
    both = seen.join(held_out, on=PLACE, suffix="_held_out", maintain_order="left")
    return both.select(*PLACE, *apart("", "_held_out"), n=pl.col("n") + pl.col("n_held_out"))


def apart(first: str, second: str) -> list[pl.Expr]:
    """Difference of two independent estimates, with an interval from theirs.

    Each side is the root of the sum of squares of what it is made of (MOVER: Zou & Donner 2008),
    which keeps intervals that are not symmetric as they are.

    Args:
        first, second: endings of the columns `value`, `lo`, `hi` of both.

    Returns:
        The columns `value` (first minus second), `lo`, `hi`.
    """
    value, lo, hi = (pl.col(f"{name}{first}") for name in ("value", "lo", "hi"))
    other, other_lo, other_hi = (pl.col(f"{name}{second}") for name in ("value", "lo", "hi"))
    below = ((value - lo).pow(2) + (other_hi - other).pow(2)).sqrt()
    above = ((hi - value).pow(2) + (other - other_lo).pow(2)).sqrt()
    found = value - other
    return [found.alias("value"), (found - below).alias("lo"), (found + above).alias("hi")]


def _independent(quantity: str, two: pl.DataFrame, one: pl.DataFrame) -> pl.DataFrame:
    """One estimate of each model, put together by `apart`."""
    both = one.join(two, on=PLACE, suffix="_two", maintain_order="left")
    return both.select(
        pl.lit(quantity).alias("quantity"),
        *PLACE,
        *apart("", "_two"),
        value_baseline="value_two",
        value_arm="value",
        n="n",
        note=pl.when(pl.any_horizontal(pl.col("value", "value_two").is_null()))
        .then(pl.lit("one of the two has no number"))
        .otherwise(pl.lit("")),
    )


def _gaps(results: StudyResults) -> pl.DataFrame:
    """Modality gaps of the test domain's images in the embedding, per target."""
    rows = results.analyses["modality_gaps"].filter(quantity="modality_gap")
    table = by_target(results, rows.with_columns(draw=pl.lit(None, dtype=pl.Int64)))
    here = table.filter(pl.col("domain_a") == pl.col("test_domain")).drop("draw")
    grid = tables.served(results).select(*PLACE, "run")
    both = grid.join(here, on=["test_domain", "setting", "seed", "run"], maintain_order="left")
    return both.select(*PLACE, "value", "lo", "hi", "n")


# ---------------------------------------------------------------------------- sharing


def _at_primary(results: StudyResults, arms: Arms) -> pl.DataFrame:
    """Rows of `sharing_pairs` of pairs with the test domain at the site that is compared."""
    pairs = sharing_pairs(results).filter(
        pairs="with_test_domain", classes=SHARED, measure=results.plan.primary[1], level=RESIDUAL
    )
    return pairs.filter(site=_site_of(results, arms))


def _site_of(results: StudyResults, arms: Arms) -> str:
    """The primary site; in a tower that lacks it the inner site of the nearest relative depth."""
    own, named = _inner_sites(results), results.plan.primary[0]
    if named in own or not own:
        return named
    for arm in arms:
        sites = _inner_sites(arm.results)
        if named in sites:
            depth = sites.index(named) / max(len(sites) - 1, 1)
            return own[int(depth * (len(own) - 1) + 0.5)]
    return own[-1]


def _inner_sites(results: StudyResults) -> list[str]:
    """Residual sites before the embedding, in order, of the models that are trained here."""
    trained = [run.name for run in results.plan.runs if not run.is_pretrained]
    rows = results.analyses["similarity"].filter(
        pl.col("run").is_in(trained), pl.col("site") != LAST, level=RESIDUAL
    )
    return rows.select("depth", "site").unique().sort("depth")["site"].to_list()


def _with_words(results: StudyResults) -> pl.DataFrame:
    """Rows of `modality_pairs` of the test domain's images with sentences, in the embedding."""
    return modality_pairs(results).filter(
        pairs="with_test_domain", classes=SHARED, measure=ANY_BASIS, site=LAST
    )


def _jackknifed(quantity: str, two: pl.DataFrame, one: pl.DataFrame) -> pl.DataFrame:
    """Differences over the same classes and pairs, setting by setting."""
    parts = []
    for setting in one["setting"].unique(maintain_order=True):
        known = pl.concat(
            [
                rows.filter(setting=setting)
                .drop_nulls("value")
                .with_columns(
                    *(pl.lit(text).alias(key) for key, text in (("setting", kind), ("site", SITE))),
                    depth=pl.lit(None, dtype=pl.Int64),
                    primary=pl.lit(value=True),
                )
                for kind, rows in ((TWO, two), (ONE, one))
            ]
        )
        found = difference(known, Contrast(setting, TWO, ONE))
        parts.append(found.with_columns(setting="contrast"))
    schema = {key: TOWERS[key] for key in TOWERS if key not in ("arm", "baseline")}
    if not parts:
        return pl.DataFrame(schema=schema)
    table = pl.concat(parts).with_columns(quantity=pl.lit(quantity))
    return table.rename({"value_setting": "value_arm"}).select(list(schema))


# ---------------------------------------------------------------------------- replication


def tower_spread(differences: pl.DataFrame, by_seed: pl.DataFrame) -> pl.DataFrame:
    """How far other seeds and draws would move the differences.

    Args:
        differences: `tower_differences` of two arms.
        by_seed: `accuracies_by_seed` of them, which are the differences of accuracy here.

    Returns:
        The columns SPREAD, a row per quantity, test domain and setting: `value`, the mean over
        draws of the means over seeds; `smallest` and `largest` single difference; `lo` and `hi`,
        Student's interval over draws, null for fewer than three; `draws`, `seeds` (of a draw, at
        most) and `missing`, rows without a number.
    """
    if differences.is_empty():
        return pl.DataFrame(schema=SPREAD)
    names = {key: pl.lit(differences[key][0]) for key in ("arm", "baseline")}
    accuracy = by_seed.with_columns(**names)
    others = differences.filter(~pl.col("quantity").is_in(list(OF_CLASSES)))
    keys = ["quantity", "arm", "baseline", "test_domain", "setting"]
    rows: list[dict[str, Any]] = []
    for key, group in pl.concat([accuracy, others.select(accuracy.columns)]).group_by(
        keys, maintain_order=True
    ):
        known = group.drop_nulls("value")
        by_draw = known.group_by("draw", maintain_order=True).agg(pl.mean("value"), seeds=pl.len())
        lo, hi = t_interval(by_draw["value"].to_list())
        numbers = {"value": by_draw["value"].mean(), "lo": lo, "hi": hi}
        numbers |= {"smallest": known["value"].min(), "largest": known["value"].max()}
        counts = {"draws": by_draw.height, "seeds": by_draw["seeds"].max() or 0}
        counts["missing"] = group.height - known.height
        rows.append(dict(zip(keys, key, strict=True)) | numbers | counts)
    return pl.DataFrame(rows, schema=SPREAD)


def missing_quantities(differences: pl.DataFrame) -> list[str]:
    """Quantities of which no comparison has a number."""
    known = set(differences.drop_nulls("value")["quantity"])
    return [name for name in QUANTITIES if name not in known]


def in_reading_order(table: pl.DataFrame) -> pl.DataFrame:
    """Rows by quantity, as QUANTITIES has them; otherwise as they were."""
    rank = pl.col("quantity").cast(pl.Enum(QUANTITIES)).to_physical()
    return table.sort(rank, maintain_order=True)
