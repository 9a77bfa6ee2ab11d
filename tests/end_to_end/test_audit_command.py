"""`clipgen split audit` on a finished study: nothing to find there, and every planted leak."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from workplace import Workplace

from gen.cli import main
from gen.datasets.samples import COLUMNS, SCHEMA_VERSION
from gen.sweep.study import load_study
from splits.files import write_json

HIGH = "cg_high_diversity.sketch"


@pytest.fixture
def copy(finished: Workplace, tmp_path: Path) -> Workplace:
    """The finished study, to be damaged."""
    for part in ("data", "runs"):
        shutil.copytree(finished.folder / part, tmp_path / part)
    return Workplace(tmp_path)


def audit(workplace: Workplace, *arguments: str) -> int:
    folder = workplace.folder
    places = ["--data", str(folder / "data"), "--runs", str(folder / "runs")]
    return main(["split", "audit", "debug", *arguments, *places])


def findings(workplace: Workplace, **values: str) -> pl.DataFrame:
    return pl.read_parquet(workplace.study / "audit" / "findings.parquet").filter(**values)


def add_to_mixture(workplace: Workplace, name: str, rows: pl.DataFrame) -> None:
    path = workplace.study / "mixtures" / name / "mixture.parquet"
    table = pl.read_parquet(path)
    pl.concat([table, rows.select(table.columns)]).sort("id").write_parquet(path)


def test_a_clean_study_has_no_error_and_every_promised_file(
    copy: Workplace, capsys: pytest.CaptureFixture
) -> None:
    assert audit(copy) == 0
    folder = copy.study / "audit"
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}.{kind}" for name in ("findings", "statistics") for kind in ("csv", "parquet")),
        *("near_duplicates.parquet", "audit.svg", "audit.md"),
    }
    assert findings(copy, severity="error").is_empty()
    assert pl.read_csv(folder / "findings.csv").columns == findings(copy).columns[:-1]
    assert pl.read_csv(folder / "findings.csv").height == findings(copy).height
    shown = capsys.readouterr().out
    assert "held_out_cell" in shown
    assert "not applicable: the study has no base" in shown
    assert str(folder / "audit.md") in shown
    assert "No error was found" in (folder / "audit.md").read_text(encoding="utf-8")


def test_the_statistics_are_those_of_the_manifests(copy: Workplace) -> None:
    assert audit(copy) == 0
    rows = pl.read_parquet(copy.study / "audit" / "statistics.parquet")
    manifests = {
        path.parent.name: json.loads(path.read_text())
        for path in copy.study.glob("mixtures/*/manifest.json")
    }
    assert set(rows["mixture"]) == set(manifests)
    for row in rows.iter_rows(named=True):
        manifest = manifests[row["mixture"]]
        shown = [count for domain in manifest["realised"] for count in domain]
        assert row["samples"] == manifest["size"] == sum(shown)
        assert row["domains"] == sum(any(domain) for domain in manifest["realised"])


def test_a_held_out_sample_in_a_mixture_is_an_error_that_names_it(
    copy: Workplace, capsys: pytest.CaptureFixture
) -> None:
    study = load_study("debug", [], data=copy.folder / "data", runs=copy.folder / "runs")
    leak = study.dataset.samples.filter(
        pl.col("split") == "train",
        pl.col("domain") == "sketch",
        pl.col("class_name").is_in(study.draws[0]),
    ).head(1)
    add_to_mixture(copy, HIGH, leak)
    assert audit(copy) == 2
    message = capsys.readouterr().err
    assert f"held_out_cell in {HIGH}" in message
    assert leak["id"][0] in message
    assert "Traceback" not in message
    assert "held_out_cell: clipgen split build STUDY" in message  # an advice for each check
    assert "other_than_planned: clipgen split build STUDY" in message
    errors = findings(copy, severity="error").select("mixture", "check", "count").rows()
    assert set(errors) == {(HIGH, "held_out_cell", 1), (HIGH, "other_than_planned", 1)}


def test_building_again_mends_a_mixture_as_the_advice_says(copy: Workplace) -> None:
    samples = pl.read_parquet(copy.folder / "data" / "icons-debug" / "samples.parquet")
    add_to_mixture(copy, HIGH, samples.filter(split="test", domain="real").head(2))
    assert audit(copy) == 2
    places = ["--data", str(copy.folder / "data"), "--runs", str(copy.folder / "runs")]
    assert main(["split", "build", "debug", *places]) == 0
    assert audit(copy) == 0


def test_a_test_sample_in_a_mixture_is_an_error(copy: Workplace) -> None:
    samples = pl.read_parquet(copy.folder / "data" / "icons-debug" / "samples.parquet")
    add_to_mixture(copy, HIGH, samples.filter(split="test", domain="real").head(2))
    assert audit(copy) == 2
    errors = findings(copy, severity="error").select("check", "count").rows()
    assert set(errors) == {("test_sample_in_mixture", 2), ("other_than_planned", 2)}


def test_a_mixture_that_is_not_built_is_audited_as_planned_and_says_so(copy: Workplace) -> None:
    shutil.rmtree(copy.study / "mixtures" / HIGH)
    assert audit(copy) == 0
    row = findings(copy, mixture=HIGH, check="other_than_planned").row(0, named=True)
    assert row["severity"] == "not_checked"
    assert "is not built" in row["detail"]


def test_a_dataset_without_hashes_is_never_passed_in_silence(
    copy: Workplace, capsys: pytest.CaptureFixture
) -> None:
    path = copy.folder / "data" / "icons-debug" / "samples.parquet"
    table = pl.read_parquet(path).with_columns(phash=pl.lit(None, pl.UInt64))
    table.write_parquet(path)
    assert audit(copy) == 0
    assert "not checked: the dataset has no perceptual hashes" in capsys.readouterr().out
    figure = (copy.study / "audit" / "audit.svg").read_text(encoding="utf-8")
    assert "not checked, no perceptual hashes" in figure


def test_captions_of_the_base_are_counted(copy: Workplace) -> None:
    study = load_study("debug", [], data=copy.folder / "data", runs=copy.folder / "runs")
    name = study.draws[0][0]
    captions = [f"a {name}s", f"two {name.upper()}s", "nothing"]
    write_base(copy.folder / "data" / "base", pl.DataFrame({"caption": captions}))
    assert audit(copy, "base=base") == 0
    row = findings(copy, check="caption_leak").row(0, named=True)
    assert (row["severity"], row["count"]) == ("warning", 2)
    leaks = pl.read_parquet(copy.study / "audit" / "caption_leaks.parquet")
    assert leaks.filter(class_name=name)["share"].to_list() == [pytest.approx(2 / 3)]


def test_a_base_that_holds_a_tested_held_out_image_is_refused(
    copy: Workplace, capsys: pytest.CaptureFixture
) -> None:
    study = load_study("debug", [], data=copy.folder / "data", runs=copy.folder / "runs")
    tests = study.dataset.samples.filter(pl.col("split") != "train", domain="sketch")
    held_out = pl.col("class_name").is_in(study.draws[0])
    leaks = pl.concat([tests.filter(held_out).head(2), tests.filter(~held_out).head(1)])
    columns = leaks.select("sha256", "phash", caption=pl.lit("a thing"))
    write_base(copy.folder / "data" / "base", columns)
    assert audit(copy, "base=base") == 2
    message = capsys.readouterr().err
    assert "held_out_image_in_base in base: 2 of" in message
    assert f"{leaks['id'][0]} = base/0" in message
    counts = dict(findings(copy).select("check", "count").iter_rows())
    assert counts["identical_image_in_base"] == 1
    assert counts["near_duplicate_in_base"] >= 3
    rows = pl.read_parquet(copy.study / "audit" / "base_duplicates.parquet")
    assert set(rows.filter(kind="identical_image")["id_b"]) == set(leaks["id"])
    assert audit(copy) == 0  # without the base nothing is left of it
    assert not (copy.study / "audit" / "base_duplicates.parquet").exists()


def test_a_base_that_is_stored_at_another_size_is_not_passed_in_silence(copy: Workplace) -> None:
    columns = pl.DataFrame({"caption": ["a thing"], "sha256": ["x"]})
    write_base(copy.folder / "data" / "base", columns, short_side=40)
    assert audit(copy, "base=base") == 0
    rows = findings(copy, check="held_out_image_in_base").select("severity", "detail").rows()
    assert {severity for severity, _ in rows} == {"ok", "not_checked"}
    assert any("short side kept in the dataset, 40 in the base" in detail for _, detail in rows)


def write_base(folder: Path, given: pl.DataFrame, short_side: int = 0) -> None:
    """An image-caption dataset, as far as an audit reads it."""
    folder.mkdir()
    rows = given.with_columns(
        id=pl.format("base/{}", pl.int_range(pl.len())),
        domain=pl.lit("base"),
        split=pl.lit("train"),
    )
    missing = [pl.lit(None, kind).alias(key) for key, kind in COLUMNS.items() if key not in rows]
    rows.with_columns(missing).select(*COLUMNS).write_parquet(folder / "samples.parquet")
    manifest = {"schema_version": SCHEMA_VERSION, "classes": [], "domains": [folder.name]}
    manifest |= {"samples": rows.height, "sha256": "b" * 64}
    manifest["config"] = {"name": folder.name, "short_side": short_side}
    write_json(folder / "manifest.json", manifest)


def test_a_trained_run_compares_images_as_it_sees_them(copy: Workplace) -> None:
    assert audit(copy, "--embeddings", "cg_high", "--cosine", "-1") == 0
    rows = pl.read_parquet(copy.study / "audit" / "near_duplicates.parquet")
    twins = rows.filter(kind="embedding")
    samples = pl.read_parquet(copy.folder / "data" / "icons-debug" / "samples.parquet")
    assert set(twins["id_b"]) == set(samples.filter(pl.col("split") != "train")["id"])
    assert set(twins["split_a"]) == {"train"}
    assert twins["cosine"].is_between(-1, 1.0001).all()
    assert twins["cosine"].is_sorted(descending=True)
    row = findings(copy, check="near_duplicate_embedding").row(0, named=True)
    assert row["count"] == twins.height


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--distance", "40"], "--distance is 40"),
        (["--cosine", "7"], "--cosine is 7"),
        (["--embeddings", "nothing"], "run `nothing` is unknown"),
        (["--embeddings", "cg_high", "training.samples_seen=64"], "is not trained"),
    ],
)
def test_a_mistake_is_explained(
    finished: Workplace, capsys: pytest.CaptureFixture, arguments: list[str], told: str
) -> None:
    assert audit(finished, *arguments) == 2
    assert told in capsys.readouterr().err


def test_a_mixture_that_cannot_be_read_is_named(
    copy: Workplace, capsys: pytest.CaptureFixture
) -> None:
    path = copy.study / "mixtures" / HIGH / "mixture.parquet"
    path.write_bytes(b"no table")
    assert audit(copy) == 2
    assert str(path) in capsys.readouterr().err
