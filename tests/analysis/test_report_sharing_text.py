"""Sentences on sharing say what intervals allow, and no more."""

import re
import shutil

import polars as pl
import pytest

from analysis.report import sharing_tables
from analysis.report.sharing_floor import with_floors
from analysis.report.sharing_text import (
    difference_sentence,
    headline_sentence,
    number,
    replicates_sentence,
    sharing_paragraphs,
    signed,
    site_sentence,
)
from analysis.report.study import load_results

CAUSAL = re.compile(
    r"\b(because|caus\w*|due to|leads? to|mak(es|ing)|improv\w*|helps?|therefore|effect\w*)\b"
)
ROW = {
    "test_domain": "quickdraw",
    "setting": "natural_only",
    "draw": 0,
    "seed": 0,
    "site": "layer3",
    "measure": "cka",
    "classes": "seen",
    "value": 0.31,
    "lo": 0.22,
    "hi": 0.4,
    "chance_lo": -0.05,
    "chance_hi": 0.06,
    "ceiling": 0.85,
    "floor": 0.1,
    "floor_pairs": 5,
    "value_floor": 0.31,
    "lo_floor": 0.22,
    "hi_floor": 0.4,
    "n": 60,
    "n_pairs": 5,
    "note": "",
}
WIDE = {"lo": 0.01, "lo_floor": 0.01}
START = "At layer3 the CKA of pairs with quickdraw (means of 5 pairs, 60 seen classes): "


def rows(*changes):
    return pl.DataFrame([ROW | change for change in changes], infer_schema_length=None)


def said(*changes):
    text = site_sentence(rows(*changes)).replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith(START)
    return text.removeprefix(START)


# ---------------------------------------------------------------------------- one setting


def test_an_interval_above_chance_below_the_ceiling_and_above_the_floor_is_said_so():
    assert said({}) == (
        "natural only (0.31, 95 % 0.22 to 0.40) lies above chance (−0.05 to 0.06), below the "
        "ceiling (0.85) and above the untrained network (0.10)."
    )


def test_an_interval_that_meets_chance_cannot_be_told_from_it():
    assert "cannot be told from chance (−0.05 to 0.06), lies below the ceiling" in said(
        {"value": 0.1, "lo": 0.05, "hi": 0.15}
    )


def test_an_interval_that_meets_ceiling_or_floor_cannot_be_told_from_them():
    text = said({"ceiling": 0.39, "floor": 0.23})
    assert text.endswith(
        "lies above chance (−0.05 to 0.06), cannot be told from the ceiling (0.39) and cannot be "
        "told from the untrained network (0.23)."
    )


def test_an_interval_below_chance_and_above_its_ceiling_is_said_so():
    assert "lies below chance (0.50 to 0.60)" in said({"chance_lo": 0.5, "chance_hi": 0.6})
    assert "above the ceiling (0.20)" in said({"ceiling": 0.2})


def test_what_is_not_known_is_not_said():
    text = said({"ceiling": None, "floor": None})
    assert text == "natural only (0.31, 95 % 0.22 to 0.40) lies above chance (−0.05 to 0.06)."
    alone = said({"ceiling": None, "floor": None, "chance_lo": None, "chance_hi": None})
    assert alone == "natural only (0.31, 95 % 0.22 to 0.40)."
    assert said({"lo": None, "hi": None}) == "natural only (0.31) is without an interval."


def test_what_cannot_be_estimated_is_said_with_its_reason():
    absent = dict.fromkeys(["value", "lo", "hi", "chance_lo", "chance_hi", "ceiling", "floor"])
    text = said({}, absent | {"setting": "leave_out_domain", "note": "fewer than 5 classes"})
    assert text.endswith("; leave out domain is not estimable (fewer than 5 classes).")


def test_settings_of_which_the_same_is_said_stand_together():
    text = said({}, {"setting": "leave_out_domain", "ceiling": 0.8}, {"setting": "x", **WIDE})
    assert text == (
        "natural only (0.31, 95 % 0.22 to 0.40) and leave out domain (0.31, 95 % 0.22 to 0.40) lie "
        "above chance (−0.05 to 0.06), below the ceiling (0.80 to 0.85) and above the untrained "
        "network (0.10); x (0.31, 95 % 0.01 to 0.40) cannot be told from chance (−0.05 to 0.06), "
        "lies below the ceiling (0.85) and cannot be told from the untrained network (0.10)."
    )


def test_several_draws_and_seeds_are_counted_and_not_merged():
    low = {"value": 0.1, "lo": 0.0, "hi": 0.2, "lo_floor": 0.0, "hi_floor": 0.2}
    text = said({}, {"seed": 1, **low}, {"seed": 2, "value": None})
    assert text == (
        "natural only (0.21 in the mean of 2 draws and seeds, 0.10 to 0.31): above chance in 1 of "
        "2, below the ceiling in 2 of 2, above the untrained network in 1 of 2, not estimable in 1 "
        "of 3."
    )


def test_numbers_have_a_minus_and_no_negative_zero():
    assert (number(-0.05), number(-0.001), signed(0.05), signed(-0.001)) == (
        "−0.05",
        "0.00",
        "+0.05",
        "+0.00",
    )


# ---------------------------------------------------------------------------- two settings


def differing(*ends):
    rows = [{"value": (lo + hi) / 2, "lo": lo, "hi": hi, "note": ""} for lo, hi in ends]
    return difference_of(rows)


def difference_of(rows):
    table = pl.DataFrame(rows, schema_overrides={"lo": pl.Float64, "hi": pl.Float64})
    text = difference_sentence(table, "leave out domain", "natural only")
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_settings_are_told_apart_only_where_the_interval_of_their_difference_excludes_zero():
    assert differing((0.02, 0.4)) == (
        "Leave out domain lies above natural only (+0.21, 95 % +0.02 to +0.40)."
    )
    assert "lies below natural only (−0.21" in differing((-0.4, -0.02))
    assert "cannot be told apart (+0.20, 95 % 0.00 to" not in differing((0.0, 0.4))
    assert differing((-0.1, 0.2)) == (
        "Leave out domain and natural only cannot be told apart (+0.05, 95 % −0.10 to +0.20)."
    )
    assert "cannot be told apart" in differing((0.0, 0.4))


def test_a_difference_without_an_interval_says_why():
    without = {"value": 0.2, "lo": None, "hi": None, "note": "no interval: other classes"}
    assert difference_of([without]) == (
        "Leave out domain and natural only lie +0.20 apart (no interval: other classes)."
    )
    text = difference_of([without, {"value": 0.3, "lo": 0.1, "hi": 0.5, "note": ""}])
    assert "above it in 1, without an interval in 1 (differences" in text


def test_several_differences_are_counted():
    assert differing((0.1, 0.3), (-0.1, 0.3), (-0.4, -0.2)) == (
        "Leave out domain against natural only, in 3 pairs of the same draw and seed: above it in "
        "1, below it in 1, not to be told apart in 1 (differences −0.30 to +0.20)."
    )


# ---------------------------------------------------------------------------- a study


def paragraphs(results, change=None):
    table = results.analyses["similarity"]
    if change is not None:
        table = table.with_columns(**change)
    results.analyses["similarity"] = table
    pairs = sharing_tables.sharing_pairs(results).filter(classes="seen", measure="s_id_nc")
    means = with_floors(sharing_tables.sharing(pairs), pairs).filter("primary")
    changes = sharing_tables.differences(pairs.filter(pairs="with_test_domain")).filter("primary")
    return sharing_paragraphs(results, means, means.clear(), changes)


def test_planted_equal_settings_cannot_be_told_apart_and_unequal_ones_can(planted_source):
    results = load_results(planted_source.plan, planted_source.folder)
    more = 0.5 * (pl.col("setting") == "cg_high_diversity")
    quickdraw, clipart, caveat = paragraphs(
        results, {key: pl.col(key) + more for key in ("value", "lo", "hi")}
    )
    assert "of pairs with quickdraw (means of 5 pairs, 9 seen classes)" in quickdraw
    assert "CG high diversity lies above CG low diversity (+0.55," in clipart
    assert "Leave out domain and natural only cannot be told apart (+0.05," in quickdraw
    assert "One seed: how far another training would come out elsewhere is not known." in caveat


def test_a_missing_run_makes_a_comparison_impossible_and_is_named(planted_study):
    name = next(r.name for r in planted_study.plan.runs if r.name.startswith("leave_out_domain-c"))
    shutil.rmtree(planted_study.folder / name)
    results = load_results(planted_study.plan, planted_study.folder)
    _, clipart, _ = paragraphs(results)
    assert f"Leave out domain and natural only cannot be compared: not finished: {name}." in clipart


def test_several_seeds_are_no_single_seed(replicated_source):
    text = replicates_sentence(replicated_source.plan)
    assert "One seed" not in text
    assert "counted one by one, and not merged" in text


@pytest.mark.parametrize("source", ["planted_source", "replicated_source"])
def test_no_sentence_says_why(source, request):
    study = request.getfixturevalue(source)
    told = paragraphs(load_results(study.plan, study.folder))
    assert len(told) == 3
    assert not [match for text in told if (match := CAUSAL.search(text))]


# ---------------------------------------------------------------------------- the regression

EFFECT = {
    "site": "layer4",
    "measure": "s_id_nc",
    "beta": 0.4,
    "lo": 0.1,
    "hi": 0.7,
    "delta_r2": 0.12,
    "delta_chance": 0.03,
    "p": 0.004,
    "units": "setting",
    "n": 6,
    "n_runs": 30,
    "note": "",
}


def test_a_relation_is_said_only_where_the_test_finds_one():
    sure = headline_sentence(EFFECT)
    assert "held-out accuracy is higher with a higher noise-corrected same-basis" in sure
    assert "held-out accuracy is lower" in headline_sentence(EFFECT | {"beta": -0.4})
    unsure = headline_sentence(EFFECT | {"p": 0.2})
    assert "no relation of held-out accuracy can be told" in unsure
    assert not any(CAUSAL.search(text) for text in (sure, unsure))


def test_a_refused_regression_says_why():
    text = headline_sentence(EFFECT | {"beta": None, "note": "6 runs; a regression needs 8"})
    assert text.endswith("goes with accuracy: 6 runs; a regression needs 8.")


def test_what_counts_as_evidence_is_named():
    assert headline_sentence(EFFECT).startswith("Among settings with the same accuracy")
    assert "over 6 settings; 30 runs" in headline_sentence(EFFECT)
    of_seeds = headline_sentence(EFFECT | {"units": "seed"})
    assert of_seeds.startswith("Among seeds of one setting with the same accuracy")
    assert "over 6 seeds; 30 runs" in of_seeds
