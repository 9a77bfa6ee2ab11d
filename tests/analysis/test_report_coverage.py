"""The page of a coverage sweep: what is planted in the scores of small models stands there."""

from __future__ import annotations

from itertools import pairwise, product
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analysis.report.binding_models import NO_CLASS
from analysis.report.controlled_models import controlled_models
from analysis.report.coverage_figures import carried_figure, coverage_figure, panels_of
from analysis.report.coverage_page import (
    coverage_sections,
    emergence_sentences,
    relation_sentences,
    write_coverage_page,
)
from analysis.report.coverage_tables import (
    CELL,
    FAMILIARITIES,
    NEW,
    SCORES,
    TRAINED,
    UNSEEN,
    carried,
    carried_over_seeds,
    emerges,
    over_seeds,
    scored,
)
from analysis.report.page import named_charts, named_tables
from analysis.report.schemas import BINDING_MODELS
from analysis.report.section import Table, Text

SEEDS = (0, 1, 2)
SPACE = "\N{NO-BREAK SPACE}"
NO_MATCH = "no scene has a swap of the same part"
BINDS = {0.2: (0.5, 0.52, 0.48), 0.8: (0.9, 0.95, 0.85)}
"""swaps of unseen objects by coverage and seed"""
SWAP = {"score": "swap", "bank": "pair", "floor": 0.5, "chance": 0.5}


def condition(coverage, seed, *, grid="pictures", swap_share=0.0, leak=False):
    cell = {"grid": grid, "variant": "pictures", "objects": 144, "coverage": coverage}
    cell |= {"swap_share": swap_share, "leak": leak, "swap_weight": 3.0}
    key = f"{coverage}-{swap_share}-{leak}-{seed}"
    return cell | {"key": key, "seed": seed, "split_seed": seed}


def score(value, **keys):
    ends = (None, None) if value is None else (value - 0.2, value + 0.2)
    told = {"value": value, "lo": ends[0], "hi": ends[1], "n": 50, "clusters": 25}
    if value is None:
        told |= {"reason": NO_MATCH, "n": 0, "clusters": 0}
        keys |= {"floor": None, "chance": None}
    return {"reason": None} | keys | told


def swaps(unseen, **keys):
    """A sweep's rows of `swap` on unseen objects: values of seeds by coverage."""
    rows = [
        condition(coverage, seed, **keys) | score(value, familiarity=UNSEEN, **SWAP)
        for coverage, values in unseen.items()
        for seed, value in enumerate(values)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def sweep(**keys):
    """A row of every score, familiarity and bank of every model; `alike` and `mixed` beside."""
    rows = []
    for coverage, seed in product(BINDS, SEEDS):
        model = condition(coverage, seed, **keys)
        values = {UNSEEN: BINDS[coverage][seed], TRAINED: 0.97, NEW: 0.93, "mixed": 0.01}
        for name, value in values.items():
            rows.append(model | score(value, familiarity=name, **SWAP))
            of = {"familiarity": name, "chance": 0.1}
            rows.append(model | score(value - 0.1, **of, score="object", bank="full", floor=1 / 6))
            rows.append(model | score(0.02, **of, score="object", bank="alike", floor=0.9))
            probe = {"score": "attribute", "bank": "values", "floor": 0.5}
            rows.append(model | score(value - 0.05, **of | probe))
            rows.append(model | score(0.98, **of, score="replaced", bank="pair", floor=1.0))
            rows.append(model | score(None, **of, score="concept", bank="full", floor=1.0))
    return pl.DataFrame(rows, infer_schema_length=None)


def function_rows(ceiling=0.8, **keys):
    """A row per model and class: sums carry a fifth, products what the model binds of unseen."""
    rows = []
    for coverage, seed in product(BINDS, SEEDS):
        for name, width, value in (
            ("additive", None, 0.2 * ceiling),
            ("global", None, BINDS[coverage][seed] * ceiling),
            ("mlp", 64, (1 - BINDS[coverage][seed]) * ceiling),
        ):
            row = condition(coverage, seed, **keys) | {"class": name, "width": width}
            ends = {"value": value, "lo": value - 0.1, "hi": value + 0.1, "reason": None}
            row |= {"ceiling_lo": ceiling - 0.1, "ceiling_hi": ceiling + 0.1, "n": 100}
            row |= {"known": coverage}
            row |= ends | {"ceiling": ceiling, "bag_best": 0.5, "part": UNSEEN, "kind": "object"}
            row |= {"side": "images", "fraction": 0.7, "floor": 1 / 6}
            rows.append(row | {"bank": "full"})
            rows.append(row | {"bank": "held_out", "value": 0.77})
            rows.append(row | {"bank": None, "kind": "concept", "value": 0.99})
            rows.append(row | {"bank": "full", "part": "train", "value": 0.98})
    return pl.DataFrame(rows, infer_schema_length=None)


def emergence(table):
    """What the page says of the only mixture of a sweep."""
    (sentence,) = emergence_sentences(over_seeds(scored(table)))
    return sentence


# ---------------------------------------------------------------------------- tables


def test_banks_of_alike_objects_and_mixed_scenes_are_not_shown():
    table = scored(sweep())
    assert set(table["bank"]) == {"pair", "full", "values"}
    assert set(table["familiarity"]) == set(FAMILIARITIES)
    assert table.height == len(BINDS) * len(SEEDS) * len(FAMILIARITIES) * len(SCORES)


def test_a_mean_over_seeds_has_students_interval_and_not_that_of_scenes():
    means = over_seeds(scored(sweep()))
    row = means.filter(coverage=0.8, familiarity=UNSEEN, score="swap").row(0, named=True)
    values = np.array(BINDS[0.8])
    lo, hi = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert hi > 1  # cut: it is a share
    assert (row["value"], row["lo"], row["hi"]) == pytest.approx((0.9, lo, 1))
    assert (row["smallest"], row["largest"]) == (0.85, 0.95)
    assert (row["models"], row["missing"], row["reason"]) == (3, 0, None)
    assert (row["floor"], row["chance"]) == (0.5, 0.5)
    assert means.height == len(BINDS) * len(FAMILIARITIES) * len(SCORES)


def test_models_without_a_value_are_counted_and_the_reason_is_kept():
    table = over_seeds(scored(swaps({0.2: (0.5, None, 0.6), 0.8: (None, None, None)})))
    low, high = table.to_dicts()
    assert (low["value"], low["models"], low["missing"]) == (pytest.approx(0.55), 2, 1)
    assert (low["lo"], low["hi"], low["reason"]) == (None, None, NO_MATCH)
    assert (high["value"], high["floor"], high["models"], high["missing"]) == (None, None, 0, 3)


def test_coverages_rise_and_other_mixtures_and_grids_stand_apart():
    table = pl.concat([swaps({0.8: (0.9,), 0.2: (0.5,)}), swaps({0.4: (0.1,)}, swap_share=0.5)])
    rows = emerges(over_seeds(scored(table)), "pictures", 0.0)
    assert [(row["coverage"], row["value"]) for row in rows] == [(0.2, 0.5), (0.8, 0.9)]


# ---------------------------------------------------------------------------- when


def test_a_mixture_whose_swaps_could_not_be_scored_is_said():
    sentence = emergence(swaps({0.8: (None, None, None)}))
    assert sentence == "pictures, plain scenes: no swap of unseen objects could be scored."


def test_coverages_at_which_the_interval_is_above_a_bag_are_listed():
    sentence = emergence(swaps(BINDS | {0.4: (0.6, 0.62, 0.61)}, swap_share=0.5))
    assert sentence.startswith(
        "pictures, 50% of scenes in swapped pairs: unseen objects are told from their swap clearly "
        f"more often than by a bag of concepts at coverages of 40{SPACE}%, 80{SPACE}% "
        f"(50.0{SPACE}% (45.0{SPACE}% to 55.0{SPACE}%) at a coverage of 20{SPACE}%, 90.0{SPACE}% ("
    )


def test_a_mean_that_is_not_clear_of_a_bag_is_not_called_so():
    sentence = emergence(swaps({0.2: (0.5, 0.52, 0.48), 0.8: (0.4, 0.6, 0.9)}))
    assert "at no coverage is the mean over seeds clear of a bag of concepts" in sentence


def test_models_that_all_score_alike_are_above_a_bag_without_an_interval():
    sentence = emergence(swaps({0.2: (0.5, 0.5, 0.5), 0.8: (1.0, 1.0, 1.0)}))
    assert f"at coverages of 80{SPACE}% (" in sentence
    assert f"100.0{SPACE}% (3 models) at 80{SPACE}%)" in sentence


def test_too_few_models_are_not_held_against_a_bag():
    sentence = emergence(swaps({0.2: (0.5, 0.6), 0.8: (1.0, None)}))
    assert sentence == (
        "pictures, plain scenes: too few models to tell them from a bag of concepts "
        f"(55.0{SPACE}% (2 models) at a coverage of 20{SPACE}%, 100.0{SPACE}% (1 model) at "
        f"80{SPACE}%)."
    )


def test_a_training_that_leaks_is_told_and_said_to():
    sentence = emergence(swaps(BINDS, leak=True))
    assert "plain scenes, unseen objects being negatives of the training: unseen" in sentence


# ---------------------------------------------------------------------------- by what


def without_objects(table):
    """A sweep of models that have no queries of objects."""
    is_object = pl.col("score") == "object"
    return table.with_columns(value=pl.when(~is_object).then("value"))


def test_what_is_carried_is_a_share_of_the_ceiling_beside_what_the_model_binds():
    table = carried(scored(sweep()), function_rows())
    assert table.height == len(BINDS) * len(SEEDS) * 3
    row = table.filter(pl.col("class") == "global", coverage=0.8, seed=1).row(0, named=True)
    assert (row["share"], row["bound"], row["bound_by"]) == (pytest.approx(0.95), 0.85, "object")
    assert (row["ceiling"], row["bag_best"]) == (0.8, 0.5)


def test_models_without_queries_of_objects_are_held_against_their_swaps():
    mixed = pl.concat([without_objects(sweep()), sweep(grid="symbols")])
    functions = pl.concat([function_rows(), function_rows(grid="symbols")])
    table = carried(scored(mixed), functions)
    told = table.group_by("grid", maintain_order=True).agg(pl.first("bound_by", "bound"))
    assert told.rows() == [("pictures", "swap", 0.5), ("symbols", "object", 0.4)]
    sentences = relation_sentences(table)
    assert "over models of matched swaps of unseen objects with" in sentences[0]
    assert "over models of unseen objects that they recognise with" in sentences[1]


def test_shares_that_are_carried_have_students_interval_over_the_models_of_a_cell():
    scores = scored(sweep())
    functions = function_rows()
    weak = (pl.col("coverage") == 0.2) & (pl.col("seed") == 0)
    functions = functions.with_columns(
        pl.when(weak).then(0.4).otherwise(end).alias(end) for end in ("ceiling", "ceiling_lo")
    )
    means = carried_over_seeds(carried(scores, functions)).filter(pl.col("class") == "global")
    low, high = means.to_dicts()
    lo, hi = stats.t.interval(0.95, 2, loc=0.9, scale=stats.sem(BINDS[0.8]))
    assert (high["share"], high["lo"], high["hi"]) == pytest.approx((0.9, lo, min(hi, 1)))
    assert (high["bound"], high["models"], high["missing"]) == (pytest.approx(0.8), 3, 0)
    assert (low["share"], low["lo"], low["models"], low["missing"]) == (0.5, None, 2, 1)
    assert (low["bound"], low["ceiling"]) == pytest.approx((0.4, 0.8))  # of the other two seeds


def test_a_controlled_model_is_a_point_by_its_scenes_of_unseen_objects():
    points = controlled_models(sweep(), function_rows())
    assert points.schema == pl.Schema(BINDING_MODELS)
    row = points.filter(run="0.8-0.0-False-1").row(0, named=True)
    assert row["model"] == f"pictures, plain scenes, coverage 80{SPACE}%, seed 1"
    assert (row["group"], row["part"], row["objects"]) == ("pictures, plain scenes", UNSEEN, 2)
    assert [row[key] for key in ("swap", "swap_lo", "swap_hi", "swap_n", "swap_bag")] == [
        *(0.95, pytest.approx(0.75), pytest.approx(1.15), 50, 0.5),
    ]
    assert (row["attribute_images"], row["replaced"]) == (pytest.approx(0.9), 0.98)
    assert (row["simplest"], row["fraction"], row["why"]) == ("products over the scene", 0.7, "")
    weak = points.filter(run="0.2-0.0-False-0").row(0, named=True)
    assert weak["simplest"] == NO_CLASS


def test_a_controlled_model_of_two_grids_is_one_point():
    points = controlled_models(pl.concat([sweep(), sweep(grid="again")]), function_rows())
    assert points["run"].is_unique().all()
    assert points.height == len(BINDS) * len(SEEDS)


def test_a_split_of_its_own_stands_in_a_controlled_models_name():
    table = sweep().with_columns(split_seed=pl.lit(7))
    assert controlled_models(table, function_rows())["model"][0].endswith("seed 0, split 7")


def test_within_what_a_bag_may_reach_no_share_is_carried():
    table = carried(scored(sweep()), function_rows(ceiling=0.5))
    assert table["share"].null_count() == table.height
    assert table["value"].null_count() == 0
    sections = coverage_sections(sweep(), function_rows(ceiling=0.5))
    assert named_charts(sections)["carried"].figure is None


def test_a_model_of_two_grids_is_counted_once_in_each():
    scores = pl.concat([sweep(), sweep(grid="again")])
    functions = pl.concat([function_rows(), function_rows(grid="again")])
    table = carried(scored(scores), functions)
    assert table.height == functions.filter(kind="object", bank="full", part=UNSEEN).height


def test_ranks_say_which_class_carries_what_models_bind():
    table = carried(scored(sweep()), function_rows())
    (sentence,) = relation_sentences(table)
    assert "additive not told (the same share of all models)" in sentence
    assert "products over the scene +1.00 (p = 0)" in sentence
    assert "MLP, width 64 -1.00" in sentence
    assert "6 models, not corrected" in sentence


def test_a_correlation_needs_five_models_of_other_scores():
    few = carried(scored(sweep()), function_rows()).filter(pl.col("seed") < 2)
    (sentence,) = relation_sentences(few)
    assert sentence.count("not told (4 models, too few of other scores)") == 3
    alike = carried(scored(sweep()), function_rows()).with_columns(bound=pl.lit(0.5))
    assert relation_sentences(alike)[0].count("not told (6 models, too few of other") == 3


# ---------------------------------------------------------------------------- figures


def test_a_panel_per_mixture_has_a_dot_per_model_a_line_of_means_and_the_floor():
    table = scored(pl.concat([sweep(), sweep(swap_share=0.5)])).filter(score="swap")
    figure = coverage_figure(table, over_seeds(table))
    assert len(panels_of(table)) == len(figure.axes) == 2
    axes = figure.axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in dots] == [6, 6, 6]
    means = [line for line in axes.lines if line.get_marker() == "None" and len(line.get_xdata())]
    drawn = [list(line.get_ydata()) for line in means if line.get_linestyle() == "-"]
    assert [0.5, 0.9] in [pytest.approx(line) for line in drawn]
    (floor,) = (line for line in axes.lines if line.get_linestyle() == ":")
    assert list(floor.get_ydata()) == [0.5, 0.5]
    assert figure.axes[1].get_title("left") == "pictures, 50% of scenes in\nswapped pairs"


def test_titles_of_panels_do_not_run_into_each_other():
    table = scored(pl.concat([sweep(swap_share=share) for share in (0.0, 0.25, 0.5)]))
    table = table.filter(score="swap")
    figure = coverage_figure(table, over_seeds(table))
    figure.draw_without_rendering()
    boxes = [axes._left_title.get_window_extent() for axes in figure.axes]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_intervals_end_where_shares_do():
    table = scored(swaps({0.8: (0.99, 1.0, 0.9)}))
    (axes,) = coverage_figure(table, over_seeds(table)).axes
    ends = [point for container in axes.containers for point in _ends(container)]
    assert max(ends) == 1.0


def _ends(container):
    (bars,) = container.lines[2]
    return [float(y) for segment in bars.get_segments() for _, y in segment]


def test_a_dot_per_model_and_class_is_carried_and_models_without_objects_are_left_out():
    functions = pl.concat([function_rows(), function_rows(grid="symbols", ceiling=0.4)])
    table = carried(scored(pl.concat([sweep(), sweep(grid="symbols")])), functions)
    (axes,) = carried_figure(table).axes
    assert axes.get_title("left") == "pictures"
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [6, 6, 6]
    assert list(dots[1].get_xdata()) == pytest.approx([y - 0.1 for y in dots[1].get_ydata()])
    assert axes.get_xlabel() == "model recognises unseen objects, of all"


# ---------------------------------------------------------------------------- page


def test_scores_that_no_model_has_are_not_drawn_and_stand_in_the_file():
    sections = coverage_sections(sweep(), function_rows())
    assert set(named_charts(sections)) == {
        *("coverage-swap", "coverage-object", "coverage-attribute", "coverage-replaced", "carried"),
        "binding-models",
    }
    tables = named_tables(sections)
    assert set(tables) == {"coverage", "scores", "carried", "carried_means", "binding_models"}
    assert tables["coverage"].filter(score="concept")["reason"].unique().to_list() == [NO_MATCH]


def test_a_cell_says_mean_interval_range_and_models():
    scores = pl.concat([sweep(), swaps({0.9: (0.5, None, 0.6)})], how="diagonal")
    (table,) = (
        part
        for section in coverage_sections(scores, pl.DataFrame())
        for part in section.parts
        if isinstance(part, Table) and part.view
    )
    rows = {(row[1], row[3]): row[4:] for row in table.view.rows}
    own = rows[f"80{SPACE}%", SCORES["swap"]]
    lo, _ = stats.t.interval(0.95, 2, loc=0.9, scale=stats.sem(BINDS[0.8]))
    ends = f"({100 * lo:.1f}{SPACE}% to 100.0{SPACE}%)"
    assert own[2] == f"90.0{SPACE}% {ends}; 85.0{SPACE}%–95.0{SPACE}%, 3 models"
    assert own[0] == f"97.0{SPACE}%; 97.0{SPACE}%–97.0{SPACE}%, 3 models"
    assert own[3] == f"50.0{SPACE}%"
    few = rows[f"90{SPACE}%", SCORES["swap"]]
    assert few[:2] == ["–", "–"]
    assert few[2] == f"55.0{SPACE}%; 50.0{SPACE}%–60.0{SPACE}%, 2 models, 1 without"
    assert all(row[3] != SCORES["concept"] for row in table.view.rows)


def test_without_functions_there_is_no_section_on_them():
    titles = [section.title for section in coverage_sections(sweep(), pl.DataFrame())]
    assert titles == ["Coverage", "Models"]


@pytest.mark.usefixtures("drawn_figures")
def test_the_page_is_written_with_its_tables_and_figures(tmp_path):
    page = write_coverage_page(
        "small", sweep(), function_rows(), tmp_path / "report", 0, "clipgen coverage small"
    )
    folder = tmp_path / "report"
    assert page == folder / "index.html"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    figures = {"coverage-swap", "coverage-object", "coverage-attribute", "coverage-replaced"}
    figures |= {"carried", "binding-models"}
    tables = {"coverage", "scores", "carried", "carried_means", "binding_models"}
    assert names == {
        *("index.html", "report.md"),
        *(f"tables/{name}.csv" for name in tables),
        *(f"figures/{name}.svg" for name in figures),
    }
    for name in figures:
        root = ElementTree.parse(folder / "figures" / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert pl.read_csv(folder / "tables" / "scores.csv").height == sweep().height
    text = page.read_text(encoding="utf-8")
    assert "6 models expected: 6 done." in text
    assert "unseen objects are told from their swap clearly more often" in text
    assert "clipgen coverage small" in text


def test_models_that_are_not_done_are_said(tmp_path):
    page = write_coverage_page("small", sweep(), function_rows(), tmp_path / "report", 2, "c")
    assert "2 of 8 models are not done." in page.read_text(encoding="utf-8")


def test_a_cell_of_the_table_is_named_by_what_its_models_have_in_common():
    means = over_seeds(scored(sweep()))
    assert means.columns[: len(CELL)] == CELL
    texts = [
        part
        for section in coverage_sections(sweep(), function_rows())
        for part in section.parts
        if isinstance(part, Text)
    ]
    assert any("rank correlation over models" in part.text for part in texts)
