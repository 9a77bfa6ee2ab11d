"""One tower and two are held against each other on equal terms, and only where both are there."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from planted_modal_tables import GAPS
from planting import DRAWS, write_arms

from analysis.report.arms import arm_differences
from analysis.report.arms_page import arms_sections
from analysis.report.section import Table, Text
from analysis.report.study import load_results
from analysis.report.study_comparison import ComparedStudy
from analysis.report.towers import (
    ACCURACY,
    APART,
    DOMAINS,
    GAP,
    QUANTITIES,
    SEEN,
    TOWERS,
    WORDS,
    accuracies_by_seed,
    apart,
    compared_arms,
    generalization_gaps,
    tower_differences,
    tower_spread,
)
from analysis.report.towers_section import (
    TITLE,
    quantity_sentence,
    taught_texts,
    towers_sections,
)

ASKED = {
    "settings": ("natural_only", "cg_high_diversity"),
    "analyses": ("similarity", "modalities"),
}
ARMS = {"two": ASKED, "sigmoid": ASKED}
"""`sigmoid`, which has one tower here, gains of GAIN_OF_ARM"""
KINDS = {"two": "clip", "sigmoid": "clippo"}


def load(studies):
    return [
        ComparedStudy(
            load_results(study.plan, study.folder),
            {"study": {}, "model": {"kind": KINDS[study.plan.arm]}},
        )
        for study in studies
    ]


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    return load(write_arms(tmp_path_factory.mktemp("towers") / "planted", ARMS))


@pytest.fixture(scope="module")
def table(arms):
    return tower_differences(*arms)


def test_only_arms_of_both_kinds_are_held_against_each_other(arms):
    two, one = arms
    assert compared_arms(arms) == [(two, one)]
    assert compared_arms([one, two]) == [(two, one)]
    assert compared_arms([two, two]) == []
    silent = ComparedStudy(one.results, {"study": {"model": "m"}})
    assert towers_sections([two, silent]) == []


def test_every_quantity_is_compared_in_every_setting_and_test_domain(table):
    assert table.schema == TOWERS
    assert set(table["quantity"]) == set(QUANTITIES)
    places = table.group_by("quantity").len()
    assert set(places["len"]) == {4}
    assert set(table["arm"]) == {"sigmoid"}
    assert set(table["baseline"]) == {"two"}


def test_accuracies_are_paired_by_test_sample(arms, table):
    pairs = arm_differences(arms).filter(split="test")
    keys = ["test_domain", "setting"]
    both = table.filter(quantity=ACCURACY).join(pairs, on=keys, suffix="_arms")
    assert both.height == 4
    assert both["value"].to_list() == both["difference"].to_list()
    assert both["lo"].to_list() == both["lo_arms"].to_list()
    gained = dict(both.filter(test_domain="quickdraw").select("setting", "value").rows())
    assert gained["cg_high_diversity"] == pytest.approx(0.2)
    assert gained["natural_only"] == 0


def test_seen_classes_are_compared_beside_held_out_ones(table):
    rows = table.filter(quantity=SEEN, test_domain="quickdraw", setting="cg_high_diversity")
    assert rows["value"].to_list() == [0]  # only held-out classes were planted to gain
    held_out = table.filter(quantity=ACCURACY, test_domain="quickdraw", setting="cg_high_diversity")
    assert rows["n"][0] != held_out["n"][0]


def test_pairs_of_texts_are_said_to_cost_images(arms):
    one = arms[1]
    assert taught_texts(one) == ""
    pairs = {"text_pairs": {"source": "captions", "share": 0.25}}
    config = one.config | {"study": {"training": pairs}}
    told = taught_texts(ComparedStudy(one.results, config))
    assert told.startswith(" 25.0\N{NO-BREAK SPACE}% of every batch of sigmoid are pairs of texts")
    pairs["text_pairs"]["share"] = 0
    assert taught_texts(ComparedStudy(one.results, config)) == ""


def test_the_gap_falls_by_what_held_out_classes_gain(arms, table):
    rows = table.filter(quantity=GAP, setting="cg_high_diversity", test_domain="quickdraw")
    row = rows.row(0, named=True)
    assert row["value"] == pytest.approx(-0.2)
    assert row["lo"] < row["value"] < row["hi"]
    own = generalization_gaps(arms[0].results).filter(
        setting="cg_high_diversity", test_domain="quickdraw"
    )
    assert row["value_baseline"] == own["value"][0]


def test_independent_intervals_add_their_squares_side_by_side():
    rows = pl.DataFrame(
        {"value": [5.0], "lo": [2.0], "hi": [6.0], "value_b": [1.0], "lo_b": [0.0], "hi_b": [5.0]}
    )
    found = rows.rename({"lo": "lo", "hi": "hi"}).select(apart("", "_b")).row(0)
    assert found == (4.0, 4.0 - 5.0, 4.0 + 2**0.5)


def test_sharing_is_compared_over_the_same_classes(table):
    """Both have the same planted similarity: what is left out of one is left out of the other."""
    rows = table.filter(quantity=DOMAINS)
    assert rows["value"].to_list() == pytest.approx([0.0] * 4)
    assert rows["lo"].to_list() == pytest.approx([0.0] * 4, abs=1e-6)
    words = table.filter(quantity=WORDS)
    assert words["value"].to_list() == pytest.approx([0.1] * 4)
    assert words["lo"].to_list() == pytest.approx([0.1] * 4, abs=1e-6)


def test_the_modality_gap_is_that_of_the_test_domain(table):
    rows = table.filter(quantity=APART)
    assert rows["value"].to_list() == pytest.approx([0.2 * (GAPS["one"] - GAPS["two"])] * 4)
    assert (rows["hi"] < 0).all()


def test_a_tower_without_the_primary_site_is_read_at_equal_relative_depth(arms):
    two, one = arms
    similarity = one.results.analyses["similarity"]
    names = {"layer1": "b1", "layer2": "b2", "layer3": "b3", "layer4": "b4"}
    renamed = similarity.with_columns(pl.col("site").replace(names))
    lower = renamed.filter(pl.col("site") != "b3")  # inner sites: stem, b1, b2, b4
    depths = {"stem": 0, "b1": 1, "b2": 2, "b4": 3, "embedding": 4}
    lower = lower.with_columns(depth=pl.col("site").replace_strict(depths, return_dtype=pl.Int64))
    moved = _with(one, similarity=lower, primary=("layer2", "cka"))
    first = _with(two, primary=("layer2", "cka"))
    found = tower_differences(first, moved).filter(quantity=DOMAINS)
    assert found["value"].to_list() == pytest.approx([0.0] * 4)  # layer2 is at 1/2, b2 at 2/3


def _with(arm, primary, similarity=None):
    analyses = dict(arm.results.analyses)
    if similarity is not None:
        analyses["similarity"] = similarity
    plan = replace(arm.results.plan, primary=primary)
    return ComparedStudy(replace(arm.results, plan=plan, analyses=analyses), arm.config)


def test_words_are_a_sentence_per_quantity_as_intervals_allow(table):
    told = {name: quantity_sentence(name, table.filter(quantity=name)) for name in QUANTITIES}
    assert told[ACCURACY].startswith("Accuracy on held-out classes: of 4 comparisons, one tower")
    assert "is above two in 2, not to be told from two in 2" in told[ACCURACY]
    assert "below two in 4" in told[APART]
    one = table.filter(quantity=WORDS).head(1)
    assert quantity_sentence(WORDS, one) == (
        "Sharing of images with words in the embedding: one tower lies above two "
        "(+0.10, 95\N{NO-BREAK SPACE}% +0.10 to +0.10)."
    )


def test_what_was_not_asked_for_is_said_to_be_missing(tmp_path):
    asked = {"settings": ("natural_only",), "analyses": ("similarity",)}
    arms = load(write_arms(tmp_path / "planted", {"two": asked, "sigmoid": asked}))
    (section,) = towers_sections(arms)
    text = " ".join(part.text for part in section.parts if isinstance(part, Text))
    assert "Without a number in any comparison: sharing of images with words" in text
    assert "modality gap in the embedding." in text


def test_the_page_over_arms_has_the_section_with_its_table(arms):
    sections = {part.title: part for part in arms_sections(arms, arm_differences(arms))}
    names = [part.name for part in sections[TITLE].parts if isinstance(part, Table)]
    assert names == ["tower_differences"]


def test_draws_and_seeds_stand_beside_samples_and_are_not_merged(tmp_path):
    asked = ASKED | {"draws": DRAWS, "seeds": (0, 1)}
    arms = load(write_arms(tmp_path / "planted", {"two": asked, "sigmoid": asked}))
    table = tower_differences(*arms)
    assert set(table.filter(quantity=ACCURACY)["seed"]) == {None}
    assert set(table.filter(quantity=GAP)["seed"]) == {0, 1}
    spread = tower_spread(table, accuracies_by_seed(*arms))
    assert spread.height == 4 * len(QUANTITIES)
    assert set(spread["draws"]) == {3}
    assert set(spread["seeds"]) == {2}
    (section,) = towers_sections(arms)
    assert "tower_spread" in [part.name for part in section.parts if isinstance(part, Table)]
