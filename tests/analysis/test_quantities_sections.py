"""Trajectories, robustness and all sections: what the report gets."""

import shutil
from dataclasses import replace

import polars as pl
import pytest
from planting import MILESTONES, load, write_study

from analysis.report import robustness_tables
from analysis.report.curve_figures import trajectory_figure
from analysis.report.quantities import (
    quantity_sections,
    robustness_section,
    trajectories_section,
)
from analysis.report.section import Chart, Table, Text
from analysis.report.trajectory_tables import trajectories, without_milestones

FINAL = 102_400


@pytest.fixture(scope="module")
def results(rich_source):
    return load(rich_source)


@pytest.fixture(scope="module")
def followed(results):
    """Further natural-only seeds, each a little better: enough for an interval over them."""
    plan, evaluation = results.plan, results.evaluation
    run = next(run for run in plan.runs if run.setting == "natural_only")
    runs = [replace(run, name=f"natural_only-s{seed}", seed=seed) for seed in range(1, 6)]
    rows = [
        evaluation.filter(run=run.name).with_columns(
            run=pl.lit(more.name),
            seed=pl.lit(more.seed, dtype=pl.Int64),
            value=pl.col("value") + 0.01 * more.seed,
        )
        for more in runs
    ]
    return replace(
        results,
        plan=replace(plan, runs=(*plan.runs, *runs)),
        evaluation=pl.concat([evaluation, *rows]),
    )


def robustness_of(results):
    pairs = robustness_tables.accuracy_pairs(results)
    found = robustness_tables.fits(results, pairs)
    return pairs, found, robustness_tables.robustness(results, pairs, found)


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


# ---------------------------------------------------------------------------- trajectories


def test_a_trajectory_has_every_milestone_and_the_end(results):
    table = trajectories(results).filter(
        setting="upper_bound_high", test_domain="quickdraw", classes="held_out"
    )
    assert table["samples_seen"].to_list() == [*MILESTONES, FINAL]
    assert table["final"].to_list() == [False] * 3 + [True]
    assert table["value"].to_list() == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_a_milestone_at_the_end_is_left_to_the_final_weights(results):
    doubled = results.evaluation.filter(pl.col("final")).with_columns(
        final=pl.lit(False), value=pl.lit(0.123)
    )
    table = trajectories(replace(results, evaluation=pl.concat([doubled, results.evaluation])))
    assert table["value"].is_in([0.123]).sum() == 0
    assert table.equals(trajectories(results))


def test_a_pretrained_model_has_one_score_without_samples(results):
    table = trajectories(results).filter(setting="pretrained-ViT-B-32", classes="held_out")
    assert table["samples_seen"].to_list() == [None, None]
    assert table["final"].all()
    assert "pretrained: ViT-B-32" in texts(trajectory_figure(trajectories(results)))
    assert without_milestones(trajectories(results)) == []


def test_without_milestones_the_section_says_so(planted_source):
    section = trajectories_section(load(planted_source))
    assert section.parts[0].text.startswith("No milestones were kept")
    assert section.parts[1].frame["final"].all()
    assert not any(isinstance(part, Chart) for part in section.parts)


def test_a_run_without_milestones_among_others_is_named(results):
    run = next(run.name for run in results.plan.runs if run.setting == "leave_out_domain")
    kept = results.evaluation.filter((pl.col("run") != run) | pl.col("final"))
    section = trajectories_section(replace(results, evaluation=kept))
    assert f"No milestones: {run}." in section.parts[0].note


# ---------------------------------------------------------------------------- robustness


def test_both_accuracies_are_of_the_held_out_classes(results):
    pairs, _, _ = robustness_of(results)
    row = pairs.filter("final", setting="leave_out_domain", test_domain="quickdraw")
    assert row.select("accuracy_id", "accuracy_ood").row(0) == pytest.approx((0.8, 0.4))
    assert row.select("n_id", "n_ood", "n_classes").row(0) == (30, 30, 3)
    moments = pairs.filter(setting="natural_only", test_domain="quickdraw")
    assert moments["accuracy_id"].to_list() == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_a_baseline_run_alone_gives_numbers_without_intervals(results):
    _, found, table = robustness_of(results)
    assert table["setting"].unique().sort().to_list() == [
        "cg_high_diversity",
        "cg_low_diversity",
        "leave_out_domain",
        "pretrained-ViT-B-32",
        "upper_bound_high",
        "upper_bound_low",
    ]
    assert table["value"].null_count() == 0
    assert table["lo"].null_count() == table.height
    row = table.filter(setting="cg_high_diversity", test_domain="clipart").row(0, named=True)
    assert row["value"] == pytest.approx(0.7 - row["expected"])
    assert row["expected"] == pytest.approx(0.3, abs=0.1)  # what natural-only has
    lines = robustness_tables.baselines(found)
    assert lines.select("points", "models").unique().rows() == [(4, 1)]
    assert lines["reason"][0].startswith("1 baseline run")


def test_several_baseline_runs_give_intervals(followed):
    _, found, table = robustness_of(followed)
    assert robustness_tables.baselines(found)["models"].unique().to_list() == [6]
    assert table.height == 2 * 6
    row = table.filter(setting="leave_out_domain", test_domain="quickdraw").row(0, named=True)
    assert row["lo"] < row["value"] < row["hi"]


def test_without_milestones_one_run_is_no_baseline(planted_source):
    section = robustness_section(load(planted_source))
    (view,) = (
        part.view
        for part in section.parts
        if isinstance(part, Table) and part.name == "effective_robustness"
    )
    assert all(row[-2:] == ["no number", "baseline points: 1; 3 are needed"] for row in view.rows)


def test_different_classes_make_no_robustness(results):
    plan = results.plan
    fewer = plan.tests["test"] | {"quickdraw": frozenset(plan.classes) - {plan.draws[0][0]}}
    changed = replace(results, plan=replace(plan, tests=plan.tests | {"test": fewer}))
    pairs, _, table = robustness_of(changed)
    assert pairs["test_domain"].unique().to_list() == ["clipart"]
    reasons = table.filter(test_domain="quickdraw")["reason"].unique().to_list()
    assert reasons == [f"held-out classes with test images in one domain only: {plan.draws[0][0]}"]


def test_a_missing_run_is_missing_from_robustness(rich_study):
    shutil.rmtree(next(rich_study.folder.glob("cg_high_diversity-clipart-*")))
    section = robustness_section(load(rich_study))
    (table,) = (
        part
        for part in section.parts
        if isinstance(part, Table) and part.name == "effective_robustness"
    )
    (row,) = (row for row in table.view.rows if row[:2] == ["clipart", "CG high diversity"])
    assert row[-2:] == ["missing", "the run has no scores"]


def test_a_study_without_natural_only_runs_has_no_such_section(tmp_path):
    study = write_study(tmp_path / "planted", settings=("leave_out_domain",))
    assert robustness_section(load(study)) is None


# ---------------------------------------------------------------------------- sections


@pytest.mark.parametrize("source", ["planted_source", "replicated_source", "rich_source"])
def test_every_chart_names_a_table_of_its_section_and_all_names_are_unique(source, request):
    sections = quantity_sections(load(request.getfixturevalue(source)))
    assert [section.title for section in sections] == [
        "Domain and compositional generalization",
        "Trajectories",
        "Robustness under the shift",
    ]
    parts = [part for section in sections for part in section.parts]
    tables = [part.name for part in parts if isinstance(part, Table)]
    charts = [part for part in parts if isinstance(part, Chart)]
    assert len(tables) == len(set(tables))
    assert {chart.data for chart in charts} <= set(tables)
    assert all(chart.figure is not None and chart.note for chart in charts)
    for part in parts:
        if isinstance(part, Table) and part.view is not None:
            assert all(len(row) == len(part.view.columns) for row in part.view.rows)
        assert isinstance(part, (Text, Chart, Table))


def test_a_study_without_any_finished_run_still_has_its_sections(planted_study):
    for folder in planted_study.folder.glob("*-s0-*"):
        shutil.rmtree(folder)
    sections = quantity_sections(load(planted_study))
    charts = [part for section in sections for part in section.parts if isinstance(part, Chart)]
    assert [chart.name for chart in charts] == [
        "relative_to_upper_bound",
        "trajectories",
        "effective_robustness",
    ]
    assert all(chart.figure is None for chart in charts)


def test_equal_results_give_equal_sections(results):
    first, second = (
        [
            part.frame
            for section in quantity_sections(results)
            for part in section.parts
            if isinstance(part, Table)
        ]
        for _ in range(2)
    )
    assert all(one.equals(other) for one, other in zip(first, second, strict=True))
