"""A cell has its accuracy, its interval, and the class that it is taken for most often."""

from __future__ import annotations

import polars as pl
import pytest

from gen.evaluation.cells import cell_table

CLASSES = ("axe", "bed", "cat", "dog")
COLUMNS = "split domain class_name label n correct value lo hi mistaken_for mistaken"


def predictions():
    """Axe in real: 1 of 4 right, twice a cat. Bed: always right. Axe in sketch: a tie."""
    answers = {
        ("test", "real", "axe"): [0, 2, 2, 3],
        ("test", "real", "bed"): [1] * 10,
        ("test", "sketch", "axe"): [3, 1],
        ("test_unseen_drawing", "real", "axe"): [0],
    }
    rows = [
        (f"{split}{domain}{name}{i}", split, domain, name, CLASSES.index(name), [answer, 0])
        for (split, domain, name), found in answers.items()
        for i, answer in enumerate(found)
    ]
    return pl.DataFrame(
        rows, ["id", "split", "domain", "class_name", "label", "top5"], orient="row"
    )


@pytest.fixture(scope="module")
def cells():
    return cell_table(predictions(), CLASSES)


def cell(cells, domain, name, split="test"):
    (found,) = cells.filter(split=split, domain=domain, class_name=name).iter_rows(named=True)
    return found


def test_a_cell_is_counted_and_its_interval_is_wilsons(cells):
    axe = cell(cells, "real", "axe")
    assert (axe["n"], axe["correct"], axe["value"], axe["label"]) == (4, 1, 0.25, 0)
    assert (axe["lo"], axe["hi"]) == pytest.approx((0.0456, 0.6994), abs=1e-4)


def test_wrong_answers_name_the_class_that_they_name_most(cells):
    axe = cell(cells, "real", "axe")
    assert (axe["mistaken_for"], axe["mistaken"]) == ("cat", 2)


def test_of_equally_frequent_wrong_answers_the_first_class_is_named(cells):
    axe = cell(cells, "sketch", "axe")
    assert (axe["value"], axe["mistaken_for"], axe["mistaken"]) == (0, "bed", 1)


def test_a_cell_that_is_always_right_is_taken_for_nothing(cells):
    bed = cell(cells, "real", "bed")
    assert (bed["value"], bed["mistaken_for"], bed["mistaken"]) == (1, None, 0)
    assert 0.6 < bed["lo"] < bed["hi"] == 1


def test_there_is_one_row_per_cell_with_test_samples(cells):
    assert " ".join(cells.columns) == COLUMNS
    assert cells.select("split", "domain", "class_name").rows() == [
        ("test", "real", "axe"),
        ("test", "real", "bed"),
        ("test", "sketch", "axe"),
        ("test_unseen_drawing", "real", "axe"),
    ]


def test_the_order_of_the_predictions_does_not_matter(cells):
    assert cell_table(predictions().reverse(), CLASSES).equals(cells)


def test_predictions_of_two_checkpoints_are_an_error():
    with pytest.raises(ValueError, match="several checkpoints"):
        cell_table(pl.concat([predictions(), predictions()]), CLASSES)
