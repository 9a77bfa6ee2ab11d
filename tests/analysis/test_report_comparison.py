"""Two studies side by side: paired where their test samples are the same, else told why not."""

import re
from dataclasses import replace

import polars as pl
import pytest
from planting import DRAWS, write_study

from analysis.report.study import load_results
from analysis.report.study_comparison import (
    ComparedStudy,
    compare_scores,
    differing_keys,
    only_in,
)
from analysis.report.study_comparison_page import unpaired_lines, write_study_comparison
from analysis.statistics import holm
from gen.cli import main

SETTINGS = ("natural_only", "cg_high_diversity")


def load(study, name="planted"):
    plan = replace(study.plan, name=name)
    return load_results(plan, study.folder, every_class=True)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("first") / "planted", settings=SETTINGS)


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """The seed in which cg_high_diversity gets one more of ten right, and a setting more."""
    settings = (*SETTINGS, "leave_out_domain")
    return write_study(tmp_path_factory.mktemp("second") / "planted", seeds=(1,), settings=settings)


def test_differences_are_the_planted_ones_on_the_same_samples(first, second):
    table = compare_scores(load(first), load(second)).filter(split="test")
    assert table.height == 2 * 2 * 2  # settings, test domains, class sets
    for row in table.iter_rows(named=True):
        gain = 0.1 * (row["setting"] == "cg_high_diversity" and row["classes"] == "held_out")
        assert row["difference"] == pytest.approx(row["value_b"] - row["value_a"])
        assert row["difference"] == pytest.approx(gain)
        assert row["lo"] <= row["difference"] <= row["hi"]
        assert row["n"] == {"held_out": 30, "seen": 90}[row["classes"]]
        assert row["unpaired"] is None
    assert table["p_holm"].to_list() == pytest.approx(holm(table["p"].to_list()))


def of_dataset(results, sha256):
    return replace(results, plan=replace(results.plan, dataset_sha256=sha256))


def test_another_dataset_is_no_pair_and_says_so(first, second):
    other = load(second)
    table = compare_scores(load(first), of_dataset(other, "e" * 64))
    assert table["unpaired"].unique().to_list() == ["their datasets differ"]
    unknown = compare_scores(load(first), of_dataset(other, ""))
    assert unknown["unpaired"].unique().to_list() == ["the dataset of one is not known"]
    assert table["p"].null_count() == table.height
    assert table["difference"].null_count() == 0


def test_other_held_out_classes_are_no_pair(first, tmp_path):
    other = write_study(tmp_path / "planted", draws=DRAWS[1:2], settings=SETTINGS)
    table = compare_scores(load(first), load(other))
    assert table["unpaired"].unique().to_list() == ["their held-out classes differ"]


def test_other_test_samples_are_no_pair(first, second):
    other = load(second)
    fewer = replace(other, predictions=other.predictions.filter(~pl.col("id").str.ends_with("3")))
    table = compare_scores(load(first), fewer)
    assert table["unpaired"].unique().to_list() == [
        "their predictions are not of the same test samples"
    ]


def test_a_seed_that_has_a_score_and_no_predictions_is_no_pair(first, tmp_path):
    twice = load(write_study(tmp_path / "planted", seeds=(0, 1), settings=SETTINGS))
    name = next(run.name for run in twice.plan.runs if run.seed == 1)
    lost = replace(twice, predictions=twice.predictions.filter(pl.col("run") != name))
    table = compare_scores(load(first), lost)
    assert table["seeds_b"].unique().to_list() == [2]
    reasons = dict(table.select("setting", "unpaired").rows())
    told = "their scores and predictions are not of the same seeds"
    assert reasons == {"natural_only": told, "cg_high_diversity": None}


def test_a_missing_run_is_named_with_its_study(first, second, tmp_path):
    nothing = load_results(replace(second.plan, name="other"), tmp_path / "nothing")
    table = compare_scores(load(first), nothing)
    assert table["unpaired"].unique().to_list() == ["they are missing in other"]
    assert table["value_b"].null_count() == table.height
    assert unpaired_lines(table) == [
        "Not paired, because they are missing in other: natural only in quickdraw, CG high "
        "diversity in quickdraw, natural only in clipart, CG high diversity in clipart."
    ]
    assert table["difference"].null_count() == table.height


def test_keys_that_differ_are_told_with_both_values():
    a = {"study": {"seeds": [0], "training": {"learning_rate": 1e-3}}, "model": {"kind": "clip"}}
    b = {"study": {"seeds": [0], "training": {"learning_rate": 2e-3}}, "model": {"dim": 8}}
    assert differing_keys(a, b) == [
        ("study.training.learning_rate", "0.001", "0.002"),
        ("model.kind", "clip", ""),
        ("model.dim", "", "8"),
    ]


def test_settings_of_one_study_alone_are_listed(first, second):
    assert only_in(load(first), load(second)) == []
    assert only_in(load(second), load(first)) == [
        "leave_out_domain in quickdraw",
        "leave_out_domain in clipart",
    ]


def test_the_page_shows_scores_reasons_and_configuration(first, second, tmp_path):
    a = ComparedStudy(load(first), {"study": {"name": "planted", "seeds": [0]}})
    b = ComparedStudy(load(second, "other"), {"study": {"name": "other", "seeds": [1]}})
    path = write_study_comparison(a, b, tmp_path, "clipgen report planted other")
    assert path.name == "compare-with-other.html"
    page = path.read_text(encoding="utf-8")
    assert "16 scores are in both studies; 16 can be compared" in page
    assert "Only in other: leave_out_domain in quickdraw" in page
    assert re.search(r"study\.seeds</th>\s*<td>\[0\]</td>\s*<td>\[1\]</td>", page)
    assert "study.name" not in page
    assert pl.read_csv(tmp_path / "compare-with-other.csv").height == 16
    before = path.read_bytes()
    write_study_comparison(a, b, tmp_path, "clipgen report planted other")
    assert path.read_bytes() == before


def test_three_studies_cannot_be_compared(capsys):
    assert main(["report", "demo", "icons", "diversity"]) == 2
    assert "3 studies are named: demo, icons, diversity" in capsys.readouterr().err
