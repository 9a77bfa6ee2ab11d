"""Figures of evaluation: every point is drawn, nothing is averaged, what is missing is said."""

import numpy as np
import polars as pl
import pytest
from matplotlib.collections import LineCollection, PathCollection

from analysis.report.class_figure import ENDS, class_blocks, class_figure, left_out
from analysis.report.evaluation_figures import TALLEST, dot_figure, taken_for_figure
from analysis.report.figures import svg_text
from analysis.report.probe_figures import few_shot_figure, site_figure
from analysis.report.probe_tables import mean_curves

SETTINGS = ("natural_only", "cg_high_diversity")
PROMPTS = {"domain_free": "domain_free", "single": "single"}


def scores(draws=1, seeds=1, domains=("quickdraw", "clipart")):
    """Scores with known values: setting, prompts, draw and seed each add something."""
    rows = [
        {"test_domain": domain, "setting": setting, "draw": draw, "seed": seed}
        | {"prompts": prompts, "value": value, "lo": value - 0.05, "hi": value + 0.05}
        | {"chance": 0.1}
        for domain in domains
        for place, setting in enumerate(SETTINGS)
        for draw in range(draws)
        for seed in range(seeds)
        for extra, prompts in enumerate(PROMPTS)
        for value in [0.3 + 0.3 * place + 0.1 * extra + 0.02 * draw + 0.01 * seed]
    ]
    return pl.DataFrame(rows)


def shown_points(axes):
    """x and y of every point with a marker."""
    found = [part for part in axes.collections if isinstance(part, PathCollection)]
    return np.concatenate([part.get_offsets() for part in found])


def shown_values(axes):
    return sorted(shown_points(axes)[:, 0])


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def panels(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


# ---------------------------------------------------------------------------- dots


def test_every_draw_seed_and_prompt_set_has_its_own_point():
    table = scores(draws=3, seeds=2)
    figure = dot_figure(table, "accuracy", "prompts", PROMPTS)
    for axes, domain in zip(panels(figure), ("quickdraw", "clipart"), strict=True):
        values = sorted(table.filter(test_domain=domain)["value"])
        assert shown_values(axes) == pytest.approx(values)
    assert {"draw 0, 95 % interval", "draw 2, 95 % interval", "single", "chance"} <= set(
        texts(figure)
    )


def test_points_of_a_setting_stand_apart_and_within_its_row():
    figure = dot_figure(scores(draws=3, seeds=3), "accuracy", "prompts", PROMPTS)
    axes = figure.axes[0]
    heights = sorted(shown_points(axes)[:, 1])
    assert len(heights) == 36
    assert np.diff(heights).min() > 0.03
    middles = axes.get_yticks()
    for middle in middles:
        assert sum(abs(height - middle) <= TALLEST / 2 for height in heights) == 18


def test_missing_points_are_counted_and_a_missing_row_says_so():
    gone = (pl.col("test_domain") == "quickdraw") & (pl.col("setting") == "natural_only")
    part = (pl.col("test_domain") == "clipart") & (pl.col("draw") == 1)
    lost = pl.when(gone | part).then(None)
    table = scores(draws=2).with_columns(
        **{key: lost.otherwise(pl.col(key)) for key in ("value", "lo", "hi")}
    )
    first, second = panels(dot_figure(table, "accuracy", "prompts", PROMPTS))
    assert [text.get_text() for text in first.texts] == ["missing"]
    assert [text.get_text() for text in second.texts] == ["2 missing", "2 missing"]
    assert len(shown_values(first)) == len(shown_values(second)) == 4


def test_a_setting_that_does_not_apply_is_not_missing():
    table = scores().filter(
        (pl.col("test_domain") == "clipart") | (pl.col("setting") == SETTINGS[0])
    )
    axes = panels(dot_figure(table, "accuracy", "prompts", PROMPTS))[0]
    assert [text.get_text() for text in axes.texts] == ["does not apply"]


def test_scores_without_chance_have_no_line_of_it():
    table = scores().with_columns(chance=pl.lit(None, dtype=pl.Float64))
    figure = dot_figure(table, "error", "prompts", PROMPTS)
    assert "chance" not in texts(figure)
    assert not [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]


def test_settings_stand_in_the_order_of_the_table_where_a_series_lacks_the_first():
    lacking = (pl.col("setting") == SETTINGS[0]) & (pl.col("prompts") == "domain_free")
    figure = dot_figure(scores().filter(~lacking), "accuracy", "prompts", PROMPTS)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["natural only", "CG high diversity"]


# ---------------------------------------------------------------------------- bars


def test_the_parts_of_a_bar_are_the_shares_and_end_at_one():
    row = {"test_domain": "quickdraw", "setting": "natural_only", "draw": 0, "seed": 0}
    shares = {"value": 0.5, "lo": 0.4, "hi": 0.6, "chance": 0.8}
    table = pl.DataFrame([row | shares | {"wrong_within": 0.2, "accuracy": 0.3}])
    (axes,) = panels(taken_for_figure(table))
    widths = [bar.get_width() for bar in axes.patches]
    lefts = [bar.get_x() for bar in axes.patches]
    assert widths == pytest.approx([0.5, 0.2, 0.3])
    assert lefts == pytest.approx([0, 0.5, 0.7])
    (interval,) = axes.collections[-1].get_segments()
    assert interval[:, 0].tolist() == [0.4, 0.6]


# ---------------------------------------------------------------------------- classes


def class_table(classes=6, held_out=2, seeds=1):
    rows = [
        {"test_domain": "quickdraw", "setting": setting, "draw": 0, "seed": seed}
        | {"class_name": f"class {number:03d}", "held_out": number < held_out}
        | {"value": (number * 37 % classes) / classes}
        for setting in SETTINGS
        for seed in range(seeds)
        for number in range(classes)
    ]
    return pl.DataFrame(rows)


def heat_panels(figure):
    return [axes for axes in figure.axes if axes.images and axes.get_ylabel() != "accuracy"]


def test_classes_go_from_hard_to_easy_and_held_out_ones_stand_apart():
    table = class_table()
    seen, held_out = class_blocks(table)
    assert held_out.classes == ["class 000", "class 001"]  # 0/6, 1/6
    values = dict(table.select("class_name", "value").rows())
    assert [values[name] for name in seen.classes] == sorted(values[name] for name in seen.classes)
    left, right = heat_panels(class_figure(table))
    titles = [axes.get_title(loc="left") for axes in (left, right)]
    assert titles == ["seen classes (4)", "held-out (2)"]
    np.testing.assert_allclose(right.images[0].get_array(), [[0, 1 / 6]] * 2)
    assert left.get_position().x1 < right.get_position().x0


def test_a_missing_run_is_a_hatched_row_of_classes():
    lost = pl.when(pl.col("setting") == SETTINGS[1]).then(None)
    table = class_table().with_columns(value=lost.otherwise(pl.col("value")))
    figure = class_figure(table)
    cells = np.ma.getmaskarray(heat_panels(figure)[0].images[0].get_array())
    assert cells.all(axis=1).tolist() == [False, True]
    assert "missing" in texts(figure)


def test_of_hundreds_of_classes_held_out_ones_and_both_ends_of_the_seen_are_drawn():
    table = class_table(classes=345, held_out=15)
    blocks = class_blocks(table)
    assert [len(block.classes) for block in blocks] == [ENDS, ENDS, 15]
    values = dict(table.select("class_name", "value").rows())
    seen = sorted(values[name] for name in values if int(name[-3:]) >= 15)
    assert [values[name] for name in blocks[0].classes] == seen[:ENDS]
    assert [values[name] for name in blocks[1].classes] == seen[-ENDS:]
    figure = class_figure(table)
    labels = [label for axes in heat_panels(figure) for label in axes.get_xticklabels()]
    assert len(labels) == 2 * ENDS + 15
    assert all(label.get_fontsize() >= 5 for label in labels)
    assert len(svg_text(figure, "classes")) < 200_000


@pytest.mark.parametrize(
    ("classes", "held_out", "words"),
    [
        (75, 15, ""),
        (345, 15, "Of seen classes the 20 hardest and the 20 easiest."),
        (101, 70, "Of held-out classes the 20 hardest and the 20 easiest."),
        (200, 80, "Of seen and of held-out classes the 20 hardest and the 20 easiest."),
    ],
)
def test_classes_that_are_not_drawn_are_told(classes, held_out, words):
    table = class_table(classes, held_out)
    assert left_out(table) == words
    drawn = sum(len(block.classes) for block in class_blocks(table))
    assert (drawn < classes) == bool(words)


def test_all_of_seventy_five_classes_are_named_in_letters_that_can_be_read():
    figure = class_figure(class_table(classes=75, held_out=15, seeds=3))
    labels = [label for axes in heat_panels(figure) for label in axes.get_xticklabels()]
    assert len({label.get_text() for label in labels}) == 75
    assert all(label.get_fontsize() >= 5 for label in labels)


# ---------------------------------------------------------------------------- probes


def probe_table(kind):
    shots = (1, 2, 4) if kind == "few_shot" else (None,)
    rows = [
        {"test_domain": "quickdraw", "setting": setting, "draw": 0, "seed": 0, "run": setting}
        | {"site": site, "depth": depth, "trained_on": trained_on, "domain": "quickdraw"}
        | {"kind": kind, "shots": k, "probe_seed": seed, "classes": classes, "value": value}
        | {"lo": value - 0.05, "hi": value + 0.05, "chance": 0.1, "missing": False}
        | {"zero_shot": 0.45, "zero_shot_lo": 0.4, "zero_shot_hi": 0.5}
        for setting in SETTINGS
        for depth, site in ([(1, "embedding")] if shots[0] else [(0, "stem"), (1, "embedding")])
        for trained_on in ("quickdraw", "real")
        for k in shots
        for seed in ((0, 1) if k else (0,))
        for classes in ("held_out", "seen")
        for value in [0.2 + 0.2 * depth + 0.05 * (k or 0) + 0.02 * seed]
    ]
    return pl.DataFrame(rows)


def test_probes_by_site_have_a_line_per_training_domain_and_class_set():
    figure = site_figure(probe_table("full"))
    for axes in panels(figure):
        lines = [line for line in axes.lines if line.get_marker() == "o"]
        assert len(lines) == 4
        for line in lines:
            assert list(line.get_xdata()) == [0, 1]
            assert list(line.get_ydata()) == pytest.approx([0.2, 0.4])
        (chance,) = (line.get_ydata()[0] for line in axes.lines if line.get_marker() != "o")
        assert chance == 0.1
        zero_shot = [part for part in axes.collections if isinstance(part, LineCollection)]
        assert [part.get_segments()[0][0, 1] for part in zero_shot] == [0.45, 0.45]  # both sets
        assert [label.get_text() for label in axes.get_xticklabels()] == ["stem", "embedding"]


def test_a_few_shot_curve_is_the_mean_and_every_draw_of_images_a_tick_on_its_interval():
    table = probe_table("few_shot")
    curve = mean_curves(table.filter(setting=SETTINGS[0], trained_on="real", classes="held_out"))
    assert curve["value"].to_list() == pytest.approx([0.46, 0.51, 0.61])
    assert curve["n_draws"].to_list() == [2, 2, 2]
    figure = few_shot_figure(table)
    for axes in panels(figure):
        assert axes.get_xscale() == "log"
        means = [line for line in axes.lines if line.get_marker() == "None"]
        curves = [list(line.get_ydata()) for line in means if len(line.get_xdata()) == 3]
        assert curves == [pytest.approx([0.46, 0.51, 0.61])] * 2  # of held-out classes only
        strokes = {
            (round(line.get_ydata()[start], 2), round(line.get_ydata()[start + 1], 2))
            for line in means
            if len(line.get_xdata()) != 3
            for start in range(0, len(line.get_xdata()), 3)
        } - {(0.1, 0.1)}  # chance, across the panel
        values = table.filter(classes="held_out")["value"].unique().to_list()
        intervals = {(round(value - 0.05, 2), round(value + 0.05, 2)) for value in values}
        assert strokes == {(round(value, 2),) * 2 for value in values} | intervals


def test_a_missing_run_is_said_in_its_panel_of_probes():
    table = probe_table("full")
    known = table.filter(setting=SETTINGS[0])
    row = table.filter(setting=SETTINGS[1]).head(1)
    keep = ("test_domain", "setting", "draw", "seed", "run")
    gone = row.with_columns(pl.lit(None).alias(key) for key in row.columns if key not in keep)
    gone = gone.with_columns(missing=pl.lit(True)).cast(dict(table.schema))  # type: ignore
    first, second = panels(site_figure(pl.concat([known, gone])))
    assert [text.get_text() for text in second.texts] == ["missing"]
    assert not first.texts
