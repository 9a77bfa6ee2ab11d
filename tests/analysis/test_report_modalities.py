"""The section on images and words says what the tables hold, and what two towers cannot tell."""

from __future__ import annotations

import polars as pl
import pytest
from planted_modal_tables import GAPS
from planting import COMMAND, load, write_study

from analysis.report.modality_section import TITLE, modality_sections
from analysis.report.modality_tables import gap_lines
from analysis.report.page import write_report
from analysis.report.section import Chart, Table, Text

ASKED = {
    "settings": ("natural_only", "cg_high_diversity"),
    "analyses": ("similarity", "modalities"),
}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return load(write_study(tmp_path_factory.mktemp("one") / "planted", **ASKED, arm="one"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return load(write_study(tmp_path_factory.mktemp("two") / "planted", **ASKED, arm="two"))


def said(section):
    return " ".join(part.text for part in section.parts if isinstance(part, Text))


def tables(section):
    return {part.name: part.frame for part in section.parts if isinstance(part, Table)}


def charts(section):
    return {part.name: part for part in section.parts if isinstance(part, Chart)}


def test_a_study_without_the_tables_has_no_section(results):
    assert modality_sections(results) == []


def test_one_tower_is_told_layer_by_layer(one):
    (section,) = modality_sections(one)
    assert section.title == TITLE
    text = said(section)
    assert "noise-corrected CKA of images of quickdraw with sentences (9 seen classes)" in text
    assert "same-basis alignment S_id of images of quickdraw with sentences" in text
    assert "Of all nodes together" in text
    assert "lie above chance (−0.05 to 0.05)" in text
    drawn = charts(section)
    assert drawn["modalities-quickdraw-neuron"].data == "modality_pairs"
    assert drawn["modality-gaps-quickdraw"].figure is not None
    assert drawn["modalities-quickdraw-s-id-nc"].figure is not None
    assert {"modality_pairs", "modality_sharing", "modality_gaps"} <= set(tables(section))


def test_two_towers_are_told_where_they_have_a_basis_in_common(two):
    (section,) = modality_sections(two)
    text = said(section)
    assert "Of all nodes together" not in text
    assert "At embedding the noise-corrected same-basis alignment S_id" in text
    assert "At layer4 the noise-corrected same-basis" not in text
    assert "At layer4 the noise-corrected CKA" in text
    assert not any(name.endswith("neuron") for name in charts(section))
    note = charts(section)["modalities-quickdraw-s-id-nc"].note
    assert "numbers are not estimable: the CSV says why" in note
    rows = tables(section)["modality_pairs"].filter(measure="s_id_nc", classes="seen")
    inner = rows.filter(pl.col("site") != "embedding")
    assert inner["value"].null_count() == inner.height > 0
    assert set(inner["note"]) == {"not estimable: two towers have no basis in common"}


def test_pairs_with_the_test_domain_are_its_images_with_sentences(one):
    rows = tables(modality_sections(one)[0])["modality_pairs"]
    mine = rows.filter(test_domain="quickdraw", pairs="with_test_domain")
    assert set(mine.select("domain_a", "domain_b").rows()) == {("quickdraw", "text")}
    others = rows.filter(test_domain="quickdraw", pairs="others")
    assert "quickdraw" not in set(others["domain_a"])
    assert set(others["domain_b"]) == {"text"}


def test_gaps_stand_beside_those_before_training_and_of_images(one):
    lines = gap_lines(one).filter(test_domain="quickdraw", site="embedding", setting="natural_only")
    found = {row["apart_from"]: row["value"] for row in lines.iter_rows(named=True)}
    gap = GAPS["one"]
    assert found == {"text": gap, "text_untrained": gap + 1, "images": pytest.approx(gap / 2)}
    text = said(modality_sections(one)[0])
    assert "natural only 2.00, 95" in text
    assert "3.00, 95" in text
    assert "before training" in text


def test_seeds_are_counted_and_not_merged(tmp_path):
    many = load(write_study(tmp_path / "planted", **ASKED, seeds=(0, 1)))
    (section,) = modality_sections(many)
    assert "in the mean of 2 draws and seeds" in said(section)
    over = tables(section)["modality_over_runs"]
    assert set(over["seeds"]) == {2}


def test_the_section_is_in_the_report_with_its_tables(one, tmp_path):
    page = write_report(one, tmp_path / "report" / "one", COMMAND)
    assert TITLE in page.read_text()
    for name in ("modality_pairs", "modality_sharing", "modality_gaps"):
        assert (page.parent / "tables" / f"{name}.csv").is_file()
