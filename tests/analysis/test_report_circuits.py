"""Circuits and causes in the report: means over pairs, verdicts, lines, sections, drawn nodes."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from planted_circuit_tables import CEILING, EDGES, FAMILIES, FLOOR, POOR, SIZE, TENTH, own, passed
from planted_tables import DOMAINS, SITES
from planting import load, write_study

from analysis.report import cause_tables, circuit_tables, faithfulness_tables
from analysis.report.cause_sections import causes_section
from analysis.report.cause_tables import AMONG, INTO, INTO_HELD_OUT, WITHIN
from analysis.report.circuit_report import circuit_sections
from analysis.report.circuit_tables import MEASURE, NODES, RAW
from analysis.report.contrasts import contrasts
from analysis.report.domain_matrices import source_matrix
from analysis.report.faithfulness_section import faithfulness_section
from analysis.report.faithfulness_tables import AT_SHARE, AT_SIZE, NEVER
from analysis.report.page import named_charts, named_tables
from analysis.report.section import Chart, Text
from analysis.report.sharing_tables import sharing
from analysis.report.study import load_results

DIVERSE = "leave_out_domain"
SETTINGS = (POOR, DIVERSE, "cg_low_diversity", "cg_high_diversity")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("circuits") / "planted"
    return write_study(folder, settings=SETTINGS, analyses=("similarity", *FAMILIES))


@pytest.fixture(scope="module")
def found(study):
    return load(study)


@pytest.fixture(scope="module")
def pairs(found):
    return circuit_tables.circuit_pairs(found)


@pytest.fixture(scope="module")
def all_parts(found):
    return faithfulness_tables.faithfulness(found)


@pytest.fixture(scope="module")
def carried(all_parts):
    return all_parts.filter(parts="nodes")


@pytest.fixture(scope="module")
def accuracies(found):
    return contrasts(found)


@pytest.fixture(scope="module")
def sections(found, accuracies):
    return circuit_sections(found, accuracies)


def with_table(found, name, table):
    return replace(found, analyses=found.analyses | {name: table})


def between(table, ends):
    """The table with one interval in all rows."""
    return table.with_columns(
        pl.lit(ends[0], dtype=pl.Float64).alias("lo"), pl.lit(ends[1], dtype=pl.Float64).alias("hi")
    )


def only(table, **keys):
    (row,) = table.filter(test_domain="quickdraw", **keys).to_dicts()
    return row


# ---------------------------------------------------------------------------- shared nodes


def test_all_nodes_together_are_the_primary_site(pairs):
    assert set(pairs.filter("primary")["site"]) == {NODES}
    means = sharing(pairs).filter("primary", classes="seen", pairs="with_test_domain")
    raw = only(means, measure=RAW, setting=DIVERSE)
    assert raw["value"] == pytest.approx(TENTH + 0.06 + 0.05 - 0.1)
    scaled = only(means, measure=MEASURE, setting=DIVERSE)
    assert scaled["value"] == pytest.approx((raw["value"] - FLOOR) / (CEILING - FLOOR))
    assert scaled["lo"] < scaled["value"] < scaled["hi"]


def test_a_change_of_sharing_stands_beside_that_of_accuracy(accuracies, pairs):
    changes = circuit_tables.changes_of(pairs).filter("primary")
    table = circuit_tables.beside_accuracy(changes, accuracies)
    row = only(table, contrast="diversity → unseen combinations")
    assert row["value"] == pytest.approx(0.05 / (CEILING - FLOOR))
    assert row["accuracy"] == pytest.approx(0.3)
    assert (row["lo"] > 0, row["accuracy_lo"] > 0, row["direction"]) == (True, True, "same")
    open_row = only(table, contrast="seeing part of the domain")
    assert (open_row["value"], open_row["direction"]) == (pytest.approx(0), "open")


@pytest.mark.parametrize(
    ("ends", "gains", "direction"),
    [
        ((0.1, 0.2), (0.1, 0.2), "same"),
        ((-0.2, -0.1), (-0.2, -0.1), "same"),
        ((-0.2, -0.1), (0.1, 0.2), "opposite"),
        ((-0.1, 0.1), (0.1, 0.2), "open"),
        ((None, None), (0.1, 0.2), "open"),
    ],
)
def test_a_direction_is_said_where_both_intervals_exclude_zero(
    accuracies, pairs, ends, gains, direction
):
    changes = circuit_tables.changes_of(pairs).filter("primary").head(1)
    table = circuit_tables.beside_accuracy(between(changes, ends), between(accuracies, gains))
    assert table["direction"].to_list() == [direction]


def test_scores_are_told_by_their_mean_and_lowest_agreement_with_ablation(found):
    table = circuit_tables.quality_means(circuit_tables.quality(found))
    row = table.filter(setting=POOR, score="ig_layer").row(0, named=True)
    assert (row["mean"], row["lowest"], row["at"]) == (pytest.approx(0.375), 0, "stem.act")
    assert (row["known"], row["not_estimable"], row["runs"]) == (4, 0, 1)


def test_nodes_belong_to_the_test_domain_to_others_or_to_both(found):
    rows = circuit_tables.first_runs(circuit_tables.node_parts(found)).filter(setting=DIVERSE)
    (name,) = rows["class_name"].unique(maintain_order=True)[:1]
    nodes = circuit_tables.owned_nodes(rows, "quickdraw", [name]).filter(site="stem.act")
    owners = dict(nodes.select("node", "owner").iter_rows())
    private = 10 + 4 * DOMAINS.index("quickdraw")
    assert owners == {
        **{0: "shared", 1: "shared", 2: "others", 3: "others"},
        **{private: "test", private + 1: "test"},
    }


# ---------------------------------------------------------------------------- faithfulness


def test_nodes_that_carry_enough_and_more_than_controls_are_a_circuit(carried):
    row = only(faithfulness_tables.verdicts(carried), setting=DIVERSE, classes="seen")
    assert (row["size"], row["is_circuit"], row["note"]) == (SIZE, True, "")
    assert row["value"] == pytest.approx(own(DIVERSE, SIZE))
    assert row["other"] == pytest.approx(0.9 * own(DIVERSE, SIZE))
    assert row["rest"] == pytest.approx(1 - own(DIVERSE, SIZE))
    assert SIZE < row["random"] < row["lo"]


def test_nodes_that_only_all_together_carry_enough_are_no_circuit(carried):
    row = only(faithfulness_tables.verdicts(carried), setting=POOR, classes="seen")
    assert (row["size"], row["value"], row["is_circuit"]) == (None, None, False)
    assert row["note"] == NEVER


@pytest.mark.parametrize("control", ["random", "wrong_class"])
def test_nodes_no_better_than_a_control_are_no_circuit(carried, control):
    alike = (pl.col("circuit") == control) & (pl.col("k") < 1)
    table = carried.with_columns(hi=pl.when(alike).then(0.9).otherwise("hi"))
    row = only(faithfulness_tables.verdicts(table), setting=DIVERSE, classes="seen")
    assert (row["is_circuit"], row["note"]) == (False, "the interval reaches that of a control")


def test_without_a_control_nothing_is_a_circuit(carried):
    table = carried.filter(pl.col("circuit") != "random")
    row = only(faithfulness_tables.verdicts(table), setting=DIVERSE, classes="seen")
    assert (row["is_circuit"], row["note"]) == (False, "no control at this size")


def test_a_control_of_the_next_larger_size_stands_in(carried):
    gone = (pl.col("circuit") == "random") & (pl.col("k") == SIZE)
    row = only(faithfulness_tables.verdicts(carried.filter(~gone)), setting=DIVERSE, classes="seen")
    assert row["random"] == pytest.approx(0.2, abs=0.06)
    assert row["random"] > 0.2
    assert row["is_circuit"]


def test_sources_are_compared_at_a_tenth_and_where_own_nodes_suffice(carried):
    table = faithfulness_tables.crossed(carried).filter(setting=DIVERSE, classes="seen")
    assert set(table["site"]) == {AT_SHARE, AT_SIZE}
    values, by_chance = source_matrix(DOMAINS)(table.filter(site=AT_SIZE, test_domain="quickdraw"))
    place = DOMAINS.index("quickdraw")
    assert values[place, place] == pytest.approx(own(DIVERSE, SIZE))
    assert values[0, place] == pytest.approx(0.9 * own(DIVERSE, SIZE))
    assert values[place, 0] == pytest.approx(own(DIVERSE, SIZE))
    assert not by_chance.any()
    none = faithfulness_tables.crossed(carried).filter(setting=POOR, site=AT_SIZE)
    assert none.is_empty()


def test_means_over_sources_count_those_without_a_number(carried):
    lost = (pl.col("circuit") == "other") & (pl.col("source") == "real")
    columns = ["value", "lo", "hi"]
    table = carried.with_columns(pl.when(~lost).then(pl.col(columns)))
    means = faithfulness_tables.to_test_domain(table)
    row = only(means, setting=DIVERSE, classes="seen", circuit="other", quantity="f", k=SIZE)
    assert (row["sources"], row["not_estimable"]) == (4, 1)
    assert row["value"] == pytest.approx(0.9 * own(DIVERSE, SIZE))


def test_edges_stand_beside_nodes_and_in_no_verdict(all_parts, sections):
    means = faithfulness_tables.to_test_domain(all_parts)
    keys = {"setting": DIVERSE, "classes": "seen", "circuit": "own", "quantity": "f", "k": SIZE}
    of = {parts: only(means, parts=parts, **keys)["value"] for parts in ("nodes", "edges")}
    assert of["nodes"] == pytest.approx(own(DIVERSE, SIZE))
    assert of["edges"] == pytest.approx(EDGES * own(DIVERSE, SIZE))
    tables = named_tables(sections)
    assert set(tables["circuits"]["parts"]) == set(tables["faithfulness_pairs"]["parts"])
    assert set(tables["circuits"]["parts"]) == {"nodes"}
    assert set(tables["faithfulness"]["parts"]) == {"nodes", "edges"}


def test_the_summary_has_rows_of_nodes_and_of_edges(sections):
    (section,) = (section for section in sections if section.title == "Are they circuits?")
    (view,) = (
        p.view
        for p in section.parts
        if getattr(p, "name", "") == "faithfulness" and hasattr(p, "view")
    )
    assert {row[view.columns.index("Parts")] for row in view.rows} == {"nodes", "edges"}


def test_a_study_without_edges_has_no_chart_of_them(found):
    rows = found.analyses["faithfulness"].filter(parts="nodes")
    names = {
        part.name
        for part in faithfulness_section(with_table(found, "faithfulness", rows)).parts
        if isinstance(part, Chart)
    }
    assert names
    assert not any("edges" in name for name in names)
    drawn = {part.name for part in faithfulness_section(found).parts if isinstance(part, Chart)}
    assert {f"faithfulness-edges-{d}" for d in ("quickdraw", "clipart")} == drawn - names


# ---------------------------------------------------------------------------- causes


def test_lines_are_means_over_pairs_by_their_relation_to_the_test_domain(found):
    lines = cause_tables.interchange_lines(found).filter("primary", setting=DIVERSE)
    assert set(lines["site"]) == {SITES[-2]}
    values = dict(lines.filter(test_domain="quickdraw").select("line", "value").iter_rows())
    assert values[INTO] == pytest.approx(passed(DIVERSE, into_test=True))
    assert values[INTO_HELD_OUT] == pytest.approx(passed(DIVERSE, into_test=True) - 0.1)
    assert values[AMONG] == values[WITHIN] == pytest.approx(passed(DIVERSE, into_test=False))
    assert only(lines, line=INTO)["n_pairs"] == 5
    assert only(lines, line=AMONG)["n_pairs"] == 20


def test_doses_stand_in_the_place_of_layers(found):
    table = cause_tables.over_doses(cause_tables.steering_lines(found))
    line = table.filter(test_domain="quickdraw", setting=DIVERSE, line=INTO)
    assert line.select("site", "depth").rows() == [
        ("0", 0),
        ("0.5", 1),
        ("1", 2),
        ("2", 3),
        ("4", 4),
    ]
    assert line["value"].to_list() == sorted(line["value"])


def test_shifts_are_told_from_the_test_domain_and_to_it(found):
    lines = cause_tables.shift_lines(found).filter(setting=DIVERSE, dose=4.0)
    assert only(lines, line="from_test_seen")["value"] == pytest.approx(0.4)
    assert only(lines, line="from_test_seen")["n_pairs"] == 5
    assert only(lines, line="to_test_seen")["n_pairs"] == 5


def test_ablation_has_the_paired_difference_and_how_many_nodes_went(found):
    lines = cause_tables.ablation_lines(found)
    seen = only(lines, setting=DIVERSE, line="difference_seen")
    assert (seen["value"], seen["taken"]) == (pytest.approx(0.12), 6)
    assert only(lines, setting=DIVERSE, line="difference_held_out")["value"] == pytest.approx(0)
    assert not set(lines["classes"]) - {"seen", "held_out"}


# ---------------------------------------------------------------------------- sections


def test_a_study_without_these_tables_has_no_section(results):
    assert circuit_sections(results, contrasts(results)) == []


def test_sections_stand_in_the_order_of_reading(sections):
    assert [section.title for section in sections] == [
        "Which parts carry a class",
        "Are they circuits?",
        "Parts of single classes, drawn",
        "What happens when parts are changed",
        "Two answers: sharing beside generalization, and shared against private parts",
    ]


def test_every_chart_has_a_figure_and_its_table_and_no_table_has_lists(sections):
    charts, tables = named_charts(sections), named_tables(sections)
    assert all(chart.figure is not None for chart in charts.values())
    lists = {
        name: [column for column, kind in table.schema.items() if isinstance(kind, pl.List)]
        for name, table in tables.items()
    }
    assert not any(lists.get(chart.data) for chart in charts.values())


def test_every_view_has_as_many_cells_as_columns(sections):
    views = [part.view for s in sections for part in s.parts if getattr(part, "view", None)]
    assert len(views) >= 10
    for view in views:
        assert view.rows
        assert {len(row) for row in view.rows} == {len(view.columns)}


def test_no_family_alone_fails(found):
    none = {name: found.analyses[name].clear() for name in found.analyses}
    for name, table in found.analyses.items():
        alone = replace(found, analyses=none | {name: table})
        named_charts(circuit_sections(alone, contrasts(alone)))


def test_numbers_that_cannot_be_estimated_leave_gaps_and_no_error(found):
    columns = ["value", "lo", "hi"]
    emptied = {
        name: table.with_columns(
            pl.lit(None, dtype=pl.Float64).alias(key) for key in columns if key in table.columns
        )
        for name, table in found.analyses.items()
        if name != "similarity"
    }
    nothing = replace(found, analyses=found.analyses | emptied)
    built = circuit_sections(nothing, contrasts(nothing))
    charts = named_charts(built)
    assert charts["interchange-quickdraw"].figure is None
    assert charts["faithfulness-quickdraw-seen"].figure is None
    words = " ".join(part.text for s in built for part in s.parts if isinstance(part, Text))
    assert "not estimable" in words
    assert "None" not in words


def test_several_draws_and_seeds_are_counted_and_not_merged(tmp_path):
    draws = (("class 03", "class 07", "class 11"), ("class 02", "class 06", "class 10"))
    settings = ("natural_only", "leave_out_domain")
    study = write_study(tmp_path / "s", draws, (0, 1), settings, analyses=("similarity", *FAMILIES))
    results = load_results(study.plan, study.folder)
    built = circuit_sections(results, contrasts(results))
    words = " ".join(part.text for s in built for part in s.parts if isinstance(part, Text))
    assert "a circuit in 4 of 4 draws and seeds" in words
    assert "a circuit in 0 of 4 draws and seeds" in words
    assert "in the mean of 4 draws and seeds" in words
    for section in built:
        for part in section.parts:
            if getattr(part, "view", None):
                assert {len(row) for row in part.view.rows} == {len(part.view.columns)}


def test_curves_of_both_class_sets_and_the_matrix_are_drawn(found):
    names = [p.name for p in faithfulness_section(found).parts if isinstance(p, Chart)]
    assert names[:3] == [
        "faithfulness-quickdraw-seen",
        "faithfulness-quickdraw-held-out",
        "faithfulness-pairs-quickdraw",
    ]


def test_what_no_run_has_is_no_part_of_the_causes(found):
    rows = found.analyses["causes"].filter(pl.col("test") == "erasure")
    section = causes_section(with_table(found, "causes", rows))
    assert [p.name for p in section.parts if isinstance(p, Chart)] == [
        "erasure-quickdraw",
        "erasure-clipart",
    ]


def test_the_published_score_is_a_baseline_beside_the_primary_predictor(sections):
    table = named_tables(sections)["node_headline"]
    assert table.select("role", "site", "measure").row(0) == ("primary", NODES, MEASURE)
    roles = table["role"].to_list()
    assert roles == sorted(roles, key=["primary", "baseline", "exploratory"].index)
    published = table.filter(role="baseline", site=NODES)
    assert published["measure"].to_list() == ["css"]
    assert published["p_bh"].to_list() == [None]
    assert "transfer" not in set(table["measure"])
