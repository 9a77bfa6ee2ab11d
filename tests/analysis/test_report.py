import json
import re
import shutil
from urllib.parse import unquote

import polars as pl
import pytest
from planting import COMMAND, load, write_study

from analysis.report import tables
from analysis.report.accuracy_figures import headline_figure
from analysis.report.contrasts import CONTRASTS, contrasts
from analysis.report.figures import svg_text, training_figure
from analysis.report.page import named_charts, named_tables, write_report
from analysis.report.rendering import script_hash
from analysis.report.section import Chart, Section, Table
from analysis.report.study import load_results
from analysis.report.summary import banner_lines, is_complete, overview, summary_lines
from splits.files import write_text


def run_named(study, start):
    return next(run.name for run in study.plan.runs if run.name.startswith(start))


# ---------------------------------------------------------------------------- tables


def test_a_finished_study_has_no_problems(planted_study):
    results = load(planted_study)
    assert results.problems == ()
    assert is_complete(results)
    assert banner_lines(results) == ["11 runs expected: 11 done, 0 new, 0 failed."]
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
    table = tables.all_domains(load(planted_study)).filter(split="test", classes="all", draw=0)
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


def test_unequal_compute_is_noticed(planted_study):
    assert tables.equal_compute(tables.cost(load(planted_study)))
    path = planted_study.folder / run_named(planted_study, "cg_low") / "run.json"
    write_text(path, json.dumps(json.loads(path.read_text()) | {"samples_seen": 7}))
    assert tables.equal_compute(tables.cost(load(planted_study))) is False


def test_the_summary_computes_no_difference_again(planted_study, monkeypatch):
    results = load(planted_study)
    differences = contrasts(results)
    monkeypatch.delattr("analysis.report.contrasts.paired_difference_interval")
    assert "a gain of 30.0 points" in "\n".join(summary_lines(results, differences))


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
        "11 runs expected: 10 done, 1 new, 0 failed.",
        f"new: {name}",
    ]
    row = tables.headline(results).filter(run=name)
    assert row.height == 4
    assert row["value"].null_count() == 4
    text = "\n".join(summary_lines(results, contrasts(results)))
    assert f"missing (not finished: {name})" in text


def test_truncated_pieces_are_named_and_the_rest_renders(planted_study, tmp_path):
    name = run_named(planted_study, "cg_low_diversity-clipart")
    pieces = [
        "predictions.parquet",
        "evaluation.parquet",
        "cells.parquet",
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


def test_seeds_are_shown_one_by_one_and_averaged_per_sample_in_contrasts(planted_study, tmp_path):
    results = load(write_study(tmp_path / "twice", seeds=(0, 2)))  # planted equal
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
    assert "11 runs expected: 0 done, 11 new, 0 failed." in page
    assert tables.headline(results)["value"].null_count() == 48
    assert ">0.0" not in page


# ---------------------------------------------------------------------------- the page


def files_below(folder):
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def planted_report(planted_source, tmp_path_factory):
    """Folder of the report on that study, with all its figures; to be read only."""
    folder = tmp_path_factory.mktemp("report") / "report"
    write_report(load(planted_source), folder, COMMAND)
    return folder


@pytest.mark.usefixtures("drawn_figures")
def test_two_writes_give_equal_bytes_and_delete_what_was_there_before(
    planted_study, planted_report, tmp_path
):
    folder = tmp_path / "again"
    for name in ("tables/old.csv", "figures/old.svg", "splits/old.html", "kept.html"):
        write_text(folder / name, "old")
    write_report(load(planted_study), folder, COMMAND)
    first, again = files_below(planted_report), files_below(folder)
    assert again.keys() == first.keys() | {"kept.html"}
    assert {"index.html", "report.md", "tables/headline.csv", "figures/training.svg"} < first.keys()
    differing = [n for n, path in first.items() if path.read_bytes() != again[n].read_bytes()]
    assert differing == []


def test_two_tables_of_one_name_and_a_chart_without_table_are_refused():
    frame = pl.DataFrame({"a": [1]})
    twice = [Section("one", (Table("name", frame), Table("name", frame.clone())))]
    with pytest.raises(ValueError, match="two different tables have the name name"):
        named_tables(twice)
    with pytest.raises(ValueError, match="chart c shows nowhere"):
        named_charts([Section("one", (Chart("c", None, "nowhere", "c", ""),))])
    chart = Chart("c", None, "name", "c", "")
    with pytest.raises(ValueError, match="two charts have the name c"):
        named_charts([Section("one", (Table("name", frame), chart, chart))])


@pytest.fixture
def page(planted_report):
    return (planted_report / "index.html").read_text(encoding="utf-8")


def test_the_page_asks_nobody_for_anything(page):
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page)
    assert not re.search(r"""url\(\s*["']?\s*(https?:)?//""", page)
    assert "@import" not in page


def test_the_only_script_is_the_one_that_the_policy_allows(page):
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy.endswith(f"script-src {script_hash(script)}")
    assert "default-src 'none'" in policy


def test_the_page_is_semantic(page):
    assert page.count("<h1>") == 1
    assert (
        page.count("<table")
        == page.count("<caption>")
        == page.count('role="group" aria-label="Table')
    )
    assert page.count("<svg") == page.count('<svg role="img" aria-label="') > 5
    assert "<th>" not in page  # every head has its scope
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_every_figure_and_table_links_to_its_files(page):
    for figure in re.findall(r"<figure>.*?</figure>", page, flags=re.DOTALL):
        assert re.search(r'href="figures/[^"]+\.svg"', figure)
        assert re.search(r'href="tables/[^"]+\.csv"', figure)
        assert "made with <code>clipgen report" in figure
    captions = re.findall(r"<caption>.*?</caption>", page, flags=re.DOTALL)
    assert all(re.search(r'href="tables/[^"]+\.csv"', caption) for caption in captions)


def test_what_comes_from_outside_is_escaped(page):
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page


def test_every_link_leads_to_a_file_or_a_part_of_the_page(planted_report):
    pages = [planted_report / "index.html", *(planted_report / "splits").glob("*.html")]
    assert len(pages) == 1 + 12
    for path in pages:
        page = path.read_text(encoding="utf-8")
        links = re.findall(r'<a [^>]*?href="([^"]+)"', page)
        assert links
        for link in links:
            if link.startswith("#"):
                assert f'id="{link[1:]}"' in page
            else:
                assert (path.parent / unquote(link)).is_file()


def test_the_text_holds_every_section_and_table_of_the_page(page, planted_report):
    text = (planted_report / "report.md").read_text(encoding="utf-8")
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == ["Findings", *titles]
    lines = [line for line in text.splitlines() if line.startswith("| ---")]
    assert len(lines) == page.count("<table")


def test_a_figure_keeps_its_text_and_prefixes_its_ids(planted_study):
    svg = svg_text(headline_figure(tables.headline(load(planted_study))), "headline")
    assert "test domain quickdraw" in svg
    assert all(found.startswith("headline-") for found in re.findall(r'\bid="([^"]+)"', svg))


def test_losses_of_all_test_domains_lie_within_their_panels():
    lines = {"samples_seen": [64, 128], "loss_floor": [0.0, 0.0]}
    metrics = pl.concat(
        pl.DataFrame({"run": run, "loss": [loss, loss / 2]} | lines)
        for run, loss in (("low", 1.0), ("high", 4.0))
    )
    served = pl.DataFrame(
        {"test_domain": ["sketch", "real"], "setting": "natural_only", "run": ["low", "high"]}
    )
    figure = training_figure(metrics, served)
    bottom, top = figure.axes[1].get_ylim()
    assert bottom == 0
    assert top > 4
