"""The report's sections on how words are read: what is planted in the runs' tables stands there."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from planting import DRAWS, load, write_arms, write_study

from analysis.report.arms import ComparedStudy
from analysis.report.page import named_charts, named_tables
from analysis.report.schemas import TEXT_PROBES, TEXT_ROBUSTNESS
from analysis.report.section import Chart, Table, Text
from analysis.report.study import load_results
from analysis.report.text_figures import robustness_figure
from analysis.report.text_section import arm_text_sections, text_sections
from analysis.report.text_tables import probe_rows, text_scores, way_findings, way_label
from analysis.report.views import MISSING
from analysis.text_probes import TASKS
from analysis.text_probes import TEXT_PROBES as MADE_PROBES
from gen.evaluation.score import SAME
from gen.evaluation.text_robustness import NOTHING_READ
from gen.evaluation.text_robustness import TEXT_ROBUSTNESS as MADE_SCORES

SETTINGS = ("natural_only", "cg_high_diversity")
CLEAN, LOSS = 0.8, 0.1
WAYS = [("none", None), ("typos", 1), ("typos", 2), ("upper_case", None), ("font_DejaVuSans", None)]


def scores_of(run):
    """Every typo costs LOSS, the first draw of typos a little less, the last a little more."""
    rows = []
    for disturbance, strength in WAYS:
        typos = disturbance == "typos"
        for text_draw in (0, 1, 2, None) if typos else (0,):
            shift = 0.02 * ((text_draw or 0) - 1) * (text_draw is not None)
            lost = LOSS * strength + shift if typos else 0.0
            lost = 0.3 if disturbance.startswith("font") else lost
            same = disturbance == "upper_case"
            for domain in run.test_domains:
                for draw in run.draws:
                    for classes in ("held_out", "seen", "all"):
                        rows.append(
                            {
                                **{"disturbance": disturbance, "strength": strength},
                                **{"text_draw": text_draw, "split": "test", "domain": domain},
                                **{"draw": draw, "classes": classes, "value": CLEAN - lost},
                                **{"lo": 0.75 - lost, "hi": 0.85 - lost, "n": 30, "n_classes": 3},
                                **{"chance": 1 / 12, "difference": -lost},
                                "difference_lo": -lost - 0.05 * (lost > 0),
                                "difference_hi": -lost + 0.05 * (lost > 0),
                                **{"unreadable": 0.25 if typos else 0.0, "note": SAME * same},
                            }
                        )
    return pl.DataFrame(rows, schema=MADE_SCORES)


def probes_of():
    rows = [
        {
            **{"site": site, "level": "residual", "depth": depth, "task": task},
            **{"quantity": quantity, "value": value, "lo": value - 0.05, "hi": value + 0.05},
            **{"n": 144, "n_classes": 12, "chance": 0.25, "note": ""},
        }
        for depth, site in enumerate(("stem", "embedding"))
        for task in TASKS
        for quantity, value in (("accuracy", 0.6 + 0.2 * depth), ("control_accuracy", 0.3))
    ]
    return pl.DataFrame(rows, schema=MADE_PROBES)


def with_texts(study):
    """A planted study whose runs have both tables."""
    for run in study.plan.runs:
        folder = study.folder / run.name
        scores_of(run).write_parquet(folder / "text_robustness.parquet")
        probes_of().write_parquet(folder / "analysis" / "text_probes.parquet")
    return replace(study, plan=replace(study.plan, text_robustness=True, text_probes=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts") / "planted"
    return with_texts(write_study(folder, settings=SETTINGS, pretrained=("ViT-B-32",)))


@pytest.fixture(scope="module")
def results(whole):
    return load(whole)


def parts_of(sections, kind):
    return [part for section in sections for part in section.parts if isinstance(part, kind)]


def test_the_columns_that_a_report_reads_are_those_that_runs_write():
    assert (TEXT_ROBUSTNESS, TEXT_PROBES) == (MADE_SCORES, MADE_PROBES)


def test_a_score_has_its_interval_over_images_and_its_spread_over_typos_apart(results):
    table = text_scores(results)
    keys = {"setting": "natural_only", "test_domain": "quickdraw", "classes": "held_out"}
    row = table.filter(disturbance="typos", strength=2, **keys).row(0, named=True)
    assert (row["value"], row["lo"], row["hi"]) == pytest.approx((0.6, 0.55, 0.65))
    assert (row["smallest"], row["largest"], row["text_draws"]) == pytest.approx((0.58, 0.62, 3))
    assert row["difference"] == pytest.approx(-0.2)
    assert not table["missing"].any()


def test_sections_are_there_where_any_run_has_their_numbers(results, whole):
    sections = text_sections(results)
    assert [section.title for section in sections] == [
        "Disturbed prompts",
        "Linear probes on sentences",
    ]
    assert set(named_tables(sections)) == {"text_robustness", "text_probes"}
    names = {"disturbed-prompts-held-out", "disturbed-prompts-seen"}
    assert set(named_charts(sections)) == names
    nothing = load_results(
        replace(whole.plan, text_robustness=False, text_probes=False), whole.folder
    )
    assert text_sections(nothing) == []


def test_the_table_says_what_is_planted(results):
    (table,) = (
        part
        for part in parts_of(text_sections(results), Table)
        if part.view.rows[0][2] == "undisturbed"
    )
    rows = {tuple(row[:3]): row[3:] for row in table.view.rows}
    typo = rows["quickdraw", "natural only", "1 typo"]
    assert typo == [
        "70.0\u00a0% (65.0 to 75.0)",
        "68.0\u00a0% to 72.0\u00a0%",
        "\u221210.0 (\u221215.0 to \u22125.0)",
        "25.0\u00a0%",
        "30",
    ]
    assert rows["quickdraw", "natural only", "upper case"][2] == "0, the same to the model"
    assert "Chance" not in table.view.columns


def test_findings_count_the_intervals_that_leave_out_no_difference(results):
    told = way_findings(text_scores(results))
    targets = text_scores(results).filter(disturbance="none", classes="held_out").height
    assert f"1 typo: of {targets} differences on held-out classes {targets} lie below 0" in told[0]
    assert told[2].startswith("upper case: the same to the models")
    unsure = text_scores(results).with_columns(difference_hi=pl.lit(0.01))
    assert "0 lie below 0 with their intervals and 0 above." in way_findings(unsure)[0]


def test_what_cannot_be_read_is_told_with_its_reason(whole, tmp_path):
    study = with_texts(write_study(tmp_path / "planted", settings=SETTINGS))
    path = study.folder / study.plan.runs[0].name / "text_robustness.parquet"
    none = ["value", "lo", "hi", "chance", "difference", "difference_lo", "difference_hi"]
    is_typo = pl.col("disturbance") == "typos"
    pl.read_parquet(path).with_columns(
        *(pl.when(~is_typo).then(pl.col(name)).alias(name) for name in none),
        note=pl.when(is_typo).then(pl.lit(NOTHING_READ)).otherwise("note"),
    ).write_parquet(path)
    results = load(study)
    (table, _) = parts_of(text_sections(results), Table)
    assert any(NOTHING_READ in cell for row in table.view.rows for cell in row)
    assert "cannot be told" in way_findings(text_scores(results))[0]


def test_a_run_without_its_tables_is_missing_and_named(tmp_path):
    study = with_texts(write_study(tmp_path / "planted", settings=SETTINGS))
    gone = study.plan.runs[-1]
    (study.folder / gone.name / "text_robustness.parquet").unlink()
    (study.folder / gone.name / "analysis" / "text_probes.parquet").unlink()
    results = load(study)
    assert sum(gone.name in problem for problem in results.problems) == 2
    for table in parts_of(text_sections(results), Table):
        assert any(row[-1] == MISSING for row in table.view.rows)
    assert text_scores(results).filter(run=gone.name)["missing"].all()


def test_probes_have_a_column_per_site_and_their_control_beside(results):
    (table,) = (
        part for part in parts_of(text_sections(results), Table) if part.name == "text_probes"
    )
    assert table.view.columns[2:6] == ["stem", "embedding", "Control at the last site", "Chance"]
    first = table.view.rows[0]
    assert first[1:] == [
        "class",
        "60.0\u00a0% (55.0 to 65.0)",
        "80.0\u00a0% (75.0 to 85.0)",
        "30.0\u00a0% (25.0 to 35.0)",
        "25.0\u00a0%",
        "144",
    ]
    assert probe_rows(results).height == len(results.plan.runs) * 2 * 4 * 2


def test_a_line_of_the_figure_has_a_point_for_every_way_and_chance_is_dotted(results):
    rows = text_scores(results).filter(classes="held_out").with_columns(series="setting")
    names = {name: name for name in results.plan.settings}
    figure = robustness_figure(rows, "test_domain", {"quickdraw": "quickdraw"}, names)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == [way_label(*way) for way in WAYS]
    drawn = [line for line in axes.lines if len(line.get_xdata()) == len(WAYS)]
    assert len(drawn) == 3
    assert drawn[0].get_ydata() == pytest.approx([0.8, 0.7, 0.6, 0.8, 0.5])
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == pytest.approx([1 / 12])


def test_all_panels_of_the_figure_show_all_of_their_lines(results):
    low, high = (
        text_scores(results)
        .filter(classes="held_out")
        .with_columns(
            pl.lit(name).alias("place"),
            pl.lit("one").alias("series"),
            *(pl.col(key) * factor for key in ("value", "lo", "hi")),
        )
        for name, factor in (("low", 0.2), ("high", 1.0))
    )
    titles = {"low": "low", "high": "high"}
    figure = robustness_figure(pl.concat([low, high]), "place", titles, {"one": "one"})
    bottom, top = figure.axes[1].get_ylim()
    assert bottom == 0
    assert top > high["hi"].max() > 3 * low["hi"].max()


def test_arms_stand_side_by_side(tmp_path):
    asked = {"settings": SETTINGS, "draws": DRAWS[:2]}
    studies = [
        with_texts(s) for s in write_arms(tmp_path / "planted", {"two": asked, "one": asked})
    ]
    arms = [ComparedStudy(load(study), {"study": {}}) for study in studies]
    (section,) = arm_text_sections(arms)
    (chart,) = parts_of([section], Chart)
    assert chart.figure is not None
    (table,) = parts_of([section], Table)
    assert table.frame["arm"].unique(maintain_order=True).to_list() == ["two", "one"]
    told = [part.text for part in parts_of([section], Text)]
    assert told[1].startswith("two. 1 typo: of ")
    bare = [
        replace(
            arm, results=replace(arm.results, text_robustness=arm.results.text_robustness.clear())
        )
        for arm in arms
    ]
    assert arm_text_sections(bare) == []
