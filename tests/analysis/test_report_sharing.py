"""How alike domains are, as the report has it: means over pairs, differences, time, ceilings."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from planted_sharing import HALF, pattern
from planted_tables import CLASSES, DOMAINS, FINAL_SAMPLES
from planting import MILESTONES, load
from scipy.stats import t

from analysis.report import sharing_headline, sharing_tables
from analysis.report.page import named_tables
from analysis.report.section import Chart, Section
from analysis.report.sharing import sharing_sections
from analysis.report.sharing_families import lens_parts, shares_of, transfer_parts
from analysis.report.sharing_maps import maps_parts
from analysis.report.sharing_published import published_section
from analysis.report.sharing_views import differences_view
from analysis.report.study import load_results

SEEN = 9
"""classes of the planted study that are not held out"""
OF_SEEN = HALF * (len(CLASSES) / SEEN) ** 0.5
"""half of an interval over them"""


@pytest.fixture(scope="module")
def pairs(results):
    return sharing_tables.sharing_pairs(results)


def with_similarity(results, table):
    return replace(results, analyses=results.analyses | {"similarity": table})


# ---------------------------------------------------------------------------- means over pairs


def test_pairs_with_the_test_domain_stand_apart_from_the_others(pairs):
    table = sharing_tables.sharing(pairs)
    rows = table.filter(
        setting="leave_out_domain", test_domain="quickdraw", site="layer1", measure="cka"
    ).filter(classes="all")
    assert dict(rows.select("pairs", "value").iter_rows()) == pytest.approx(
        {"with_test_domain": 0.2, "others": 0.35}
    )
    assert dict(rows.select("pairs", "n_pairs").iter_rows()) == {
        "with_test_domain": 5,
        "others": 10,
    }


def test_all_classes_stand_once_per_run_and_seen_ones_once_per_draw(replicated_source):
    table = sharing_tables.sharing(sharing_tables.sharing_pairs(load(replicated_source)))
    rows = table.filter(
        test_domain="quickdraw", site="stem", pairs="others", measure="cka", setting="natural_only"
    )
    whole, seen = rows.filter(classes="all"), rows.filter(classes="seen")
    assert whole.select("draw", "seed").rows() == [(None, 0), (None, 1)]
    assert sorted(seen.select("draw", "seed").rows()) == [(d, s) for d in range(3) for s in (0, 1)]


def test_the_primary_site_is_the_last_before_the_embedding_unless_it_is_named(results, pairs):
    assert pairs.filter("primary")["site"].unique().to_list() == ["layer4"]
    named = replace(results, plan=replace(results.plan, primary=("stem", "cka")))
    found = sharing_tables.sharing_pairs(named).filter("primary")
    assert found["site"].unique().to_list() == ["stem"]


def test_every_run_has_a_last_site_of_its_own(results):
    table = results.analyses["similarity"]
    first = table["run"][0]
    shallow = table.filter((pl.col("run") != first) | (pl.col("depth") < 3))
    found = sharing_tables.sharing_pairs(with_similarity(results, shallow)).filter("primary")
    assert set(found.select("run", "site").unique().iter_rows()) == {
        (run, "layer2" if run == first else "layer4") for run in table["run"].unique()
    }


def test_what_cannot_be_estimated_is_null_and_says_why(pairs):
    held_out = sharing_tables.sharing(pairs).filter(classes="held_out")
    assert held_out["value"].null_count() == held_out.height > 0
    assert held_out["n_pairs"].unique().to_list() == [0]
    assert held_out["note"].unique().to_list() == ["fewer than 5 classes"]


def test_a_mean_of_which_a_pair_has_no_interval_has_none(pairs):
    first = pl.int_range(pl.len()) == 0
    broken = pairs.with_columns(left_out=pl.when(~first).then(pl.col("left_out")))
    row = sharing_tables.sharing(broken).row(0, named=True)
    whole = sharing_tables.sharing(pairs).row(0, named=True)
    assert row["lo"] is None
    assert row["value"] == whole["value"] is not None


def test_a_mean_leaves_out_pairs_without_value_and_counts_them(pairs):
    first = pl.int_range(pl.len()) == 0
    columns = ["value", "lo", "hi", "left_out"]
    broken = pairs.with_columns(pl.when(~first).then(pl.col(columns)))
    row = sharing_tables.sharing(broken).row(0, named=True)
    whole = sharing_tables.sharing(pairs).row(0, named=True)
    assert (row["n_pairs"], row["not_estimable"]) == (whole["n_pairs"] - 1, 1)
    assert row["hi"] is not None


def without_each(numbers):
    """Means of numbers, one per class, without each of them."""
    return [(sum(numbers) - one) / (len(numbers) - 1) for one in numbers]


def test_the_interval_of_a_mean_is_that_of_the_mean_and_not_the_mean_of_intervals(pairs):
    """Two pairs whose classes err in opposite ways have a mean that does not err."""
    keys = ["test_domain", "run", "draw", "site", "measure", "classes"]
    two = pairs.filter(pairs="with_test_domain", classes="seen", measure="cka", site="layer4")
    two = two.filter(pl.int_range(pl.len()).over(keys) < 2)
    numbers = np.random.default_rng(0).normal(0.4, 0.1, SEEN)
    left_out = {1: without_each(numbers), -1: without_each(0.8 - numbers)}
    for signs, half in (((1, 1), student(numbers)), ((1, -1), 0)):
        values = pl.Series([left_out[sign] for sign in signs], dtype=pl.List(pl.Float32))
        table = sharing_tables.sharing(two[:2].with_columns(left_out=values))
        assert table["n_pairs"].to_list() == [2]
        assert table["hi"][0] - table["value"][0] == pytest.approx(half, abs=1e-6)
        assert table["value"][0] - table["lo"][0] == pytest.approx(half, abs=1e-6)


def student(numbers):
    """Half of Student's interval of a mean."""
    half = t.ppf(0.975, len(numbers) - 1) * np.std(numbers, ddof=1) / np.sqrt(len(numbers))
    return float(half)


# ---------------------------------------------------------------------------- differences


def test_a_difference_is_that_of_the_same_pairs_and_its_interval_that_of_paired_classes(pairs):
    rows = pairs.filter(pairs="with_test_domain", classes="seen", measure="cka", site="layer4")
    table = sharing_tables.differences(rows).filter(test_domain="quickdraw")
    found = {row["contrast"]: row for row in table.iter_rows(named=True)}
    assert len(found) == 4
    diverse = found["diversity → unseen domain"]
    assert diverse["value"] == pytest.approx(0.05)
    assert diverse["value_setting"] - diverse["value_baseline"] == pytest.approx(0.05)
    own, other = (np.array(pattern(diverse[key], SEEN)) for key in ("setting", "baseline"))
    spread = own - other
    error = np.sqrt((SEEN - 1) / SEEN * ((spread - spread.mean()) ** 2).sum())
    half = t.ppf(0.975, SEEN - 1) * error * OF_SEEN
    assert diverse["hi"] - diverse["value"] == pytest.approx(half, rel=1e-5)
    assert half < 2 * OF_SEEN
    assert (diverse["n"], diverse["n_pairs"], diverse["note"]) == (SEEN, 5, "")
    assert found["seeing part of the domain"]["value"] == pytest.approx(0)


def test_pairs_that_one_setting_lacks_are_left_out_of_both(pairs):
    rows = pairs.filter(pairs="with_test_domain", classes="seen", measure="cka", site="layer4")
    odd = (pl.col("setting") == "natural_only") & (pl.col("domain_a") == "real")
    changed = rows.with_columns(pl.when(~odd).then(pl.col("value")).alias("value"))
    table = sharing_tables.differences(changed).filter(
        test_domain="quickdraw", contrast="diversity → unseen domain"
    )
    assert table["n_pairs"].to_list() == [4]
    assert table["value"].to_list() == pytest.approx([0.05])


def planted_difference(pairs, left_out):
    """Rows of two settings, 0.05 apart, whose values without each class differ so."""
    rows = pairs.filter(pairs="with_test_domain", classes="seen", measure="cka", site="layer4")
    rows = rows.filter(pl.col("setting").is_in(list(left_out)), test_domain="quickdraw")
    column = pl.col("setting").replace_strict(left_out, return_dtype=pl.List(pl.Float64))
    return sharing_tables.differences(rows.with_columns(left_out=column)).row(0, named=True)


def test_a_difference_that_every_class_shows_is_found_where_single_intervals_overlap(pairs):
    classes = np.random.default_rng(0).normal(0.4, 0.2, SEEN)
    change = np.random.default_rng(1).normal(0.05, 0.02, SEEN)
    left_out = {
        "natural_only": without_each(classes),
        "leave_out_domain": without_each(classes + change),
    }
    row = planted_difference(pairs, left_out)
    assert row["lo"] > 0
    assert row["hi"] - row["value"] == pytest.approx(student(change), rel=1e-5)
    assert student(classes) + student(classes + change) > 3 * row["value"]
    unpaired = left_out | {"leave_out_domain": without_each((classes + change)[::-1])}
    assert planted_difference(pairs, unpaired)["lo"] < 0


def test_equal_runs_do_not_differ(pairs):
    twin = pairs.filter(setting="natural_only")
    both = [twin, twin.with_columns(setting=pl.lit("leave_out_domain"))]
    table = sharing_tables.differences(pl.concat(both))
    assert table["value"].unique().to_list() == [0]
    assert table.drop_nulls("lo").select("lo", "hi").unique().rows() == [(0, 0)]


def test_settings_of_other_classes_have_a_difference_without_interval_that_says_so(pairs):
    rows = pairs.filter(pairs="with_test_domain", classes="seen", measure="cka", site="layer4")
    fewer = pl.col("setting") == "leave_out_domain"
    changed = rows.with_columns(
        n=pl.when(fewer).then(SEEN - 1).otherwise(pl.col("n")),
        left_out=pl.when(fewer)
        .then(pl.col("left_out").list.head(SEEN - 1))
        .otherwise(pl.col("left_out")),
    )
    table = sharing_tables.differences(changed).filter(test_domain="quickdraw")
    row = table.row(by_predicate=pl.col("contrast") == "diversity → unseen domain", named=True)
    assert (row["lo"], row["hi"], row["note"]) == (None, None, sharing_tables.OTHER_CLASSES)
    assert row["value"] == pytest.approx(0.05)
    assert differences_view(table).rows[0][3] == f"+0.05 ({sharing_tables.OTHER_CLASSES})"


# ---------------------------------------------------------------------------- ceilings, time


def test_ceilings_of_domains_are_recovered_from_those_of_pairs():
    own = {"real": 0.9, "clipart": 0.7, "sketch": 0.4}
    rows = [(a, b, (own[a] + own[b]) / 2) for a, b in combinations(own, 2)]
    table = pl.DataFrame(rows, schema=["domain_a", "domain_b", "ceiling"], orient="row")
    assert sharing_tables.own_ceilings(table, tuple(own)) == pytest.approx(own)
    assert sharing_tables.own_ceilings(table[:2], tuple(own)) == {}


def test_sharing_over_time_has_every_milestone_and_the_final_weights(rich):
    table = sharing_tables.over_time(rich).filter("primary", test_domain="quickdraw")
    line = table.filter(setting="natural_only")
    assert line["samples_seen"].to_list() == [*MILESTONES, FINAL_SAMPLES]
    first, *_, last = line["value"].to_list()
    assert (first, last) == pytest.approx((0.45 / 4 + 0.05, 0.45 + 0.05))
    assert "pretrained-ViT-B-32" not in set(table["setting"])


def test_a_milestone_at_the_end_of_training_is_left_to_the_final_weights(rich):
    table = rich.analyses["similarity"]
    last = pl.col("samples_seen") == MILESTONES[-1]
    late = table.with_columns(
        samples_seen=pl.when(last).then(FINAL_SAMPLES).otherwise(pl.col("samples_seen"))
    )
    found = sharing_tables.over_time(with_similarity(rich, late)).filter("primary")
    line = found.filter(setting="natural_only", test_domain="quickdraw")
    assert line["samples_seen"].to_list() == [*MILESTONES[:-1], FINAL_SAMPLES]
    assert line["value"][-1] == pytest.approx(0.5)


def test_without_milestones_nothing_is_said_of_time(results):
    assert sharing_tables.over_time(results).is_empty()


# ---------------------------------------------------------------------------- generalization


def test_points_hold_accuracy_on_other_classes_than_sharing(results, pairs):
    table = sharing_headline.points(results, sharing_tables.sharing(pairs)).filter("primary")
    row = table.row(
        by_predicate=(pl.col("setting") == "cg_high_diversity")
        & (pl.col("test_domain") == "quickdraw"),
        named=True,
    )
    assert (row["held_out"], row["seen"]) == pytest.approx((0.5, 0.8))
    assert row["samples"] == SEEN * 40
    assert row["confidence"] == pytest.approx(0.75)
    assert row["sharing"] == pytest.approx(0.2 + 0.1 * 4 + 0.05 - 0.15 + 0.05)
    assert row["transfer"] is None


def test_transfer_stands_beside_where_the_study_has_it(rich):
    pairs = sharing_tables.sharing_pairs(rich)
    table = sharing_headline.points(rich, sharing_tables.sharing(pairs)).filter("primary")
    assert table["transfer"].unique().to_list() == pytest.approx([0.2])


def test_a_model_that_was_trained_elsewhere_enters_no_regression(rich):
    pairs = sharing_tables.sharing_pairs(rich)
    points = sharing_headline.points(rich, sharing_tables.sharing(pairs))
    rows = sharing_headline.headline_rows(rich, points)
    assert set(points["setting"]) - set(rows["setting"]) == {"pretrained-ViT-B-32"}
    assert rows["log_samples"].null_count() == 0


# ---------------------------------------------------------------------------- sections


def tables_of(parts):
    return named_tables([Section("", tuple(parts))])


def titles(results):
    return [section.title for section in sharing_sections(results)]


def test_a_study_of_similarity_alone_has_no_section_of_other_analyses(results):
    assert titles(results) == [
        "How domains share representations, layer by layer",
        "Sharing and generalization",
    ]


def test_every_family_that_a_study_asks_for_has_a_section(rich):
    assert set(titles(rich)) >= {
        "Sharing over training time",
        "Class plus domain",
        "Class transfer between domains",
        "What layers say of the domain",
        "Lenses",
    }


def test_the_transfer_ratio_is_the_share_of_the_test_domains_own_classifier(rich):
    table = tables_of(transfer_parts(rich))["transfer_ratio"]
    seen = table.filter(classes="seen", setting="leave_out_domain")
    assert seen["ratio"].unique().to_list() == pytest.approx([0.25])
    assert seen["domains"].unique().to_list() == [len(DOMAINS) - 1]


def test_what_a_lens_keeps_in_the_test_domain_stands_beside_other_domains_left_out(rich):
    lines = tables_of(lens_parts(rich))["lens_lines"]
    here = lines.filter(setting="leave_out_domain", test_domain="quickdraw")
    found = {row["line"]: row for row in here.filter(site="layer4").iter_rows(named=True)}
    assert (found["test_seen"]["value"], found["test_seen"]["own"]) == pytest.approx((0.38, 0.7))
    assert found["test_seen"]["kept"] == pytest.approx(0.38 / 0.7)
    assert found["others_seen"]["kept"] == pytest.approx(0.68 / 0.8)
    assert found["others_seen"]["domains"] == len(DOMAINS) - 1
    shares = shares_of(here)
    assert "embedding" not in set(shares["site"])
    assert shares.filter(site="layer4", line="test_seen")["value"].to_list() == [
        found["test_seen"]["kept"]
    ]
    names = [part.name for part in lens_parts(rich) if isinstance(part, Chart)]
    assert {"lens-tuned-quickdraw", "lens-kept-quickdraw"} <= set(names)


def test_nothing_at_all_gives_one_section_that_says_missing(planted_source, tmp_path):
    empty = load_results(planted_source.plan, tmp_path)
    (section,) = sharing_sections(empty)
    charts = [part for part in section.parts if hasattr(part, "figure")]
    assert charts
    assert all(chart.figure is None for chart in charts)


def test_published_measures_stand_beside_ours(rich):
    table = named_tables([published_section(rich)])["published"].filter(
        site="layer4", setting="leave_out_domain", test_domain="quickdraw", classes="held_out"
    )
    assert dict(table.select("pairs", "value").iter_rows()) == pytest.approx(
        {"with_test_domain": 0.3, "others": 0.5}
    )
    assert table["ours"].to_list() == pytest.approx(table["value"].to_list())


def test_published_features_are_shown_though_they_are_of_the_embedding_alone(rich):
    tables = {part.name: part for part in published_section(rich).parts if hasattr(part, "view")}
    table = tables["published"]
    features = table.frame.filter(measure="sae_overlap")
    assert set(features["site"]) == {"embedding"}
    shown = {row[table.view.columns.index("Measure")] for row in table.view.rows}
    assert shown == {"CKA", "overlap of autoencoder features"}


def test_maps_show_the_first_run_of_a_few_settings(rich):
    tables = tables_of(maps_parts(rich))
    shown = tables["maps"]["setting"].unique(maintain_order=True).to_list()
    assert shown == ["natural_only", "leave_out_domain", "cg_high_diversity"]
    assert tables["map_distances"]["setting"].n_unique() == len(rich.plan.settings)
