"""Scores and comparisons with planted answers (planting.py, planted_tables.py)."""

import shutil
from math import sqrt

import numpy as np
import polars as pl
import pytest
from planting import load, write_study

from analysis.report.contrasts import _over_seeds, contrasts
from analysis.report.quantities import generalization_section
from analysis.report.quantity_tables import _by_seed, over_draws, quantities
from analysis.report.quantity_views import over_draws_view, quantities_view
from analysis.statistics import benjamini_hochberg

SCORE, SEEN = "score", "seen_score"
GAP, SHARE, ROBUST = "minus_leave_out_domain", "relative_to_upper_bound", "relative_robustness"


@pytest.fixture(scope="module")
def table(results):
    return quantities(results)


@pytest.fixture(scope="module")
def replicated(replicated_source):
    return quantities(load(replicated_source))


def only(table, **keys):
    (row,) = table.filter(**keys).iter_rows(named=True)
    return row


@pytest.mark.parametrize(
    ("setting", "quantity", "value"),
    [
        ("leave_out_domain", SCORE, 0.4),
        ("leave_out_domain", SEEN, 0.8),
        ("cg_high_diversity", GAP, 0.1),
        ("cg_low_diversity", GAP, -0.2),
        ("leave_out_domain", ROBUST, 0.3),
        ("leave_out_domain", SHARE, 0.4 / 0.8),
        ("cg_high_diversity", SHARE, 0.5 / 0.8),
        ("cg_low_diversity", SHARE, 0.2 / 0.7),
        ("natural_only", SHARE, 0.1 / 0.7),
    ],
)
def test_every_quantity_has_its_planted_value(table, setting, quantity, value):
    row = only(table, test_domain="quickdraw", setting=setting, quantity=quantity)
    assert row["value"] == pytest.approx(value)
    assert row["lo"] < value < row["hi"]
    assert (row["seeds"], row["missing_seeds"], row["seed_sd"]) == (1, 0, None)
    assert row["n_classes"] == (9 if quantity == SEEN else 3)


def test_every_setting_is_compared_with_what_it_can_be(table):
    asked = table.filter(test_domain="clipart").group_by("quantity").agg("setting")
    settings = {key: set(names) for key, names in asked.iter_rows()}
    assert len(settings[SCORE]) == len(settings[SEEN]) == 6
    assert settings[GAP] == settings[SCORE] - {"leave_out_domain"}
    assert settings[ROBUST] == settings[SCORE] - {"natural_only"}
    assert settings[SHARE] == settings[SCORE] - {"upper_bound_low", "upper_bound_high"}


def test_the_gap_is_the_contrast_of_the_same_settings(results, table):
    contrast = only(
        contrasts(results),
        split="test",
        test_domain="quickdraw",
        contrast="seeing part of the domain",
    )
    gap = only(table, test_domain="quickdraw", setting="cg_high_diversity", quantity=GAP)
    for key in ("value", "lo", "hi", "p", "n"):
        assert gap[key] == contrast[key]


def test_a_family_is_all_comparisons_of_one_kind(table):
    family = table.filter(quantity=GAP)
    assert family.height == 2 * 5
    assert family["p_bh"].to_list() == pytest.approx(benjamini_hochberg(family["p"].to_list()))
    assert table.filter(quantity=SHARE)["p"].null_count() == 2 * 4


def test_a_sample_counts_with_the_share_of_its_seeds(replicated):
    keys = {"test_domain": "quickdraw", "setting": "cg_high_diversity", "draw": 0}
    score = only(replicated, **keys, quantity=SCORE)
    assert (score["value"], score["seeds"]) == (pytest.approx(0.55), 2)
    assert (score["seed_smallest"], score["seed_largest"]) == pytest.approx((0.5, 0.6))
    assert score["seed_sd"] == pytest.approx(0.1 / sqrt(2))
    share = only(replicated, **keys, quantity=SHARE)
    assert share["value"] == pytest.approx(0.55 / 0.8)
    assert (share["seed_smallest"], share["seed_largest"]) == pytest.approx((5 / 8, 6 / 8))


def test_over_draws_stands_the_mean_of_the_draws(replicated):
    drawn = over_draws(replicated)
    row = only(drawn, test_domain="quickdraw", setting="leave_out_domain", quantity=SHARE)
    assert row["value"] == pytest.approx(0.5 / 0.8)
    assert (row["smallest"], row["largest"]) == pytest.approx((0.4 / 0.8, 0.6 / 0.8))
    assert (row["draws"], row["sd"]) == (3, pytest.approx(0.1 / 0.8))
    assert row["lo"] < row["value"] < row["hi"]
    equal = only(drawn, test_domain="quickdraw", setting="natural_only", quantity=SCORE)
    assert (equal["sd"], equal["lo"]) == (pytest.approx(0), None)
    view = over_draws_view(drawn)
    assert all(len(row) == len(view.columns) for row in view.rows)


def test_what_is_missing_has_a_reason_and_no_number(planted_study):
    shutil.rmtree(next(planted_study.folder.glob("upper_bound_high-quickdraw-*")))
    table = quantities(load(planted_study))
    share = only(table, test_domain="quickdraw", setting="cg_high_diversity", quantity=SHARE)
    assert (share["value"], share["seeds"], share["missing_seeds"]) == (None, 0, 1)
    assert share["reason"] == "no finished pair of runs of the two settings"
    score = only(table, test_domain="quickdraw", setting="upper_bound_high", quantity=SCORE)
    assert (score["value"], score["reason"]) == (None, "no finished run has this score")
    view = quantities_view(table)
    row = next(row for row in view.rows if row[:2] == ["quickdraw", "CG high diversity"])
    assert row[view.columns.index("Relative to upper bound")] == "missing"


def test_a_missing_seed_is_counted_and_the_others_stand(replicated_study):
    shutil.rmtree(next(replicated_study.folder.glob("cg_high_diversity-quickdraw-s1-*")))
    table = quantities(load(replicated_study))
    for quantity, value in ((SCORE, 0.5), (GAP, 0.1), (SHARE, 5 / 8)):
        row = only(
            table, test_domain="quickdraw", setting="cg_high_diversity", draw=0, quantity=quantity
        )
        assert row["value"] == pytest.approx(value)
        assert (row["seeds"], row["missing_seeds"], row["seed_sd"]) == (1, 1, None)


def test_a_pretrained_model_is_compared_and_has_no_upper_bound(rich_source):
    table = quantities(load(rich_source)).filter(setting="pretrained-ViT-B-32")
    assert set(table["quantity"]) == {SCORE, SEEN, GAP, ROBUST}
    assert only(table, test_domain="quickdraw", quantity=GAP)["value"] == pytest.approx(0.2)


def test_a_pretrained_model_misses_the_seeds_of_what_it_is_compared_with(tmp_path):
    settings = ("leave_out_domain",)
    study = write_study(tmp_path / "s", seeds=(0, 1), settings=settings, pretrained=("ViT-B-32",))
    shutil.rmtree(next(study.folder.glob("leave_out_domain-quickdraw-s1-*")))
    table = quantities(load(study)).filter(setting="pretrained-ViT-B-32", quantity=GAP)
    assert [(row["seeds"], row["missing_seeds"]) for row in table.rows(named=True)] == [
        (1, 1),
        (2, 0),
    ]


def refused(table, draws):
    """The same with shares of some draws refused."""
    here = (pl.col("quantity") == SHARE) & pl.col("draw").is_in(draws)
    numbers = ["value", "lo", "hi", "seed_smallest", "seed_largest", "seed_sd"]
    return table.with_columns(
        *(pl.when(~here).then(pl.col(name)).alias(name) for name in numbers),
        reason=pl.when(here).then(pl.lit("at chance")).otherwise("reason"),
    )


def test_there_is_no_mean_over_draws_of_which_some_are_refused(replicated):
    drawn = over_draws(refused(replicated, [0]))
    row = only(drawn, test_domain="quickdraw", setting="leave_out_domain", quantity=SHARE)
    assert (row["draws"], row["missing_draws"], row["refused_draws"]) == (2, "", "0")
    assert row["reason"] == "draw 0: at chance"
    assert {row[key] for key in ("value", "smallest", "largest", "sd", "lo", "hi")} == {None}
    view = over_draws_view(drawn.filter(quantity=SHARE))
    assert view.rows[0][3] == "2 (no number: 0)"
    assert view.rows[0][4:] == ["no number: draw 0: at chance", *["no number"] * 3]
    other = only(drawn, test_domain="quickdraw", setting="leave_out_domain", quantity=SCORE)
    assert (other["draws"], other["refused_draws"], other["reason"]) == (3, "", None)


def test_the_chart_of_shares_tells_what_it_does_not_draw(results, replicated, monkeypatch):
    few = refused(replicated, [1])
    monkeypatch.setattr("analysis.report.quantities.quantities", lambda results: few)
    chart = generalization_section(results).parts[1]
    assert "Not drawn, of 24 points: 8 have no number" in chart.note


def test_equal_results_give_equal_numbers_over_seeds_to_the_last_bit():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 7)
    pairs = pl.concat(
        [
            pl.DataFrame({"id": range(280), "label": labels}).with_columns(
                seed=pl.lit(seed, dtype=pl.Int64),
                correct=pl.Series(rng.random(280)),
                correct_setting=pl.Series(rng.random(280)),
            )
            for seed in (0, 1)
        ]
    )
    assert len({tuple(_by_seed(GAP, pairs)) for _ in range(30)}) == 1
    assert len({tuple(_over_seeds(pairs).values()) for _ in range(30)}) == 1


def test_the_view_has_a_row_per_setting_and_says_where_nothing_is_asked(table, replicated):
    view = quantities_view(table)
    assert len(view.rows) == 12
    assert all(len(row) == len(view.columns) for row in view.rows)
    dg = next(row for row in view.rows if row[:2] == ["quickdraw", "leave out domain"])
    assert dg[view.columns.index("Minus leave out domain")] == "–"
    assert dg[view.columns.index("Score, held-out classes")].startswith("40.0")
    several = quantities_view(replicated)
    assert len(several.rows) == 36
    assert several.columns[2] == "Draw"
    assert several.columns[-1] == "Over seeds"
