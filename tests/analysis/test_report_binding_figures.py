"""What readers see of binding: tables of text, and figures; planted as in `test_report_binding`."""

from __future__ import annotations

import polars as pl
import pytest
from planted_binding import (
    ASKED,
    CLASSES,
    FRACTIONS,
    level,
    point,
    points_of,
    run_of,
    with_tables,
)
from planting import load, write_study

from analysis.report.binding_figures import behaviour_figure, function_figure, models_figure
from analysis.report.binding_models import NO_CLASS
from analysis.report.binding_section import run_labels
from analysis.report.binding_tables import (
    ACROSS,
    MEASURES,
    SEEN,
    WITHIN,
    behaviour,
    function_curves,
)
from analysis.report.binding_views import MOST_MODELS, behaviour_view, geometry_views, score_cell
from analysis.report.schemas import BINDING

PRETRAINED = "pretrained: ViT-B-32"
SPACE = "\N{NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen") / "planted"
    return load(write_study(folder, pretrained=("ViT-B-32",), **ASKED))


def rows_of(part, model):
    """Cells of a model's scenes of two objects, by the rest of what names their rows."""
    view = part.view
    rows = [row for row in view.rows if row[:2] == [model, "2"]]
    return {tuple(row[2 : view.headers]): row[view.headers :] for row in rows}


def cell(value):
    ends = [f"{100 * end:.1f}{SPACE}%" for end in (value, value - 0.02, value + 0.02)]
    return f"{ends[0]} ({ends[1]}–{ends[2]})"


def test_a_row_has_every_part_beside_what_a_bag_reaches(results):
    view = behaviour_view(behaviour(results), run_labels(results))
    rows = {tuple(row[:3]): row[3:] for row in view.rows}
    swap = "caption with a value swapped"
    own = rows["natural only", "2", swap]
    assert own == [cell(0.55), cell(0.5), "–", f"50.0{SPACE}%", "120 / 120 / 0"]
    other = ["–", "–", cell(0.5), f"50.0{SPACE}%", "0 / 0 / 120"]
    assert rows[PRETRAINED, "2", swap] == other


def test_what_a_bag_reaches_stands_by_part_where_it_differs(results):
    shown = (pl.col("score") == "R@1") & (pl.col("part") == SEEN)
    table = results.analyses["binding"].with_columns(
        floor=pl.when(shown).then(0.25).otherwise("floor")
    )
    found = with_tables(results, binding=table)
    view = behaviour_view(behaviour(found), run_labels(found))
    row = next(row for row in view.rows if row[2] == MEASURES["recall"].label)
    assert row[-2] == f"25.0{SPACE}% / 50.0{SPACE}% / –"


def test_a_score_that_is_missing_says_why():
    assert score_cell({}) == "–"
    none = dict.fromkeys(["value", "lo", "hi"])
    assert score_cell(none | {"reason": "no swaps"}) == "missing: no swaps"
    assert score_cell(none | {"reason": None}) == "missing"
    assert score_cell(none | {"value": 0.5}) == f"50.0{SPACE}%"


def test_geometry_removal_and_editing_have_the_planted_cells(results):
    tables = {part.name: part for part in geometry_views(results, run_labels(results))}
    assert list(tables) == ["binding_geometry", "binding_removal", "binding_editing"]
    own = {name: rows_of(part, "natural only") for name, part in tables.items()}
    numbers = ["0.80 (0.78–0.82)", "0.70 (0.68–0.72)", "0.90 (0.88–0.92)", "0.60 (0.58–0.62)"]
    assert own["binding_geometry"]["images", "as it is", "–"] == numbers
    assert own["binding_geometry"]["captions", "objects of concepts", "mean by slot"] == numbers
    removal = own["binding_removal"]
    assert removal["images", "concepts"] == [cell(0.4), cell(0.1)]
    assert removal["images", "concepts of other objects (control)"] == [cell(0.9), cell(0.6)]
    editing = own["binding_editing"]
    assert editing["captions", "a value exchanged", "not edited"] == [cell(0.3), cell(0.2)]
    assert editing["images", "an object exchanged", "least squares"] == [cell(0.8), cell(0.7)]


def test_tables_without_any_value_or_estimator_are_shown_with_their_reasons(results):
    reason = {"reason": "no such embeddings", "n": 0, "clusters": 0}
    run = {"run": results.plan.runs[0].name, "setting": "natural_only", "seed": 0, "objects": 2}
    of = [
        {"aspect": "geometry", "side": "texts", "score": "R2"},
        {"aspect": "removal", "side": "texts", "removed": "nothing", "kind": "object"},
        {"aspect": "editing", "side": "texts", "score": "retrieval", "edit": "object"},
    ]
    schema = {"run": pl.String, "setting": pl.String, "seed": pl.Int64} | BINDING
    table = pl.DataFrame([run | row | reason for row in of], schema=schema)
    found = geometry_views(with_tables(results, binding=table), run_labels(results))
    cells = [[text for row in part.view.rows for text in row] for part in found]
    assert all("missing: no such embeddings" in row for row in cells)


def test_tables_of_many_models_show_the_first_and_say_so(results):
    names = {f"r{number}": f"model {number}" for number in range(MOST_MODELS + 2)}
    table = behaviour(results).filter(run=results.plan.runs[0].name)
    many = pl.concat(table.with_columns(run=pl.lit(name)) for name in names)
    view = behaviour_view(many, names)
    assert len({row[0] for row in view.rows}) == MOST_MODELS
    assert view.caption.endswith("The first 12 of 14 models; the file has all.")
    assert "The first" not in behaviour_view(table, run_labels(results)).caption


# ---------------------------------------------------------------------------- figures


def visible(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def test_behaviour_has_a_panel_per_model_and_a_point_and_a_stroke_per_score(results):
    table, labels = behaviour(results).filter(objects=2), run_labels(results)
    panels = visible(behaviour_figure(table, labels))
    assert len(panels) == len(labels)
    counts = [len(axes.containers) for axes in panels]
    assert counts == [2 * len(MEASURES)] * 3 + [len(MEASURES)]
    strokes = [sum(line.get_marker() == "|" for line in axes.lines) for axes in panels]
    assert strokes == counts
    names = [text.get_text() for text in panels[0].get_yticklabels()]
    assert names == [measure.label for measure in MEASURES.values()]


def test_an_odd_panel_is_hidden_and_measures_without_a_value_have_no_line(results):
    table = behaviour(results).filter(objects=2).filter(pl.col("measure") != "recall")
    three = dict(list(run_labels(results).items())[:3])
    figure = behaviour_figure(table, three)
    assert (len(figure.axes), len(visible(figure))) == (4, 3)
    assert len(figure.axes[0].get_yticks()) == len(MEASURES) - 1


def test_a_panel_of_the_binding_function_has_a_line_per_class_and_both_levels(results):
    run = run_of(results, "cg_high_diversity")
    rows = function_curves(results).filter(
        run=run, objects=2, kind="object", bank="full", side="images"
    )
    titles = {"known": "known", "unknown": "unknown"}
    known, unknown = visible(function_figure(rows.with_columns(panel=pl.lit("known")), titles))
    lines = [line for line in known.lines if len(line.get_xdata()) == len(FRACTIONS)]
    assert len(lines) == len(CLASSES) + 2
    drawn = [list(line.get_ydata()) for line in lines]
    assert drawn[1] == pytest.approx([0.16, 0.72, 0.72])
    assert drawn[-2:] == [pytest.approx([0.8] * 3), pytest.approx([0.5] * 3)]
    assert [text.get_text() for text in unknown.texts] == ["missing"]
    assert not known.texts


def test_a_model_is_a_point_and_its_marker_the_class_that_carries_it():
    rows = [
        point(run="a", model="a"),
        point(run="b", model="b", simplest=NO_CLASS, **level(ACROSS, 0.9, 0.8)),
        point(run="c", model="c", **level(WITHIN, 0.3, 0.2)),
        point(run="d", model="d", **{WITHIN: None}),
    ]
    axes, right = models_figure(points_of(*rows)).axes
    dots = [container.lines[0] for container in axes.containers]
    places = [(float(dot.get_xdata()[0]), float(dot.get_ydata()[0])) for dot in dots]
    assert places == [(0.52, 0.8), (0.9, 0.8), (0.52, 0.3)]
    first, second, third = (dot.get_marker() for dot in dots)
    assert first == third != second
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert len(dotted) == 2
    carried = [container.lines[0].get_ydata()[0] for container in right.containers]
    assert carried == [0.3, 0.3, 0.3, 0.3]
    assert [list(line.get_xdata()) for line in right.lines if line.get_linestyle() == ":"] == [
        [0.5, 0.5]
    ]


def test_a_model_without_swaps_or_an_interval_is_a_point_where_it_can_be():
    ends = {"held_lo": None, "held_hi": None, "carried_lo": None, "carried_hi": None}
    left, right = models_figure(points_of(point(run="a", **{ACROSS: None}, **ends))).axes
    assert not left.containers
    (dot,) = right.containers
    assert dot.lines[0].get_xdata()[0] == 0.8


def test_the_legend_of_models_fits_their_figure():
    rows = [point(run=str(n), model=f"CG high diversity, quickdraw, seed {n}") for n in range(8)]
    figure = models_figure(points_of(*rows))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    found = legend.get_window_extent()
    assert (found.x0, found.y0) >= (0, 0)
    assert found.x1 <= figure.bbox.x1


def test_more_models_than_colours_have_the_colours_of_their_settings():
    rows = [point(run=str(n), model=str(n), group="gh"[n % 2]) for n in range(20)]
    figure = models_figure(points_of(*rows))
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["g", "h", "additive", "bag of concepts"]
    colours = {container.lines[0].get_color() for container in figure.axes[0].containers}
    assert len(colours) == 2
