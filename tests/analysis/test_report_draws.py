"""Draws of held-out classes and variants of settings: another axis of replication, a larger grid.

Planted: leave_out_domain gets 0, 1 and 2 more of ten right in the three draws, cg_high_diversity
one more with the second seed (planting.py).
"""

import re
import shutil
from dataclasses import replace
from math import sqrt

import polars as pl
import pytest
from planting import CLASSES, COMMAND, DRAWS, load, write_study

from analysis.report import tables
from analysis.report.accuracy_figures import headline_figure
from analysis.report.comparison_views import contrasts_view, over_draws_view, spread_view
from analysis.report.contrasts import contrasts, over_draws
from analysis.report.page import named_tables, write_report
from analysis.report.section import Chart, Links, Table, Text
from analysis.report.sections import accuracy_section, difference_section, exposure_section
from analysis.report.spread import accuracy_spread, t_interval
from analysis.report.study import load_results
from analysis.report.summary import banner_lines, caveat, overview, setting_label, summary_lines
from analysis.report.views import MISSING, all_domains_view, headline_view, mixtures_view

T_OF_TWO = 4.302652729749462
"""97.5 % quantile of Student's t with two degrees of freedom"""
UNSEEN = "diversity → unseen domain"
COMBINATIONS = "diversity → unseen combinations"


@pytest.fixture(scope="module")
def results(replicated_source):
    return load(replicated_source)


@pytest.fixture(scope="module")
def differences(results):
    return contrasts(results)


def only(table, **keys):
    (row,) = table.filter(**keys).iter_rows(named=True)
    return row


def words_of(page):
    """A page without its figures, style and script."""
    return re.sub(r"<(svg|style|script).*?</\1>", "", page, flags=re.DOTALL)


def text_of(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


# ---------------------------------------------------------------------------- draws


def test_every_draw_and_seed_has_its_own_planted_accuracy(results):
    table = tables.headline(results).filter(split="test", classes="held_out")
    assert table.height == 6 * 2 * 3 * 2
    assert table["value"].null_count() == 0
    for setting, domain, draw, seed, right in (
        ("natural_only", "quickdraw", 0, 0, 1),
        ("natural_only", "quickdraw", 2, 1, 1),  # one run for all draws
        ("leave_out_domain", "quickdraw", 0, 1, 4),
        ("leave_out_domain", "quickdraw", 1, 0, 5),
        ("leave_out_domain", "clipart", 2, 0, 5),
        ("cg_high_diversity", "clipart", 1, 0, 7),
        ("cg_high_diversity", "clipart", 1, 1, 8),
    ):
        row = only(table, setting=setting, test_domain=domain, draw=draw, seed=seed)
        assert row["value"] == pytest.approx(right / 10)
        assert (row["n"], row["n_classes"]) == (30, 3)


def test_contrasts_are_paired_within_a_draw_and_tell_how_seeds_differ(differences):
    table = differences.filter(split="test")
    assert table.height == 4 * 2 * 3
    for draw, gain in enumerate((0.3, 0.4, 0.5)):
        row = only(table, contrast=UNSEEN, test_domain="quickdraw", draw=draw)
        assert row["value"] == pytest.approx(gain)
        assert row["lo"] < gain < row["hi"]
        assert (row["n"], row["seeds"], row["seed_sd"]) == (30, 2, pytest.approx(0))
        row = only(table, contrast=COMBINATIONS, test_domain="quickdraw", draw=draw)
        assert row["value"] == pytest.approx(0.35)
        assert (row["seed_smallest"], row["seed_largest"]) == pytest.approx((0.3, 0.4))
        assert row["seed_sd"] == pytest.approx(0.1 / sqrt(2))


def test_the_family_of_holms_correction_is_all_comparisons_of_a_split(differences):
    for split in ("test", "test_unseen_drawing"):
        family = differences.filter(split=split)
        assert family["p_holm"].min() == pytest.approx(24 * family["p"].min())


def test_over_draws_stand_the_mean_and_its_spread_and_no_test_samples(differences):
    table = over_draws(differences).filter(split="test")
    assert table.height == 4 * 2
    row = only(table, contrast=UNSEEN, test_domain="quickdraw")
    half = T_OF_TWO * 0.1 / sqrt(3)
    found = [row[key] for key in ("value", "smallest", "largest", "sd", "lo", "hi")]
    assert found == pytest.approx([0.4, 0.3, 0.5, 0.1, 0.4 - half, 0.4 + half])
    assert (row["draws"], row["missing_draws"]) == (3, "")
    assert (row["accuracy_baseline"], row["accuracy_setting"]) == pytest.approx((0.1, 0.5))
    equal = only(table, contrast=COMBINATIONS, test_domain="quickdraw")
    assert (equal["value"], equal["sd"]) == pytest.approx((0.35, 0))
    assert equal["lo"] is None  # equal draws are no certainty


def test_an_interval_over_draws_needs_three_of_them():
    assert t_interval([0.3, 0.5]) == (None, None)
    half = T_OF_TWO * 0.1 / sqrt(3)
    assert t_interval([0.3, 0.5, 0.4]) == pytest.approx((0.4 - half, 0.4 + half))


def test_spread_over_draws_and_over_seeds_stand_apart(results):
    table = accuracy_spread(tables.headline(results)).filter(split="test", classes="held_out")
    by_draw = only(table, setting="leave_out_domain", test_domain="quickdraw")
    assert by_draw["value"] == pytest.approx(0.5)
    assert [by_draw[f"draw_{key}"] for key in ("smallest", "largest", "sd")] == pytest.approx(
        [0.4, 0.6, 0.1]
    )
    assert (by_draw["draws"], by_draw["seeds"]) == (3, 2)
    assert (by_draw["seed_range"], by_draw["seed_sd"]) == pytest.approx((0, 0))
    by_seed = only(table, setting="cg_high_diversity", test_domain="quickdraw")
    assert by_seed["value"] == pytest.approx(0.55)
    assert (by_seed["draw_sd"], by_seed["seed_range"]) == pytest.approx((0, 0.1))
    assert by_seed["seed_sd"] == pytest.approx(0.1 / sqrt(2))
    cells = next(
        row for row in spread_view(table).rows if row[:2] == ["quickdraw", "CG high diversity"]
    )
    assert cells[2:] == ["55.0\xa0%", "55.0\xa0% to 55.0\xa0%, sd 0.0", "3", "10.0, sd 7.1", "2"]


def test_a_run_of_all_draws_is_scored_once_on_all_classes(results):
    table = tables.all_domains(results)
    assert len(all_domains_view(table, results, "test").rows) == len(results.plan.runs)
    keys = ["run", "draw", "split", "domain", "classes"]
    assert table.height == table.select(keys).n_unique() == (60 + 2 * 3) * 2 * 6 * 3


def test_held_out_classes_of_an_exposure_are_those_of_its_draw(results):
    cells = tables.exposure_counts(results).filter(
        setting="cg_low_diversity", test_domain="clipart", domain="clipart"
    )
    for draw, held_out in enumerate(DRAWS):
        of_draw = cells.filter(draw=draw)
        assert tuple(of_draw.filter("held_out")["class_name"]) == held_out
        assert tuple(of_draw.filter(samples=0)["class_name"]) == held_out


def test_sentences_tell_gains_over_draws_and_what_varies(results, differences):
    text = overview(results, differences)
    assert (
        "for quickdraw, a gain of 40.0 points in the mean of 3 draws (10.0\xa0% → 50.0\xa0%" in text
    )
    assert "draws +30.0 to +50.0, sd 10.0; 95 % interval over draws +15.2 to +64.8" in text
    assert "for clipart, no clear difference, +10.0 points in the mean of 3 draws" in text
    assert "for quickdraw, +35.0 points in each of 3 draws" in text
    assert caveat(results).endswith("2 seeds, 3 draws of 3 held-out classes.")


def test_a_missing_draw_is_named_and_the_others_stand(replicated_study):
    for folder in replicated_study.folder.glob("leave_out_domain-quickdraw-d1-*"):
        shutil.rmtree(folder)
    results = load(replicated_study)
    assert banner_lines(results)[0] == "62 runs expected: 60 done, 2 new, 0 failed."
    table = tables.headline(results).filter(split="test", classes="held_out")
    gone = table.filter(pl.col("value").is_null())
    assert set(gone.select("setting", "test_domain", "draw").rows()) == {
        ("leave_out_domain", "quickdraw", 1)
    }
    differences = contrasts(results)
    row = only(over_draws(differences), split="test", contrast=UNSEEN, test_domain="quickdraw")
    assert (row["draws"], row["missing_draws"], row["lo"]) == (2, "1", None)
    assert row["value"] == pytest.approx(0.4)
    cells = over_draws_view(over_draws(differences), "test").rows[0]
    assert cells[3] == "2 (missing: 1)"
    assert cells[-1] == "needs 3 draws"
    text = "\n".join(summary_lines(results, contrasts(results)))
    assert "+40.0 points in the mean of 2 draws, too few for an interval over draws" in text
    assert "missing: draw 1, not finished: leave_out_domain-quickdraw-d1-s0" in text
    assert contrasts_view(differences, "test").rows[1][4:] == [MISSING] * 6 + [MISSING]


def test_the_figure_has_a_marker_per_draw_and_says_what_is_missing(replicated_study):
    shutil.rmtree(next(replicated_study.folder.glob("cg_high_diversity-clipart-d2-s1*")))
    texts = text_of(headline_figure(tables.headline(load(replicated_study))))
    assert [f"draw {n}, 95 % interval" in texts for n in range(4)] == [True, True, True, False]
    assert "74\xa0%\n(1 missing)" in texts  # 70, 80, 70, 80 and 70


def test_sections_of_several_draws_say_which_draw_they_show(results, differences):
    exposure = exposure_section(results, list(results.mixtures))
    (links,) = (part for part in exposure.parts if isinstance(part, Links))
    assert links.pages == {"36 mixtures": "../splits/index.html"}
    charts = [part for part in exposure.parts if isinstance(part, Chart)]
    assert all("Draw 0 of held-out classes, the first of 3." in chart.note for chart in charts)
    headline = tables.headline(results)
    accuracy = accuracy_section(results, Table("headline", headline, headline_view(headline)), {})
    texts = [part.text for part in accuracy.parts if isinstance(part, Text)]
    for draw, held_out in enumerate(DRAWS):
        assert f"Held-out classes of draw {draw} (3): {', '.join(held_out)}." in texts
    everywhere = next(part for part in accuracy.parts if getattr(part, "name", "") == "all_domains")
    labels = [row[0] for row in everywhere.view.rows]
    assert "natural only (all draws, seed 1)" in labels
    assert "CG low diversity (draw 2, seed 0)" in labels
    named = named_tables([accuracy, difference_section(results, differences)])
    assert {"contrasts_over_draws", "accuracy_spread"} < named.keys()


# ---------------------------------------------------------------------------- one draw


def test_one_draw_and_seed_leave_no_trace_of_replication(planted_source, tmp_path):
    write_report(load(planted_source), tmp_path, COMMAND)
    words = words_of((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert "Intervals are 95 % and cover the test samples only: one seed, one draw of 3" in words
    assert "Held-out classes (3): class 03, class 07, class 11." in words
    assert "Dashed, with band: upper bounds, which saw these classes in this domain." in words
    assert not re.search(r"over draws|<th[^>]*>Draw|draw 0|Over seeds|seed 0", words)


# ---------------------------------------------------------------------------- variants, splits


VARIANTS = (
    "cg_high_diversity",
    "cg_high_diversity-held_out_0.05",
    "cg_high_diversity-clipart_painting",
    "leave_out_domain-seen_classes_0.1",
)


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """Three variants, one of which shows clipart and so is not tested in it."""
    return write_study(tmp_path_factory.mktemp("varied") / "planted", settings=VARIANTS)


def test_a_pair_that_does_not_apply_is_nowhere_and_not_missing(varied, tmp_path):
    results = load(varied)
    assert results.problems == ()
    assert banner_lines(results) == ["7 runs expected: 7 done, 0 new, 0 failed."]
    table = tables.headline(results)
    assert table["value"].null_count() == 0
    asked = table.filter(setting="cg_high_diversity-clipart_painting")["test_domain"]
    assert asked.unique().to_list() == ["quickdraw"]
    assert contrasts(results).is_empty()
    page = write_report(results, tmp_path / "report", "clipgen report planted").read_text()
    assert MISSING not in words_of(page).replace("0 missing", "")
    assert "This study has no pair of settings that compares diversity." in page


def test_a_variant_is_named_after_the_setting_it_varies():
    assert setting_label("cg_high_diversity-held_out_0.05") == "CG high diversity: held out 0.05"
    assert setting_label("upper_bound_low") == "upper bound, low"


def test_more_settings_than_columns_stand_in_rows_below_the_setting_they_vary(varied):
    table = tables.headline(load(varied))
    shares = [f"cg_high_diversity-held_out_{share}" for share in (0.1, 0.2, 0.4)]
    first = table.filter(setting=VARIANTS[1])
    more = pl.concat([table, *(first.with_columns(setting=pl.lit(name)) for name in shares)])
    figure = headline_figure(more)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [
        "CG high diversity",
        "unchanged",
        "held out 0.05",
        "clipart painting",
        "held out 0.1",
        "held out 0.2",
        "held out 0.4",
        "leave out domain",
        "seen classes 0.1",
    ]
    assert text_of(figure).count("does not apply") == 1
    assert len(headline_figure(table).axes[0].get_xticklabels()) == 4  # four still are columns


def test_what_a_mixture_is_made_of_is_told(varied):
    view = mixtures_view(load(varied))
    row = dict(zip(view.columns, view.rows[1], strict=True))
    assert row["Setting"] == "CG high diversity: held out 0.05"
    assert row["What it shows"] == "what cg_high_diversity-held_out_0.05 shows"
    assert row["Budget"].startswith("fixed total, ")
    assert (row["Captions"], row["Base"]) == ("caption", "pairs, 1\u202f200")


def test_a_split_that_the_dataset_lacks_is_not_missing(planted_study, tmp_path):
    tests = {"test": planted_study.plan.tests["test"]}
    results = load_results(replace(planted_study.plan, tests=tests), planted_study.folder)
    assert tables.headline(results)["split"].unique().to_list() == ["test"]
    page = write_report(results, tmp_path / "report", "clipgen report planted").read_text()
    words = words_of(page)
    assert "unseen drawing" not in words
    assert "never shows" not in words
    assert "missing" not in words


def test_splits_of_scenes_have_labels_and_say_what_counts_as_right(planted_study):
    several = pl.col("split").replace("test_unseen_drawing", "test_scenes")
    table = tables.headline(load_results(planted_study.plan, planted_study.folder))
    view = headline_view(table.with_columns(split=several))
    assert "held-out classes, several objects" in view.columns
    assert "named first counts as right" in view.caption
    assert "artists" not in view.caption


def test_a_class_set_without_test_images_is_a_dash_and_no_comparison(planted_study):
    plan = planted_study.plan
    few = dict.fromkeys(plan.domains, frozenset(CLASSES[:3]))  # none of them is held out
    tests = plan.tests | {"test_unseen_drawing": few}
    results = load_results(replace(plan, tests=tests), planted_study.folder)
    assert contrasts(results)["split"].unique().to_list() == ["test"]
    view = headline_view(tables.headline(results))
    assert [column for column in view.columns if "unseen" in column] == [
        "seen classes, unseen drawings"
    ]
