"""Figures of mixtures: what is drawn is what the cells hold."""

import numpy as np
import polars as pl
import pytest
from planted_mixtures import CLASSES, HIGH, manifest_of, save

from analysis.report.figures import svg_text
from analysis.report.split_colours import difference_scale, scale_of
from analysis.report.split_figures import comparison_figure, mixture_figure, overview_figure
from analysis.report.split_manifests import read_manifest


def cells_of(realised, tmp_path, **facts):
    save(tmp_path / "m", manifest_of(realised, **facts))
    return read_manifest(tmp_path / "m").cells


def axes_with(figure, label):
    return next(axes for axes in figure.axes if axes.get_xlabel().startswith(label))


def test_held_out_classes_stand_apart_at_the_right_and_hidden_cells_are_hatched(tmp_path):
    figure = mixture_figure(cells_of(HIGH, tmp_path), test_domain="quickdraw", natural="real")
    seen, held_out = axes_with(figure, "seen classes (3)"), axes_with(figure, "held-out (1)")
    assert seen.get_position().x1 < held_out.get_position().x0
    assert [label.get_text() for label in seen.get_xticklabels()] == ["axe", "cat & <dog>", "$x$"]
    assert [label.get_text() for label in held_out.get_xticklabels()] == ["bed"]
    assert [patch.get_hatch() is not None for patch in (*seen.patches, *held_out.patches)] == [True]
    assert held_out.patches[0].get_y() == 1.5  # the row of quickdraw
    labels = [label.get_text() for label in seen.get_yticklabels()]
    assert labels == ["real (natural)", "clipart", "quickdraw (test)"]


def test_numbers_and_marginals_of_the_figure_sum_to_the_size(tmp_path):
    figure = mixture_figure(cells_of(HIGH, tmp_path), test_domain="quickdraw", natural="real")
    heat = [axes for axes in figure.axes if axes.images]
    written = [int(text.get_text()) for axes in heat for text in axes.texts]
    assert sorted(written) == sorted(count for row in HIGH for count in row if count)
    sums = axes_with(figure, "per domain")
    assert [text.get_text() for text in sums.texts] == ["100", "22", "240"]
    assert sum(bar.get_width() for bar in sums.patches) == 362
    bars = [axes for axes in figure.axes if axes.patches and not axes.images and axes is not sums]
    tops = [bar.get_height() for axes in bars for bar in axes.patches]
    assert sorted(tops) == [26, 95, 114, 127]


def test_cells_that_are_shown_but_empty_are_white_and_not_hatched(tmp_path):
    exposure = np.ones((3, 4)).tolist()
    cells = cells_of(HIGH, tmp_path, exposure=exposure)
    figure = mixture_figure(cells, test_domain="quickdraw", natural="real")
    held_out = axes_with(figure, "held-out")
    assert not held_out.patches
    assert np.ma.getmaskarray(held_out.images[0].get_array()).ravel().tolist() == [
        False,
        False,
        True,
    ]
    assert "shown, but no sample" in svg_text(figure, "mixture")


def test_hundreds_of_classes_are_drawn_without_letters_in_cells(tmp_path):
    classes = [f"class {number}" for number in range(345)]
    realised = np.full((3, 345), 7)
    facts = {"classes": classes, "held_out": classes[10:25]}
    figure = mixture_figure(
        cells_of(realised, tmp_path, **facts), test_domain="quickdraw", natural="real"
    )
    assert not [text for axes in figure.axes if axes.images for text in axes.texts]
    assert len(svg_text(figure, "mixture")) < 200_000


@pytest.mark.parametrize("held_out", [[], CLASSES])
def test_no_and_only_held_out_classes_can_be_drawn(tmp_path, held_out):
    cells = cells_of(HIGH, tmp_path, held_out=held_out)
    assert mixture_figure(cells, test_domain="quickdraw", natural="real").axes
    assert overview_figure({"one": cells}).axes


def test_wide_ranges_get_a_logarithmic_scale_and_differences_a_centred_one():
    assert type(scale_of([np.array([[0, 10, 300]])])).__name__ == "Normalize"
    assert type(scale_of([np.array([[0, 1]]), np.array([[300]])])).__name__ == "LogNorm"
    for matrix in (np.array([[-5, 3]]), np.array([[-900, 1]]), np.zeros((1, 2))):
        assert difference_scale(matrix)(0) == pytest.approx(0.5)


def test_the_overview_draws_no_more_than_it_can_show(tmp_path):
    cells = cells_of(HIGH, tmp_path)
    figure = overview_figure({f"mixture {number}": cells for number in range(30)})
    assert sum(bool(axes.images) for axes in figure.axes) == 24


def test_the_difference_is_drawn_with_its_sign(tmp_path):
    cells = cells_of(HIGH, tmp_path).with_columns(
        exposure_a="exposure", exposure_b="exposure", a="realised", b=pl.col("realised") * 2
    )
    figure = comparison_figure(cells, "one", "two")
    panels = [axes for axes in figure.axes if axes.images]
    a, b, difference = (panels[place].images[0].get_array() for place in (0, 2, 4))
    assert np.ma.getdata(difference).tolist() == [[30, 10, 40], [7, 5, 4], [90, 80, 70]]
    assert (b == 2 * a).all()
    assert panels[0].images[0].norm is panels[2].images[0].norm
