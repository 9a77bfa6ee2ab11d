"""Where every setting stands on the axes of diversity and of exposure, and its score there.

Both are read from what a mixture holds and shows (its manifest); nothing is read out of names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from analysis.report.study import StudyResults
from analysis.report.tables import headline, served

FEWEST_RUNGS = 3
"""places on an axis that make a curve"""
DIVERSITY, SEEN, HELD_OUT = "other_domains", "seen_share", "held_out_share"
KEYS = ["test_domain", "setting", "draw", "seed"]
SHOWN = {
    "other_domains": pl.Int64,
    "others": pl.String,
    "seen_share": pl.Float64,
    "held_out_share": pl.Float64,
    "partial": pl.String,
    "treatment": pl.String,
    "samples": pl.Int64,
}
NO_OTHERS, ALL_OTHERS = "no other domain", "all other domains"
WHOLE_CLASSES, SOME_SAMPLES, BOTH = "whole classes", "samples of every class", "both"


def placed(results: StudyResults) -> pl.DataFrame:
    """The score on held-out classes (split `test`) of every run, and what its mixture shows.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `run`, `value`, `lo`, `hi`, `n`,
    `n_classes`, `chance`; `other_domains` (how many beside the natural and the test domain have
    samples), `others` (which), `seen_share` and `held_out_share` (shown share of the samples of
    the test domain's seen, held-out classes, before the budget), `partial` (how a share of the
    seen classes between 0 and 1 is made; null for 0 and 1), `treatment` (budget and captions) and
    `samples` of the mixture. Null where a manifest does not tell, as of pretrained models.
    """
    columns = ["run", "value", "lo", "hi", "n", "n_classes", "chance"]
    scores = headline(results).filter(split="test", classes="held_out").select(*KEYS, *columns)
    mixtures = served(results).select(*KEYS, "mixture")
    table = scores.join(mixtures, on=KEYS, how="left", maintain_order="left")
    rows = [
        _shown(results.mixtures[mixture], results.plan.natural, test_domain)
        if mixture in results.mixtures
        else dict.fromkeys(SHOWN)
        for test_domain, mixture in table.select("test_domain", "mixture").iter_rows()
    ]
    shown = pl.DataFrame(rows, schema=SHOWN, orient="row", infer_schema_length=None)
    return table.drop("mixture").with_columns(shown)


def curves(table: pl.DataFrame, axis: str) -> pl.DataFrame:
    """The rows of `placed` that stand on a curve along an axis, with the `family` of the curve.

    A family is the same in all but the axis: along DIVERSITY, what is shown of the test domain;
    along SEEN (nothing of the held-out classes is shown) and HELD_OUT (the seen classes are shown
    whole), which other domains; everywhere, budget and captions. Families with fewer than
    FEWEST_RUNGS places on the axis, over all test domains, are left out.
    """
    known = table.drop_nulls([DIVERSITY, SEEN, HELD_OUT])
    if axis == DIVERSITY:
        named = known.with_columns(
            family=pl.struct(SEEN, HELD_OUT, "partial").map_elements(
                lambda row: _of_test_domain(**row), return_dtype=pl.String
            )
        )
    elif axis == SEEN:
        named = _seen_families(known.filter(held_out_share=0))
    else:
        named = known.filter(seen_share=1).with_columns(family=pl.col("others"))
    if known["treatment"].n_unique() > 1:
        named = named.with_columns(family=pl.format("{}; {}", "family", "treatment"))
    rungs = pl.col(axis).n_unique().over("family")
    return named.filter(rungs >= FEWEST_RUNGS).drop("partial")


def _seen_families(table: pl.DataFrame) -> pl.DataFrame:
    """Families by other domains and by the way that a share is made; the ends belong to each."""
    ways = table["partial"].drop_nulls().unique().sort().to_list()
    parts = [
        table.filter(pl.col("partial").is_null() | (pl.col("partial") == way)).with_columns(
            family=pl.format("{}, {}", "others", pl.lit(way)) if len(ways) > 1 else "others"
        )
        for way in ways
        if way != BOTH
    ]
    return pl.concat(parts) if parts else table.clear().with_columns(family=pl.lit(""))


def _of_test_domain(seen_share: float, held_out_share: float, partial: str | None) -> str:
    """What is shown of the test domain, in words."""
    if held_out_share == seen_share == 0:
        return "nothing of the test domain"
    if held_out_share == seen_share == 1:
        return "all of the test domain"
    if seen_share == 1:
        kept = "" if held_out_share == 0 else f" and {held_out_share:.2g} of the held-out ones"
        return f"its seen classes{kept}"
    how = f" ({partial})" if partial else ""
    return f"{seen_share:.2g} of its seen classes{how}, {held_out_share:.2g} of the held-out ones"


def _shown(manifest: dict[str, Any], natural: str, test_domain: str) -> dict[str, Any]:
    """What a mixture shows, from its manifest."""
    domains, classes = manifest["domains"], manifest["classes"]
    realised_DC = np.array(manifest["realised"])
    filled = [name for name, row in zip(domains, realised_DC, strict=True) if row.any()]
    others = [name for name in filled if name not in (natural, test_domain)]
    most = len(set(domains) - {natural, test_domain})
    words = NO_OTHERS if not others else ALL_OTHERS if len(others) == most else ", ".join(others)
    shown = {
        "other_domains": len(others),
        "others": words,
        "treatment": _treatment(manifest),
        "samples": int(realised_DC.sum()),
    }
    if not {"exposure", "available", "held_out"} <= set(manifest):
        return dict.fromkeys(SHOWN) | shown
    row = domains.index(test_domain)
    exposure_C = np.array(manifest["exposure"], dtype=float)[row]
    available_C = np.array(manifest["available"], dtype=float)[row]
    held_out_C = np.isin(classes, manifest["held_out"])
    return shown | {
        "seen_share": _share(exposure_C[~held_out_C], available_C[~held_out_C]),
        "held_out_share": _share(exposure_C[held_out_C], available_C[held_out_C]),
        "partial": _partial(exposure_C[~held_out_C]),
    }


def _share(exposure_C: np.ndarray, available_C: np.ndarray) -> float | None:
    """Shown share of all samples of some cells; null where there are none."""
    total = available_C.sum()
    return round(float((exposure_C * available_C).sum() / total), 9) if total else None


def _partial(exposure_C: np.ndarray) -> str | None:
    """How a part of the seen classes is shown; null for nothing or everything."""
    if (exposure_C == 0).all() or (exposure_C == 1).all():
        return None
    if np.isin(exposure_C, [0, 1]).all():
        return WHOLE_CLASSES
    return SOME_SAMPLES if (exposure_C > 0).all() else BOTH


def _treatment(manifest: dict[str, Any]) -> str:
    budget = manifest.get("budget") or {}
    rule = str(budget.get("rule", "unknown")).replace("_", " ")
    topped_up = ", topped up" if budget.get("top_up") else ""
    return f"budget {rule}{topped_up}, captions {manifest.get('caption', 'unknown')}"
