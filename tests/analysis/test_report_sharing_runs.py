"""Sharing over runs: other trainings and other draws move it, and classes are another matter."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from analysis.report import sharing_tables, sharing_views
from analysis.report.sharing import layers_section
from analysis.report.sharing_tables import ONE_RUN, over_runs
from analysis.report.study import load_results
from analysis.report.views import NONE

HALF = 0.1
"""of an interval over classes"""


def means(values, draws=1, own=True):
    """Rows of `sharing`: values of draws × seeds; without `own` a run serves all draws."""
    values = np.reshape(values, (draws, -1))
    rows = [
        {
            **{"test_domain": "quickdraw", "setting": "natural_only", "draw": draw, "seed": seed},
            "run": f"d{draw}-s{seed}" if own else f"s{seed}",
            **{"level": "residual", "site": "layer4", "depth": 4, "measure": "s_id_nc"},
            **{"classes": "seen", "value": value, "n": 60},
            **{"lo": None if value is None else value - HALF},
            **{"hi": None if value is None else value + HALF},
        }
        for draw, of_draw in enumerate(values)
        for seed, value in enumerate(of_draw)
    ]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(["value", "lo", "hi"], pl.Float64))


def only(*args, **keywords):
    (row,) = over_runs(means(*args, **keywords)).to_dicts()
    return row


def student(values):
    half = float(t.ppf(0.975, len(values) - 1)) * np.std(values, ddof=1) / np.sqrt(len(values))
    return pytest.approx([np.mean(values) - half, np.mean(values) + half], abs=0.1 * half)


def test_of_seeds_alone_it_is_students_interval_over_seeds():
    seeds = [0.3, 0.42, 0.5, 0.38]
    row = only(seeds)
    assert row["value"] == pytest.approx(np.mean(seeds))
    assert [row["lo"], row["hi"]] == student(seeds)
    assert (row["over"], row["runs"], row["draws"], row["seeds"]) == ("seed", 4, 1, 4)


def test_seeds_of_a_draw_are_no_evidence_of_other_draws():
    of_draws = [0.2, 0.5, 0.35]
    seeds = [[d - 0.01, d, d + 0.01] for d in of_draws]
    row = only(seeds, draws=3)
    assert [row["lo"], row["hi"]] == student(of_draws)
    assert (row["over"], row["runs"], row["draws"], row["seeds"]) == ("draw", 9, 3, 3)


def test_draws_that_a_run_serves_do_not_multiply_its_seeds():
    of_seeds = [0.2, 0.5, 0.35]
    row = only([[s - 0.001 * d for s in of_seeds] for d in range(4)], draws=4, own=False)
    assert [row["lo"], row["hi"]] == student([s - 0.0015 for s in of_seeds])
    assert (row["over"], row["runs"], row["draws"]) == ("draw, seed", 3, 4)


def test_one_training_says_nothing_of_others_however_many_draws_it_serves():
    for row in (only([0.4]), only([0.3, 0.4, 0.5], draws=3, own=False)):
        assert row["value"] == pytest.approx(0.4)
        assert (row["lo"], row["hi"], row["over"], row["note"]) == (None, None, None, ONE_RUN)


def test_equal_runs_are_no_certainty():
    row = only([0.4, 0.4, 0.4])
    assert row["lo"] is None
    assert "would claim certainty" in row["note"]


def test_the_interval_over_classes_stands_apart_and_is_that_of_a_run():
    for values in ([0.4], [0.3, 0.5], [0.1, 0.4, 0.7]):
        row = only(values)
        ends = [row["classes_lo"], row["classes_hi"]]
        assert ends == pytest.approx([row["value"] - HALF, row["value"] + HALF])


def test_runs_without_a_number_are_counted_and_left_out():
    row = only([0.3, None, 0.5])
    assert (row["value"], row["runs"], row["not_estimable"]) == (pytest.approx(0.4), 2, 1)
    row = only([None, None])
    assert (row["value"], row["runs"], row["note"]) == (None, 0, "no run has a number")


def test_a_draw_of_which_a_seed_is_missing_counts_as_much_as_the_others():
    row = only([[0.2, 0.2, 0.2], [0.4, None, None]], draws=2)
    assert row["value"] == pytest.approx(0.3)
    assert row["over"] == "draw"


def test_draws_with_a_seed_each_are_draws():
    row = only([[0.2, None, None], [None, 0.5, None], [None, None, 0.35]], draws=3)
    assert [row["lo"], row["hi"]] == student([0.2, 0.5, 0.35])
    assert (row["over"], row["seeds"]) == ("draw", 1)


def test_readers_see_both_intervals_or_the_reason():
    table = pl.concat([over_runs(means(values)) for values in ([0.3, 0.5, 0.4], [0.4])])
    several, single = sharing_views.over_runs_view(table).rows
    assert several[4:6] == ["0.15 to 0.65", "0.30 to 0.50"]
    assert single[4:6] == [ONE_RUN, "0.30 to 0.50"]
    assert NONE not in several


def test_a_study_has_the_table_and_shows_it_where_it_has_several_runs_of_a_setting(
    planted_source, replicated_source
):
    for study, shown in ((planted_source, False), (replicated_source, True)):
        results = load_results(study.plan, study.folder)
        pairs = sharing_tables.sharing_pairs(results)
        section = layers_section(results, pairs, sharing_tables.sharing(pairs))
        (table,) = (p for p in section.parts if getattr(p, "name", "") == "sharing_over_runs")
        assert (table.view is not None) == shown
        assert set(table.frame["site"]) == {"layer4"}
        assert table.frame.select("test_domain", "setting").is_unique().all()
