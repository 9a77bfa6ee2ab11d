"""The audit's figure shows one dot per mixture and every count of near duplicates."""

from __future__ import annotations

import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.report.audit_figure import MOST_MIXTURES, audit_figure
from analysis.report.figures import svg_text

DOMAINS = ["real", "clipart", "sketch"]


def statistics(mixtures: int = 2) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "mixture": [f"natural_only.d{i}" for i in range(mixtures)],
            "setting": ["natural_only"] * mixtures,
            "effective_domains": [1.0 + i % 2 for i in range(mixtures)],
            "class_imbalance": [3.5] * mixtures,
        }
    )


COUNTS = pl.DataFrame(
    [
        ("near_hash", "train", "test", "real", "sketch", 30),
        ("identical_hash", "train", "test", "real", "sketch", 4),
        ("near_hash", "train", "test", "sketch", "real", 5),
        ("near_hash", "train", "train", "clipart", "real", 7),
        ("near_hash", "test", "test", "real", "clipart", 9),
        ("near_hash", "test", "test_unseen_drawing", "clipart", "real", 2),
        ("near_hash", "test", "test_unseen_drawing", "sketch", "sketch", 6),
    ],
    schema=["kind", "split_a", "split_b", "domain_a", "domain_b", "pairs"],
    orient="row",
)


def axes_of(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title("left"): axes for axes in figure.axes}


def numbers(axes: Axes) -> dict[tuple[int, int], str]:
    """Text of every cell that holds a number above 0, by (row, column)."""
    places = {(round(t.get_position()[1]), round(t.get_position()[0])): t for t in axes.texts}
    return {place: t.get_text() for place, t in places.items() if t.get_text() not in ("0", "–")}


def test_every_mixture_has_a_dot_in_both_panels() -> None:
    axes = axes_of(audit_figure(statistics(), COUNTS, DOMAINS))
    for title, values in (("Diversity", [1.0, 2.0]), ("Balance", [3.5, 3.5])):
        offsets = axes[title].collections[0].get_offsets()
        assert [tuple(point) for point in offsets] == [(values[0], 0), (values[1], 1)]
    labels = [label.get_text() for label in axes["Diversity"].get_yticklabels()]
    assert labels == ["natural_only.d0", "natural_only.d1"]


def test_the_matrices_hold_the_counts_of_their_splits() -> None:
    axes = axes_of(audit_figure(statistics(), COUNTS, DOMAINS))
    assert numbers(axes["train (rows) × test"]) == {(0, 2): "34", (2, 0): "5"}
    assert numbers(axes["train × train"]) == {(1, 0): "7", (0, 1): "7"}
    assert numbers(axes["test × test"]) == {(0, 1): "11", (1, 0): "11", (2, 2): "6"}


def test_what_is_not_looked_for_has_a_dash_and_no_nought() -> None:
    axes = axes_of(audit_figure(statistics(), COUNTS, DOMAINS))
    for title, dashes in (("train (rows) × test", 0), ("train × train", 3), ("test × test", 2)):
        assert [text.get_text() for text in axes[title].texts].count("–") == dashes


def test_what_was_not_checked_is_said() -> None:
    assert "not checked" in svg_text(audit_figure(statistics(), None, DOMAINS), "audit")


def test_mixtures_that_do_not_fit_are_told() -> None:
    figure = audit_figure(statistics(MOST_MIXTURES + 5), COUNTS, DOMAINS)
    assert len(axes_of(figure)["Diversity"].collections[0].get_offsets()) == MOST_MIXTURES
    assert f"{MOST_MIXTURES} of {MOST_MIXTURES + 5} mixtures" in svg_text(figure, "audit")


@pytest.mark.parametrize("value", [1.0, 1.9, 3.25, 8.0, 40.0, 500.0, 5000.0, float("nan")])
def test_any_imbalance_has_its_ticks(value: float) -> None:
    table = statistics().with_columns(class_imbalance=pl.lit(value))
    axes = axes_of(audit_figure(table, COUNTS, DOMAINS))["Balance"]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels[0] == "1"
    assert 4 <= len(labels) <= 9
