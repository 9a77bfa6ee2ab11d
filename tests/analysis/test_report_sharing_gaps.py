"""What tables of sharing lack is counted and said, and stops no figure."""

from dataclasses import replace

import polars as pl
import pytest
from planted_sharing import HALF
from planted_tables import CLASSES, DOMAINS
from planting import load, write_study

from analysis.report.page import named_tables
from analysis.report.section import Section, Text
from analysis.report.sharing import generalization_section, layers_section, sharing_sections
from analysis.report.sharing_families import lens_parts, transfer_parts
from analysis.report.sharing_figures import beyond_axis, kinds_figure
from analysis.report.sharing_floor import with_floors
from analysis.report.sharing_maps import maps_parts
from analysis.report.sharing_points import generalization_figure
from analysis.report.sharing_published import published_section
from analysis.report.sharing_tables import sharing, sharing_pairs

NATURAL = "natural_only"


def changed(results, name, **columns):
    table = results.analyses[name].with_columns(**columns)
    return replace(results, analyses=results.analyses | {name: table})


def lacking(column, rows):
    return pl.when(~rows).then(pl.col(column))


def tables_of(parts):
    return named_tables([Section("", tuple(parts))])


def view_of(section, name):
    return next(part.view for part in section.parts if getattr(part, "name", "") == name)


# ---------------------------------------------------------------------------- settings, runs


@pytest.mark.usefixtures("drawn_figures")
def test_a_setting_without_similarity_is_missing_and_all_others_are_drawn(tmp_path):
    study = write_study(tmp_path / "study", settings=(NATURAL, "leave_out_domain"))
    name = next(run.name for run in study.plan.runs if run.setting == NATURAL)
    path = study.folder / name / "analysis" / "similarity.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    results = load(study)
    (problem,) = results.problems
    assert problem.startswith(f"{name}/analysis/similarity.parquet cannot be read")
    charts = [p for s in sharing_sections(results) for p in s.parts if hasattr(p, "figure")]
    figure = next(chart.figure for chart in charts if chart.name == "sharing-quickdraw")
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert texts == [["missing"], []]


def test_measures_of_which_nothing_could_be_estimated_are_not_drawn(rich):
    unknown = pl.col("measure").is_in(["s_id", "s_rot"])
    emptied = {column: lacking(column, unknown) for column in ("value", "lo", "hi")}
    emptied |= {column: lacking(column, unknown) for column in ("chance", "chance_lo", "chance_hi")}
    poor = changed(rich, "similarity", **emptied)
    pairs = sharing_pairs(poor)
    section = layers_section(poor, pairs, sharing(pairs))
    drawn = [part.name for part in section.parts if hasattr(part, "figure")]
    assert drawn
    assert not [name for name in drawn if name.startswith("sharing-geometry")]


def test_runs_of_which_the_same_is_to_be_said_have_one_sentence(tmp_path):
    study = write_study(tmp_path / "study", settings=(NATURAL, "leave_out_domain"))
    for run in study.plan.runs:
        (study.folder / run.name / "cells.parquet").write_bytes(b"")
    names = ", ".join(run.name for run in study.plan.runs)
    (problem,) = load(study).problems
    assert problem.startswith("cells.parquet cannot be read (")
    assert f") in 3 runs: {names}; `clipgen evaluate" in problem


def test_of_milestones_only_the_primary_measure_on_seen_classes_is_read(rich):
    table = rich.analyses["similarity"]
    milestones = table.filter(~pl.col("final"))
    assert milestones.select("measure", "classes").unique().rows() == [("s_id_nc", "seen")]
    assert table.filter("final").select("measure", "classes").n_unique() == 4 * 3


# ---------------------------------------------------------------------------- floors

FLOORED = 3
"""of five pairs with quickdraw"""
WITHOUT = pl.col("domain_a").is_in(DOMAINS[:2]) & (pl.col("measure") == "s_id_nc")


@pytest.fixture(scope="module")
def partly(results):
    """Pairs of two domains are 0.3 less alike, and have no corrected number before training."""
    less = {name: pl.col(name) - 0.3 * WITHOUT for name in ("value", "lo", "hi")}
    return changed(results, "similarity", floor=lacking("floor", WITHOUT), **less)


def test_a_floor_of_some_pairs_is_held_against_these_pairs(partly):
    pairs = sharing_pairs(partly)
    means = with_floors(sharing(pairs), pairs).filter("primary", classes="seen", measure="s_id_nc")
    row = means.row(
        by_predicate=(pl.col("test_domain") == "quickdraw")
        & (pl.col("setting") == NATURAL)
        & (pl.col("pairs") == "with_test_domain"),
        named=True,
    )
    assert (row["floor"], row["floor_pairs"], row["n_pairs"]) == (pytest.approx(0.1), FLOORED, 5)
    assert row["value_floor"] - row["value"] == pytest.approx(0.3 * 2 / 5)
    assert row["lo_floor"] < row["value_floor"] < row["hi_floor"]


def test_text_table_and_figure_say_of_how_many_pairs_a_floor_is(partly):
    pairs = sharing_pairs(partly)
    section = layers_section(partly, pairs, sharing(pairs))
    quickdraw = next(p.text for p in section.parts if isinstance(p, Text) and "layer4" in p.text)
    assert "the untrained network (0.10 in 3 of 5 pairs, now 0.50" in quickdraw
    assert "Before training 3 of 5 pairs had this number, and more without" in quickdraw
    assert "At layer4 the same-basis alignment S_id of pairs with quickdraw" in quickdraw
    view = view_of(section, "sharing")
    (row, *_) = (row for row in view.rows if row[:2] == ["quickdraw", "natural only"])
    found = dict(zip(view.columns, row, strict=True))
    assert found["Untrained"] == "0.10 (3 of 5 pairs, now 0.50)"
    assert found["Untrained, without"] == "0.10"
    chart = next(part for part in section.parts if getattr(part, "name", "") == "sharing-quickdraw")
    assert "The floor is that of" in chart.note


def test_where_every_pair_has_a_floor_nothing_is_said_of_their_number(results):
    pairs = sharing_pairs(results)
    section = layers_section(results, pairs, sharing(pairs))
    texts = " ".join(p.text for p in section.parts if isinstance(p, Text))
    assert "the untrained network (0.10)" in texts
    assert "Before training" not in texts


# ---------------------------------------------------------------------------- generalization


def test_every_dot_and_interval_lies_inside_its_panel():
    dots = [("clipart", 0.1), ("quickdraw", 0.9)]
    rows = [
        {"test_domain": domain, "setting": NATURAL, "draw": 0, "sharing": 0.3, "held_out": value}
        | {"sharing_lo": None, "sharing_hi": None}
        | {"held_out_lo": value - 0.05, "held_out_hi": value + 0.05}
        for domain, value in dots
    ]
    figure = generalization_figure(pl.DataFrame(rows), [NATURAL], "S_id")
    for axes, (_, value) in zip(figure.axes, dots, strict=True):
        low, high = axes.get_ylim()
        assert low <= value - 0.05 < value + 0.05 <= high


@pytest.mark.parametrize(
    ("primary", "words"),
    [
        (("layer9", "s_id_nc"), "at layer9 goes with accuracy: no run has it; there are stem, "),
        (("layer4", "knn"), "nearest neighbours at layer4 goes with accuracy: no run has it"),
    ],
)
def test_a_primary_site_or_measure_of_no_table_is_said(results, primary, words):
    named = replace(results, plan=replace(results.plan, primary=primary))
    section = generalization_section(named, sharing(sharing_pairs(named)))
    (told, table) = section.parts
    assert words in told.text
    assert table.frame.is_empty()


def test_a_primary_measure_that_has_no_number_is_said_with_its_reason(results):
    primary = pl.col("measure") == "s_id_nc"
    note = pl.when(primary).then(pl.lit("no signal")).otherwise("note")
    none = changed(results, "similarity", value=lacking("value", primary), note=note)
    section = generalization_section(none, sharing(sharing_pairs(none)))
    assert section.parts[0].text.endswith("accuracy: it is not estimable in any run (no signal).")


def test_points_say_of_how_many_classes_and_pairs_they_are(results):
    section = generalization_section(results, sharing(sharing_pairs(results)))
    table = named_tables([section])["sharing_points"]
    assert table.select("n", "n_pairs").unique().rows() == [(9, 5)]


# ---------------------------------------------------------------------------- derived tables


def test_published_and_ours_are_means_of_the_same_pairs(rich):
    odd = (pl.col("domain_a") == "real") & (pl.col("domain_b") == "quickdraw")
    odd &= pl.col("measure") == "cka"
    less = changed(
        rich,
        "published",
        value=pl.col("value") + 0.5 * odd,
        ours=lacking("ours", odd),
        note=pl.when(odd).then(pl.lit("no signal")).otherwise("note"),
    )
    table = named_tables([published_section(less)])["published"]
    rows = table.filter(site="layer4", test_domain="quickdraw", pairs="with_test_domain")
    assert rows["value"].to_list() == pytest.approx(rows["ours"].to_list()) != []
    assert rows.select("n_pairs", "not_estimable", "note").unique().rows() == [(4, 1, "no signal")]


def test_published_numbers_without_any_of_ours_stay(rich):
    none = changed(rich, "published", **{name: pl.lit(None, pl.Float64) for name in ("ours",)})
    table = named_tables([published_section(none)])["published"]
    assert table["value"].null_count() == 0
    assert table["not_estimable"].unique().to_list() == [0]


def test_one_draw_needs_no_column(rich):
    views = [p.view for p in transfer_parts(rich) if getattr(p, "name", "") == "transfer_ratio"]
    views.append(view_of(published_section(rich), "published"))
    assert [view.columns[:3] for view in views] == [
        ["Test domain", "Setting", "Classes"],
        ["Test domain", "Setting", "Measure"],
    ]


def test_derived_tables_keep_counts_and_reasons(rich):
    why = pl.lit("few images")
    lines = tables_of(lens_parts(changed(rich, "lens", note=why)))["lens_lines"]
    others = lines.filter(line="others_seen").row(0, named=True)
    assert (others["n"], others["n_classes"], others["domains"]) == (5 * 90, 9, 5)
    assert lines["note"].unique().to_list() == ["few images"]
    ratio = tables_of(transfer_parts(changed(rich, "transfer", note=why)))["transfer_ratio"]
    assert ratio["note"].unique().to_list() == ["few images"]


def test_ours_are_points_that_let_the_published_line_be_seen():
    looks = {"published": ("published", "-", "C0"), "ours": ("ours", "", "C0")}
    rows = [
        {"setting": NATURAL, "run": "r", "draw": 0, "site": site, "depth": depth, "line": line}
        | {"value": 0.3, "lo": 0.3 - HALF, "hi": 0.3 + HALF, "chance": None}
        for depth, site in enumerate(("stem", "layer1"))
        for line in looks
    ]
    table = pl.DataFrame(rows, schema_overrides={"chance": pl.Float64})
    figure = kinds_figure(table, [NATURAL], "line", looks, "CKA")
    theirs, ours = (line for line in figure.axes[0].lines if line.get_marker() in ("o", "D"))
    assert (theirs.get_linestyle(), ours.get_linestyle()) == ("-", "None")
    assert ours.get_markerfacecolor() == "none"
    assert ours.get_markersize() > theirs.get_markersize()


# ---------------------------------------------------------------------------- maps


def test_the_table_of_maps_has_the_points_that_are_drawn_once_each(rich):
    table = tables_of(maps_parts(rich))["maps"]
    assert set(table["site"]) < set(rich.analyses["maps"]["site"])
    assert table["site"].n_unique() == 5
    assert table.select("run", "site", "method", "id").is_unique().all()
    of_run = len(DOMAINS) * len(CLASSES) * 2 * 5
    assert table.filter(setting=NATURAL).height == of_run


@pytest.mark.parametrize("gone", ["maps", "map_distances"])
def test_maps_and_distances_stand_without_each_other(rich, gone):
    tables = rich.analyses | {gone: rich.analyses[gone].clear()}
    parts = maps_parts(replace(rich, analyses=tables))
    charts = [part.name.rsplit("-", 1)[0] for part in parts if hasattr(part, "figure")]
    expected = {"maps": ["map-distances"], "map_distances": ["map-pca", "map-tsne"]}[gone]
    assert sorted(set(charts)) == expected
    assert tables_of(parts)[gone].is_empty()
    both = {name: rich.analyses[name].clear() for name in ("maps", "map_distances")}
    assert maps_parts(replace(rich, analyses=rich.analyses | both)) == []


def test_values_beyond_the_axis_are_told():
    assert beyond_axis(pl.DataFrame({"value": [0.3, None, 1.5]})) == []
    assert "leave the axis" in beyond_axis(pl.DataFrame({"value": [0.3, 1.6]}))[0]
