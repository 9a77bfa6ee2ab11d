import json
import re
import shutil
from dataclasses import replace

import polars as pl
import pytest

from analysis.report import tables
from analysis.report.accuracy_figures import headline_figure
from analysis.report.contrasts import CONTRASTS, contrasts
from analysis.report.figures import svg_text
from analysis.report.page import write_report
from analysis.report.study import load_results
from analysis.report.summary import banner_lines, is_complete, overview, summary_lines
from splits.files import write_text


def load(study):
    return load_results(study.plan, study.folder)


def run_named(study, start):
    return next(run.name for run in study.plan.runs if run.name.startswith(start))


# ---------------------------------------------------------------------------- tables


def test_a_finished_study_has_no_problems(planted_study):
    results = load(planted_study)
    assert results.problems == ()
    assert is_complete(results)
    assert banner_lines(results) == ["11 runs expected: 11 finished, 0 missing, 0 failed."]
    assert results.wall_seconds == 3600


def test_the_headline_holds_the_planted_accuracies(planted_study):
    table = tables.headline(load(planted_study)).filter(split="test")
    for setting, right in planted_study.right.items():
        for test_domain, count in right.items():
            rows = table.filter(setting=setting, test_domain=test_domain)
            scores = dict(rows.select("classes", "value").iter_rows())
            assert scores == pytest.approx(
                {"held_out": count / 10, "seen": planted_study.right_elsewhere / 10}
            )


def test_contrasts_are_the_planted_differences(planted_study):
    table = contrasts(load(planted_study)).filter(split="test")
    found = {(row["contrast"], row["test_domain"]): row for row in table.iter_rows(named=True)}
    assert len(found) == table.height == 8
    for contrast in CONTRASTS:
        for test_domain in planted_study.plan.test_domains:
            row = found[contrast.name, test_domain]
            before = planted_study.right[contrast.baseline][test_domain] / 10
            after = planted_study.right[contrast.setting][test_domain] / 10
            assert row["value"] == pytest.approx(after - before)
            assert (row["accuracy_baseline"], row["accuracy_setting"]) == pytest.approx(
                (before, after)
            )
            assert row["lo"] <= row["value"] <= row["hi"]
            assert row["p"] <= row["p_holm"]
            assert (row["n"], row["n_classes"], row["seeds"]) == (30, 3, 1)


def test_every_run_is_scored_in_every_domain(planted_study):
    table = tables.all_domains(load(planted_study)).filter(split="test")
    assert table.height == 11 * 6
    shared = table.filter(setting="natural_only").select("domain", "value").rows()
    assert dict(shared)["clipart"] == pytest.approx((3 * 0.3 + 9 * 0.8) / 12)
    assert dict(shared)["sketch"] == pytest.approx(0.8)


def test_exposure_counts_show_that_held_out_cells_are_empty(planted_study):
    table = tables.exposure_counts(load(planted_study))
    cells = table.filter(setting="cg_high_diversity", test_domain="quickdraw", domain="quickdraw")
    assert cells.filter("held_out")["samples"].to_list() == [0, 0, 0]
    assert (
        cells.filter(~pl.col("held_out"))["samples"].to_list() == [planted_study.train_per_cell] * 9
    )


def test_sharing_separates_pairs_with_the_test_domain_from_the_others(planted_study):
    table = tables.sharing(load(planted_study))
    rows = table.filter(setting="leave_out_domain", test_domain="quickdraw", site="layer1")
    assert dict(rows.select("pairs", "value").iter_rows()) == pytest.approx(
        {"with_test_domain": 0.2, "others": 0.35}
    )
    assert dict(rows.select("pairs", "n_pairs").iter_rows()) == {
        "with_test_domain": 5,
        "others": 10,
    }


def test_unequal_compute_is_noticed(planted_study):
    assert tables.equal_compute(tables.cost(load(planted_study)))
    path = planted_study.folder / run_named(planted_study, "cg_low") / "run.json"
    write_text(path, json.dumps(json.loads(path.read_text()) | {"samples_seen": 7}))
    assert tables.equal_compute(tables.cost(load(planted_study))) is False


def test_the_overview_says_gain_and_no_clear_difference(planted_study):
    results = load(planted_study)
    text = overview(results, contrasts(results))
    assert "for quickdraw, a gain of 30.0 points" in text
    assert "for clipart, no clear difference" in text


# ---------------------------------------------------------------------------- what is missing


def test_a_deleted_run_is_named_and_shown_as_missing_never_as_zero(planted_study):
    name = run_named(planted_study, "leave_out_domain-quickdraw")
    shutil.rmtree(planted_study.folder / name)
    results = load(planted_study)
    assert banner_lines(results) == [
        "11 runs expected: 10 finished, 1 missing, 0 failed.",
        f"missing: {name}",
    ]
    row = tables.headline(results).filter(run=name)
    assert row.height == 4
    assert row["value"].null_count() == 4
    assert f"missing (not finished: {name})" in "\n".join(summary_lines(results))


def test_truncated_pieces_are_named_and_the_rest_renders(planted_study, tmp_path):
    name = run_named(planted_study, "cg_low_diversity-clipart")
    pieces = [
        "predictions.parquet",
        "evaluation.parquet",
        "analysis/similarity.parquet",
        "run.json",
    ]
    for piece in pieces:
        path = planted_study.folder / name / piece
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    manifest = planted_study.folder / "mixtures" / "natural_only.clipart" / "manifest.json"
    manifest.write_text("{")
    results = load(planted_study)
    page = write_report(results, tmp_path / "report", "clipgen report planted").read_text()
    for piece in [*(f"{name}/{piece}" for piece in pieces), "natural_only.clipart/manifest.json"]:
        assert any(piece in problem for problem in results.problems)
        assert piece in page
    whole = contrasts(results).filter(test_domain="quickdraw")
    assert whole["value"].null_count() == 0


def test_a_table_without_its_columns_is_a_problem_not_a_crash(planted_study):
    name = run_named(planted_study, "upper_bound_low-clipart")
    pl.DataFrame({"split": ["test"]}).write_parquet(
        planted_study.folder / name / "evaluation.parquet"
    )
    (problem,) = load(planted_study).problems
    assert f"{name}/evaluation.parquet cannot be read" in problem


def test_failed_begun_and_outdated_runs_do_not_count_as_finished(planted_study):
    plan, folder = planted_study.plan, planted_study.folder
    first, second = plan.runs[1].name, plan.runs[2].name
    (folder / first / "DONE").unlink()
    (folder / first / "FAILED").touch()
    (folder / second / "DONE").unlink()
    (folder / plan.runs[3].name / "DONE").write_text("key of an earlier code")
    outdated = replace(plan.runs[3], results_key="key of this code")
    results = load_results(replace(plan, runs=(*plan.runs[:3], outdated)), folder)
    assert results.runs["state"].to_list() == ["done", "failed", "running", "running"]
    assert results.evaluation["run"].unique().to_list() == [plan.runs[0].name]


def test_seeds_are_shown_one_by_one_and_averaged_per_sample_in_contrasts(planted_study):
    plan, folder = planted_study.plan, planted_study.folder
    again = tuple(replace(run, name=f"{run.name}-again", seed=1) for run in plan.runs)
    for run, copy in zip(plan.runs, again, strict=True):
        shutil.copytree(folder / run.name, folder / copy.name)
    results = load_results(replace(plan, seeds=(0, 1), runs=(*plan.runs, *again)), folder)
    assert tables.headline(results).height == 2 * tables.headline(load(planted_study)).height
    twice, once = contrasts(results), contrasts(load(planted_study))
    of_seeds = ["seeds", "seed_smallest", "seed_largest", "seed_sd"]
    assert twice.drop(of_seeds).equals(once.drop(of_seeds))
    assert twice["seeds"].unique().to_list() == [2]
    assert twice["seed_sd"].unique().to_list() == [0]


def test_a_torn_last_line_of_metrics_is_no_damage_but_a_torn_middle_is(planted_study):
    path = planted_study.folder / planted_study.plan.runs[0].name / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[0][:20]]))
    results = load(planted_study)
    assert results.problems == ()
    assert results.metrics.filter(run=planted_study.plan.runs[0].name).height == len(lines)
    path.write_text("\n".join([lines[0][:20], *lines]))
    assert "metrics.jsonl cannot be read" in load(planted_study).problems[0]


def test_an_empty_folder_gives_a_report_in_which_all_is_missing(planted_study, tmp_path):
    results = load_results(planted_study.plan, tmp_path / "nothing")
    page = write_report(results, tmp_path / "report", "clipgen report planted").read_text()
    assert "11 runs expected: 0 finished, 11 missing, 0 failed." in page
    assert tables.headline(results)["value"].null_count() == 48
    assert ">0.0" not in page


# ---------------------------------------------------------------------------- the page


def test_two_writes_give_equal_bytes(planted_study, planted_report, tmp_path):
    write_report(load(planted_study), tmp_path / "again", "clipgen report planted 'note=<b>&'")
    files = sorted(path for path in planted_report.rglob("*") if path.is_file())
    assert len(files) == 2 + 7 + 6  # pages, tables, figures; no temporary file is left
    for path in files:
        again = tmp_path / "again" / path.relative_to(planted_report)
        assert again.read_bytes() == path.read_bytes()


@pytest.fixture
def page(planted_report):
    return (planted_report / "index.html").read_text(encoding="utf-8")


def test_the_page_asks_nobody_for_anything(page):
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page)
    assert not re.search(r"""url\(\s*["']?\s*(https?:)?//""", page)
    assert "@import" not in page
    assert "<script" not in page


def test_the_page_is_semantic(page):
    assert page.count("<h1>") == 1
    assert page.count("<table") == page.count("<caption>") == 9
    assert page.count("<svg") == page.count('<svg role="img" aria-label="') == 6
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_what_comes_from_outside_is_escaped(page):
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page


def test_every_link_of_the_page_leads_to_a_file(page, planted_report):
    links = re.findall(r'<a href="([^"]+)"', page)
    assert len(links) == 1 + 7 + 6
    assert all((planted_report / link).is_file() for link in links)


def test_a_figure_keeps_its_text_and_prefixes_its_ids(planted_study):
    svg = svg_text(headline_figure(tables.headline(load(planted_study))), "headline")
    assert "test domain quickdraw" in svg
    assert all(found.startswith("headline-") for found in re.findall(r'\bid="([^"]+)"', svg))
