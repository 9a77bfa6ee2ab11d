"""The report's section on binding: what is planted in runs' tables stands there, and what follows.

Tables are those of `planted_binding`: beside every row that is shown stand rows of other aspects,
protocols and banks with other numbers.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import polars as pl
import pytest
from planted_binding import (
    ASKED,
    CEILING,
    NOT_FITTED,
    REACHES,
    level,
    point,
    points_of,
    run_of,
    scored,
    with_tables,
)
from planting import load, write_arms, write_study

from analysis.binding.complexity import complexity
from analysis.report.arms import arm_differences
from analysis.report.arms_page import arms_sections
from analysis.report.binding_models import NO_CLASS, NOTHING, UNTOLD
from analysis.report.binding_section import (
    MOST_TOLD,
    TITLE,
    UNLEARNED,
    UNSCORED,
    arm_binding_sections,
    binding_sections,
    claim_sentences,
    model_points,
    run_labels,
)
from analysis.report.binding_tables import (
    ACROSS,
    ANY,
    CONCEPTS,
    MEASURES,
    NOVEL,
    SEEN,
    WITHIN,
    behaviour,
    function_curves,
    function_rows,
    novel_part,
)
from analysis.report.freshness import report_key
from analysis.report.page import named_charts, named_tables
from analysis.report.schemas import BINDING
from analysis.report.section import Chart, Table, Text
from analysis.report.study_comparison import ComparedStudy
from analysis.statistics import Refused

PRETRAINED = "pretrained: ViT-B-32"
MODELS = [
    "natural only",
    "CG high diversity, quickdraw",
    "CG high diversity, clipart",
    PRETRAINED,
]
SHOWN = {
    **{"replaced": (0.96, 1.0), "swap": (0.5, 0.5), "mapped": (0.7, 0.5), "unmapped": (0.52, 0.5)},
    **{"recall": (0.2, 0.5), "reversed": (0.15, 0.5)},
    **{"concept_images": (0.95, 1.0), "concept_texts": (0.95, 1.0)},
    **{"object_images": (0.65, 0.5), "object_texts": (0.85, 0.5), "object_transfer": (0.3, 0.5)},
    **{"attribute_images": (0.8, 0.5), "attribute_texts": (0.75, 0.5)},
}
"""of `natural_only`, two unseen objects: the score, and what a bag reaches"""
SPACE = "\N{NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("binding") / "planted"
    return write_study(folder, pretrained=("ViT-B-32",), **ASKED)


@pytest.fixture(scope="module")
def results(whole):
    return load(whole)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A study that asked for no table of binding."""
    return load(
        write_study(tmp_path_factory.mktemp("bare") / "planted", settings=ASKED["settings"])
    )


def parts_of(sections, kind):
    return [part for section in sections for part in section.parts if isinstance(part, kind)]


def told(**other):
    (sentence,) = claim_sentences(points_of(point(**other)))
    return sentence


# ---------------------------------------------------------------------------- tables


def test_every_measure_is_its_own_row_beside_its_own_bound(results):
    table = behaviour(results).filter(run=run_of(results, "natural_only"), objects=2, part=NOVEL)
    found = {row["measure"]: (row["value"], row["bag"]) for row in table.iter_rows(named=True)}
    assert list(found) == list(MEASURES)
    assert table.height == len(MEASURES)
    for name, numbers in SHOWN.items():
        assert found[name] == pytest.approx(numbers), name


def test_of_three_objects_a_bag_knows_more_of_the_attributes_and_no_more_of_the_scene(results):
    table = behaviour(results).filter(run=run_of(results, "natural_only"), objects=3, part=NOVEL)
    bags = dict(table.select("measure", "bag").rows())
    assert bags["attribute_images"] == pytest.approx(2 / 3)
    assert bags["object_images"] == 0.5


def test_parts_and_sizes_stand_apart_and_models_keep_their_order(results):
    table = behaviour(results)
    known = table.filter(run=run_of(results, "natural_only"), measure=ACROSS)
    found = {(row["objects"], row["part"]): row["value"] for row in known.iter_rows(named=True)}
    levels = {(2, SEEN): 0.55, (2, NOVEL): 0.5, (3, SEEN): 0.45, (3, NOVEL): 0.4}
    assert found == pytest.approx(levels)
    trained_elsewhere = table.filter(run=run_of(results, "pretrained-ViT-B-32"))
    assert set(trained_elsewhere["part"]) == {ANY}
    assert table["run"].unique(maintain_order=True).to_list() == [
        run.name for run in results.plan.runs
    ]


def test_without_a_value_there_is_no_bound_but_the_reason(results):
    gone = results.analyses["binding"].with_columns(
        value=pl.lit(None, pl.Float64), reason=pl.lit(NOT_FITTED)
    )
    table = behaviour(with_tables(results, binding=gone))
    assert table["bag"].null_count() == table.height
    assert set(table["reason"]) == {NOT_FITTED}


def test_a_curve_is_the_mean_over_splits_of_unseen_objects(results):
    curve = function_curves(results).filter(
        run=run_of(results, "cg_high_diversity"), objects=2, side="images", kind="object"
    )
    line = curve.filter(pl.col("class") == "per_object", bank="full").sort("fraction")
    assert line["value"].to_list() == pytest.approx([0.2 * CEILING, 0.9 * CEILING, 0.9 * CEILING])
    assert set(line["splits"]) == {3}
    assert (line["lo"] < line["value"]).all()


def test_the_simplest_class_is_that_of_the_side_that_is_asked(results):
    run = run_of(results, "cg_high_diversity")
    found = complexity(function_rows(results, "images")[run, 2])
    assert (found.simplest.kind, found.simplest.fraction) == REACHES["cg_high_diversity"]
    table = results.analyses["binding_function"].with_columns(
        value=pl.when(side="texts").then(0.0).otherwise("value")
    )
    texts = complexity(function_rows(with_tables(results, binding_function=table), "texts")[run, 2])
    assert texts.simplest is None


def test_unseen_objects_ask_for_binding_where_there_are_any():
    assert novel_part([SEEN, NOVEL]) == NOVEL
    assert novel_part([ANY]) == ANY


# ---------------------------------------------------------------------------- sentences


@pytest.mark.parametrize(
    ("across", "within", "words"),
    [
        (0.5, 0.7, "agrees with what was published of CLIP"),
        (0.6, 0.7, "objects are bound across modalities, too"),
        (0.5, 0.5, "less than was published of CLIP"),
        (0.6, 0.5, "although linear probes do not find it in images"),
    ],
)
def test_a_model_is_bound_where_the_lower_end_is_above_a_bag(across, within, words):
    sentence = told(**level(ACROSS, 0.9, across), **level(WITHIN, 0.9, within))
    assert words in sentence
    others = ("agrees with", "bound across modalities, too", "less than", "although linear probes")
    assert sum(other in sentence for other in others) == 1


def test_a_sentence_says_the_scores_and_what_carries_the_objects():
    assert told() == (
        f"M, scenes of unseen objects: an image prefers its caption to one with a value replaced "
        f"in 97.0{SPACE}% and to the swap in 52.0{SPACE}% (42.0{SPACE}%–53.0{SPACE}%; a bag: "
        f"50.0{SPACE}%); probes on images tell a noun's attribute in 80.0{SPACE}% (70.0{SPACE}%–"
        f"81.0{SPACE}%; a bag: 50.0{SPACE}%). This agrees with what was published of CLIP: not to "
        "be told from a bag of concepts across modalities, although images bind by themselves. "
        f"The simplest function that carries its objects: additive, fitted on 30{SPACE}% of them."
    )


def test_who_does_not_know_concepts_is_no_bag_of_them():
    assert UNLEARNED in told(**level(CONCEPTS, 0.52, 0.49))
    bound = told(**level(CONCEPTS, 0.52, 0.49), **level(ACROSS, 0.9, 0.8))
    assert UNLEARNED not in bound
    unknown = told(**{CONCEPTS: None, f"{CONCEPTS}_lo": None})
    assert "agrees with" in unknown
    assert "replaced" not in unknown


@pytest.mark.parametrize("key", [ACROSS, WITHIN])
def test_a_missing_score_is_said_and_nothing_else(key):
    assert told(**{key: None, f"{key}_lo": None}) == f"M, scenes of unseen objects: {UNSCORED}"
    assert told(part=ANY, **{key: None}) == f"M, all scenes: {UNSCORED}"


def test_many_models_are_counted_by_what_is_true_of_them():
    rows = [point(run=str(number)) for number in range(MOST_TOLD)]
    assert len(claim_sentences(points_of(*rows))) == MOST_TOLD
    bound = point(run="bound", **level(ACROSS, 0.9, 0.8))
    first, second = claim_sentences(points_of(*rows, bound))
    assert first.startswith(f"{MOST_TOLD} of {MOST_TOLD + 1} models: This agrees with")
    assert second.startswith(f"1 of {MOST_TOLD + 1} models: This is not the published picture")


def test_points_are_of_unseen_objects_of_the_smallest_scenes(results):
    points = model_points(results)
    assert points["model"].to_list() == MODELS
    assert set(points["objects"]) == {2}
    assert points["part"].to_list() == [NOVEL, NOVEL, NOVEL, ANY]
    assert points[ACROSS].to_list() == pytest.approx([0.5, 0.9, 0.9, 0.5])
    assert points[WITHIN].to_list() == pytest.approx([0.8] * 4)
    assert points[f"{WITHIN}_bag"].to_list() == [0.5] * 4


def test_complexity_is_a_class_or_none_or_nothing_to_carry(results, tmp_path):
    points = model_points(results)
    none = (NO_CLASS, None, f"no class reaches 80.0{SPACE}% of the ceiling")
    found = points.select("simplest", "fraction", "why").rows()
    assert found == [none, *[("products within objects", 0.7, "")] * 2, none]
    settings = ("leave_out_domain",)
    less = model_points(load(write_study(tmp_path / "planted", **ASKED | {"settings": settings})))
    assert set(less["simplest"]) == {NOTHING}
    assert less["why"][0].startswith("true embeddings are recognised in 40.0%")
    empty = with_tables(results, binding_function=results.analyses["binding_function"].clear())
    assert set(model_points(empty)["simplest"]) == {UNTOLD}
    sentence = claim_sentences(model_points(empty))[0]
    assert "Binding function: not analysed (no table of binding functions)." in sentence


def test_no_two_models_have_one_name(tmp_path):
    study = write_study(tmp_path / "planted", seeds=(0, 1), **ASKED)
    labels = list(run_labels(load(study)).values())
    assert labels[:3] == [
        "natural only, seed 0",
        "natural only, seed 1",
        "CG high diversity, quickdraw, seed 0",
    ]
    assert len(set(labels)) == len(labels)


# ---------------------------------------------------------------------------- sections


def test_a_study_without_tables_has_no_section(bare, results):
    assert binding_sections(bare) == []
    (section,) = binding_sections(results)
    assert section.title == TITLE


@pytest.mark.usefixtures("drawn_figures")
def test_the_section_has_a_sentence_per_model_and_a_figure_per_number_of_objects(results):
    sections = binding_sections(results)
    sentences = [part.text for part in parts_of(sections, Text)]
    assert [text.partition(", scenes of")[0] for text in sentences[1:4]] == MODELS[:3]
    assert sentences[4].startswith(f"{PRETRAINED}, all scenes: an image prefers its caption")
    charts = named_charts(sections)
    assert set(charts) == {
        "binding-models",
        *(f"binding-{kind}-{size}" for kind in ("behaviour", "function") for size in (2, 3)),
    }
    assert all(chart.figure is not None for chart in charts.values())
    assert set(named_tables(sections)) == {
        *("binding_models", "binding_behaviour", "binding_function_curves"),
        *("binding_geometry", "binding_removal", "binding_editing"),
    }
    assert "The first 6 of 8 panels" in charts["binding-function-2"].note
    assert "The first" not in charts["binding-behaviour-2"].note
    first, second, *_ = charts["binding-function-2"].figure.axes
    assert [axes.get_title("left") for axes in (first, second)] == [
        "natural only, images",
        "natural only, captions",
    ]


def test_without_any_value_nothing_is_drawn_and_everything_is_said(results):
    gone = {
        name: results.analyses[name].with_columns(
            *(pl.lit(None, pl.Float64).alias(column) for column in ("value", "lo", "hi")),
            reason=pl.lit("too few scenes"),
        )
        for name in ("binding", "binding_function")
    }
    sections = binding_sections(with_tables(results, **gone))
    assert [chart.figure for chart in parts_of(sections, Chart)] == [None] * 5
    assert parts_of(sections, Text)[1].text.endswith(UNSCORED)
    table = next(part for part in parts_of(sections, Table) if part.name == "binding_behaviour")
    assert table.view.rows[0][3] == "missing: too few scenes"


def test_arms_stand_on_one_figure_by_their_labels(tmp_path, bare):
    asked = ASKED | {"pretrained": ("ViT-B-32",)}
    studies = write_arms(tmp_path / "planted", {"two": asked, "one": asked})
    arms = [ComparedStudy(load(study), {"study": {}}) for study in studies]
    (section,) = arm_binding_sections(arms)
    (table,) = parts_of([section], Table)
    models = table.frame["model"].to_list()
    assert models[:3] == [f"two, {label}" for label in MODELS[:3]]
    assert models[3:] == [PRETRAINED, *(f"one, {label}" for label in MODELS[:3])]
    (chart,) = parts_of([section], Chart)
    assert len(chart.figure.axes[0].containers) == 7
    titles = [part.title for part in arms_sections(arms, arm_differences(arms))]
    assert TITLE in titles
    assert arm_binding_sections([ComparedStudy(bare, {"study": {}})]) == []


@pytest.fixture(scope="module")
def beside(whole, tmp_path_factory):
    """The planted study, once without and once with a coverage sweep of two models."""
    folder = tmp_path_factory.mktemp("beside") / "planted"
    shutil.copytree(whole.folder, folder)
    study = replace(whole, folder=folder, plan=replace(whole.plan, coverage="small"))
    alone = load(study)
    sweep = folder.parent / "coverage" / "small"
    sweep.mkdir(parents=True)
    untold = {key: None for key in level(ACROSS, 0.5, 0.4)}
    points = [point(run="k1", model="pictures", group="pictures"), point(run="k2", **untold)]
    points_of(*points).write_parquet(sweep / "models.parquet")
    return study, alone, load(study)


def test_controlled_models_stand_beside_those_of_the_study(beside, results):
    _, _, known = beside
    (section,) = binding_sections(known)
    table = named_tables([section])["binding_models"]
    assert table["run"].to_list() == [*model_points(results)["run"], "k1", "k2"]
    chart = named_charts([section])["binding-models"]
    assert len(chart.figure.axes[0].containers) == len(MODELS) + 1
    texts = [part.text for part in parts_of([section], Text)]
    assert any("controlled models of the coverage sweep small: 1 of 2, of the" in t for t in texts)
    assert sum("an image prefers its caption" in text for text in texts) == len(MODELS)


def test_a_sweep_that_was_not_run_is_said_and_one_that_cannot_be_read_is_a_problem(beside):
    study, alone, _ = beside
    assert alone.problems == ()
    texts = [part.text for part in parts_of(binding_sections(alone), Text)]
    assert "No controlled models beside them: run clipgen coverage small." in texts
    path = study.folder.parent / "coverage" / "small" / "models.parquet"
    key = report_key([study.plan], study.folder)
    path.write_bytes(b"torn")
    assert report_key([study.plan], study.folder) != key
    (problem,) = load(study).problems
    assert "cannot be read" in problem
    assert "clipgen coverage small writes it again" in problem


def test_an_arm_without_any_value_stands_beside_the_others(tmp_path):
    one, two = write_arms(tmp_path / "planted", {"one": ASKED, "two": ASKED})
    null = {"value": None, "lo": None, "hi": None}
    unread = pl.DataFrame([{"aspect": "retrieval", "score": "swap", "part": "unseen"} | null])
    other = load(two)
    table = other.analyses["binding"]
    schema = table.schema
    row = {"run": two.plan.runs[0].name, "setting": "natural_only", "seed": 0, "objects": 2}
    table = pl.DataFrame([row | unread.to_dicts()[0]], schema=schema)
    arms = [load(one), with_tables(other, binding=table)]
    (section,) = arm_binding_sections([ComparedStudy(arm, {"study": {}}) for arm in arms])
    texts = [part.text for part in parts_of([section], Text)]
    assert texts[-1] == f"two, natural only, scenes of unseen objects: {UNSCORED}"


def test_no_class_of_functions_is_told_of_models_that_were_refused(results):
    table = results.analyses["binding_function"].with_columns(value=pl.lit(None, pl.Float64))
    found = function_rows(with_tables(results, binding_function=table), "images")
    assert all(isinstance(complexity(rows), Refused) for rows in found.values())


def test_planted_scores_are_what_a_table_holds():
    assert set(scored(0.5)) < set(BINDING)
