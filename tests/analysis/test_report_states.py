"""What in a study's folder is not of the study as it is now is named, and enters no number."""

import json
import shutil
from dataclasses import replace

import polars as pl
import pytest
from filelock import FileLock
from planting import RESULTS_KEY, load, write_study

from analysis.report import tables
from analysis.report.study import _read_tables, load_results
from analysis.report.summary import banner_lines, is_complete
from analysis.report.views import exposure_view, provenance_view
from gen.runs import ATTEMPTS, cell_of
from splits.files import write_text


def run_named(study, start):
    return next(run.name for run in study.plan.runs if run.name.startswith(start))


def changed_record(study, name, **values):
    path = study.folder / name / "run.json"
    write_text(path, json.dumps(json.loads(path.read_text()) | values))


def states_of(results):
    """State and reason of every run that is not done."""
    rows = results.runs.filter(pl.col("state") != "done")
    return {row["run"]: (row["state"], row["reason"]) for row in rows.iter_rows(named=True)}


def test_failed_interrupted_and_outdated_runs_do_not_count_as_finished(planted_study):
    plan, folder = planted_study.plan, planted_study.folder
    first, second = plan.runs[1].name, plan.runs[2].name
    (folder / first / "DONE").unlink()
    (folder / first / "FAILED").write_text("out of memory\nTraceback")
    (folder / second / "DONE").unlink()
    outdated = replace(plan.runs[3], results_key="key of this code")
    results = load_results(replace(plan, runs=(*plan.runs[:3], outdated)), folder)
    assert results.runs["state"].to_list() == ["done", "failed", "interrupted", "stale"]
    assert results.evaluation["run"].unique().to_list() == [plan.runs[0].name]
    lines = banner_lines(results)
    assert lines[0] == "4 runs expected: 1 done, 0 new, 1 failed, 1 stale, 1 interrupted."
    assert lines[1] == f"failed: {first} (out of memory)"
    assert lines[2].startswith(f"stale: {outdated.name} (evaluated for other held-out classes")
    assert lines[3] == f"interrupted: {second}"


def test_a_run_that_a_process_holds_is_running(planted_study):
    name = planted_study.plan.runs[0].name
    (planted_study.folder / name / "DONE").unlink()
    (planted_study.folder / name / "FAILED").write_text("of an earlier attempt")
    with FileLock(planted_study.folder / name / "lock"):
        assert states_of(load(planted_study)) == {name: ("running", "")}
    assert states_of(load(planted_study)) == {name: ("failed", "of an earlier attempt")}


def test_a_run_whose_configuration_changed_is_stale_and_names_the_former_one(planted_study):
    plan, first = planted_study.plan, planted_study.plan.runs[0]
    changed = replace(first, name=f"{cell_of(first.name)}-{'0' * 12}")
    results = load_results(replace(plan, runs=(changed, *plan.runs[1:])), planted_study.folder)
    reason = f"not begun; its configuration or mixture was another one: {first.name}"
    assert states_of(results) == {changed.name: ("stale", reason)}
    assert results.strangers == (first.name,)
    assert tables.headline(results).filter(run=changed.name)["value"].is_null().all()


def test_a_run_that_failed_before_it_wrote_anything_is_no_damage(planted_study):
    name = planted_study.plan.runs[0].name
    shutil.rmtree(planted_study.folder / name)
    write_text(planted_study.folder / name / "FAILED", "no room on the disk")
    results = load(planted_study)
    assert states_of(results) == {name: ("failed", "no room on the disk")}
    assert results.problems == ()


def test_a_run_that_was_killed_before_it_wrote_anything_is_interrupted(planted_study):
    name = planted_study.plan.runs[0].name
    shutil.rmtree(planted_study.folder / name)
    assert states_of(load(planted_study)) == {name: ("new", "")}
    write_text(planted_study.folder / name / ATTEMPTS, "{}\n")
    assert states_of(load(planted_study)) == {name: ("interrupted", "")}


def test_a_twin_of_a_run_that_was_trained_anew_is_stale(planted_study):
    first, second, *others = planted_study.plan.runs
    record = json.loads((planted_study.folder / first.name / "run.json").read_text())
    plan = replace(planted_study.plan, runs=(second, *others))  # the first one is of another arm
    twin = replace(second, twin=first.name)

    def found():
        runs = (twin, *others)
        return states_of(load_results(replace(plan, runs=runs), planted_study.folder))

    assert found() == {
        second.name: ("stale", f"{first.name}, whose weights it has, was trained anew")
    }
    changed_record(planted_study, first.name, checkpoint="")
    assert found() == {}
    changed_record(planted_study, first.name, checkpoint=record["checkpoint"])
    (planted_study.folder / first.name / "run.json").write_text("[]")
    assert found() == {}


def test_a_run_of_another_mixture_is_stale(planted_study):
    name = run_named(planted_study, "cg_low_diversity-clipart")
    changed_record(planted_study, name, mixture_sha256="f" * 64)
    results = load(planted_study)
    assert states_of(results) == {name: ("stale", "trained on another mixture than the study's")}
    assert tables.headline(results).filter(run=name)["value"].null_count() == 4


def test_a_run_of_another_configuration_is_stale(planted_study):
    name = run_named(planted_study, "cg_low_diversity-clipart")
    path = planted_study.folder / name / "config.yaml"
    path.write_text(path.read_text().replace("0.0007", "0.0008"))
    assert states_of(load(planted_study)) == {
        name: ("stale", "its config.yaml is that of another run")
    }


def test_a_folder_that_holds_another_run_is_stale(planted_study):
    name, other = (
        run_named(planted_study, f"cg_low_diversity-{domain}")
        for domain in ("clipart", "quickdraw")
    )
    shutil.rmtree(planted_study.folder / name)
    shutil.copytree(planted_study.folder / other, planted_study.folder / name)
    results = load(planted_study)
    assert states_of(results) == {name: ("stale", f"its run.json is that of {other}")}
    assert not is_complete(results)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("predictions", "its predictions are of other weights than the run's"),
        ("evaluation", "its evaluation.parquet is not that of its predictions.parquet"),
        ("cells", "its cells.parquet is not that of its predictions.parquet"),
    ],
)
def test_a_table_of_another_run_is_named_and_enters_no_number(planted_study, table, reason):
    name, other = (
        run_named(planted_study, f"{setting}-quickdraw")
        for setting in ("cg_high_diversity", "cg_low_diversity")
    )
    folder = planted_study.folder
    shutil.copy(folder / other / f"{table}.parquet", folder / name / f"{table}.parquet")
    results = load(planted_study)
    assert states_of(results) == {name: ("stale", reason)}
    assert f"stale: {name} ({reason})" in banner_lines(results)
    similarity = results.analyses["similarity"]
    for found in (results.evaluation, results.predictions, results.cells, similarity):
        assert name not in found["run"].to_list()
        assert found["run"].n_unique() == len(planted_study.plan.runs) - 1


def test_no_number_of_a_stale_run_enters_the_report(planted_study):
    stale, outdated = (run.name for run in planted_study.plan.runs[1:3])
    changed_record(planted_study, stale, mixture_sha256="f" * 64, samples_seen=7, git="other")
    write_text(planted_study.folder / outdated / "DONE", "key of other code")
    results = load(planted_study)
    assert set(states_of(results)) == {stale, outdated}
    assert not results.metrics["run"].is_in([stale, outdated]).any()
    cost = tables.cost(results)
    rows = cost.filter(pl.col("run").is_in([stale, outdated])).rows(named=True)
    for row in rows:
        assert (row["state"], row["train_seconds"], row["samples_seen"]) == ("stale", None, None)
    assert tables.equal_compute(cost) is True
    assert ["git", "0123abc", "9"] in provenance_view(results).rows
    assert len([row for row in provenance_view(results).rows if row[0] == "git"]) == 1


def test_a_run_that_begins_anew_while_tables_are_read_does_not_stop_the_report(
    planted_study, monkeypatch
):
    def read_tables(*args):
        for path in planted_study.folder.glob("*/DONE"):
            path.unlink()
        return _read_tables(*args)

    monkeypatch.setattr("analysis.report.study._read_tables", read_tables)
    results = load(planted_study)
    assert is_complete(results)
    assert results.wall_seconds == 3600


def test_weights_that_are_newer_than_their_tables_make_a_run_stale(planted_study):
    name = planted_study.plan.runs[0].name
    changed_record(planted_study, name, checkpoint="a" * 64)
    ((run, (state, _)),) = states_of(load(planted_study)).items()
    assert (run, state) == (name, "stale")


def test_runs_of_another_study_are_listed_and_change_nothing(planted_study, tmp_path):
    before = tables.headline(load(planted_study))
    other = write_study(tmp_path / "other", settings=("leave_out_domain",), seeds=(7,))
    for run in other.plan.runs:
        shutil.copytree(other.folder / run.name, planted_study.folder / run.name)
    results = load(planted_study)
    names = sorted(run.name for run in other.plan.runs)
    assert results.strangers == tuple(names)
    assert banner_lines(results)[-1] == f"not part of this study: {', '.join(names)}"
    assert tables.headline(results).equals(before)


@pytest.mark.parametrize("piece", ["cells.parquet", "analysis/probes.parquet"])
def test_a_truncated_table_is_named_and_the_rest_stands(rich_study, piece):
    name = run_named(rich_study, "upper_bound_low-clipart")
    path = rich_study.folder / name / piece
    path.write_bytes(path.read_bytes()[:-40])
    results = load(rich_study)
    (problem,) = results.problems
    assert problem.startswith(f"{name}/{piece} cannot be read")
    assert tables.headline(results)["value"].null_count() == 0


def test_probes_are_expected_where_the_study_asks_for_them_only(planted_study):
    assert load(planted_study).problems == ()
    asked = load_results(replace(planted_study.plan, probes=True), planted_study.folder)
    count = len(planted_study.plan.runs)
    (problem,) = asked.problems
    assert problem.startswith(f"analysis/probes.parquet is not there in {count} runs: ")
    assert f" and {count - 6} others; `clipgen analyze STUDY --run …`" in problem


# ---------------------------------------------------------------------------- all there is


def test_headline_scores_are_of_final_weights_and_the_first_prompt_set(rich_source):
    results = load(rich_source)
    found = results.headline_scores
    assert found["final"].all()
    assert found.select("prompts", "metric").unique().rows() == [("domain_free", "balanced_top1")]
    assert found.height < results.evaluation.height / 10
    domains = results.predictions.group_by("run").agg(pl.col("domain").unique())
    served = {run.name: set(run.test_domains) for run in rich_source.plan.runs}
    assert {run: set(names) for run, names in domains.iter_rows()} == served
    name = run_named(rich_source, "leave_out_domain-quickdraw")
    scored = found.filter(run=name, domain="quickdraw", classes="held_out", split="test")
    assert scored["value"].to_list() == pytest.approx([0.4])


def test_probes_keep_the_seed_of_their_images_apart_from_the_runs(rich_source):
    probes = load(rich_source).probes
    assert probes["seed"].unique().to_list() == [0]
    assert probes["probe_seed"].unique().sort().to_list() == [0, 1, 2]


def test_what_a_pretrained_model_saw_is_not_known_and_never_zero(rich_source):
    results = load(rich_source)
    assert results.problems == ()
    assert is_complete(results)
    name = run_named(rich_source, "pretrained-ViT-B-32")
    headline = tables.headline(results).filter(run=name, split="test", classes="held_out")
    scores = dict(headline.select("test_domain", "value").rows())
    assert scores == pytest.approx({"quickdraw": 0.6, "clipart": 0.7})
    assert "pretrained-ViT-B-32" not in tables.exposure_counts(results)["setting"].to_list()
    assert tables.equal_compute(tables.cost(results)) is True
    view = exposure_view(tables.exposure_counts(results), results)
    (row, _) = (row for row in view.rows if row[1] == "pretrained: ViT-B-32")
    assert row[2:] == ["not known"] * (len(rich_source.plan.domains) + 1)


def test_a_classifier_has_scores_of_its_head(tmp_path):
    study = write_study(tmp_path / "planted", settings=("natural_only",), prompts=("head",))
    assert load(study).headline_scores["prompts"].unique().to_list() == ["head"]
    assert study.plan.runs[0].results_key == RESULTS_KEY
