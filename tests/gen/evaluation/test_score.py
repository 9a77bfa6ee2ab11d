"""Scores stand per split, domain and class set, each with the samples that belong to it."""

from __future__ import annotations

import polars as pl
import pytest

from gen.evaluation.score import score

CLASSES = 10
CLASS_SETS = ("all", "held_out", "seen")


def predictions():
    """Class cat (0): right first, and among five. Dog (1): never first. Axe (2): never at all."""
    first = {"cat": [0, 1, 2, 3, 4], "dog": [0, 1, 2, 3, 4], "axe": [5, 6, 7, 8, 9]}
    label = {"cat": 0, "dog": 1, "axe": 2}
    rows = [
        (f"{split}_{domain}_{name}_{i}", split, domain, name, label[name], first[name], [0.0] * 5)
        for split, domain, name, count in (
            ("test", "real", "cat", 4),
            ("test", "real", "dog", 2),
            ("test", "real", "axe", 2),
            ("test", "sketch", "cat", 3),
            ("test_unseen_drawing", "real", "dog", 1),
        )
        for i in range(count)
    ]
    columns = ["id", "split", "domain", "class_name", "label", "top5", "scores"]
    return pl.DataFrame(rows, columns, orient="row")


@pytest.fixture(scope="module")
def scores():
    return score(predictions(), {0: ["dog"]}, CLASSES)


@pytest.fixture(scope="module")
def of_draws():
    return score(predictions(), {2: ["axe"], 0: ["dog"]}, CLASSES)


def row(scores, split="test", domain="real", classes="all", metric="balanced_top1"):
    keys = {"split": split, "domain": domain, "classes": classes, "metric": metric}
    (found,) = scores.filter(**keys).iter_rows(named=True)
    return found


@pytest.mark.parametrize(
    ("classes", "metric", "value"),
    [
        ("all", "balanced_top1", 1 / 3),
        ("all", "balanced_top5", 2 / 3),
        ("all", "top1", 4 / 8),
        ("held_out", "balanced_top1", 0),
        ("held_out", "balanced_top5", 1),
        ("seen", "balanced_top1", 1 / 2),
        ("seen", "balanced_top5", 1 / 2),
        ("seen", "top1", 4 / 6),
    ],
)
def test_scores_are_those_counted_by_hand(scores, classes, metric, value):
    assert row(scores, classes=classes, metric=metric)["value"] == pytest.approx(value)


def test_every_score_tells_how_much_stands_behind_it(scores):
    counts = {c: (r := row(scores, classes=c))["n"] + 100 * r["n_classes"] for c in CLASS_SETS}
    assert counts == {"all": 308, "held_out": 102, "seen": 206}
    for found in scores.iter_rows(named=True):
        assert 0 <= found["lo"] <= found["value"] <= found["hi"] <= 1


def test_chance_is_over_all_classes_and_five_times_as_high_for_five_guesses(scores):
    chances = dict(scores.select("metric", "chance").unique().iter_rows())
    assert chances == {"balanced_top1": 0.1, "balanced_top5": 0.5, "top1": 0.1}


def test_a_domain_without_samples_of_a_class_set_has_no_row_of_it(scores):
    sets = scores.filter(split="test", domain="sketch")["classes"].unique().sort()
    assert sets.to_list() == ["all", "seen"]
    unseen = scores.filter(split="test_unseen_drawing")
    assert unseen.select("domain", "classes").unique().sort("classes").rows() == [
        ("real", "all"),
        ("real", "held_out"),
    ]


def test_the_columns_are_those_of_the_format(scores):
    columns = "draw split domain classes metric value lo hi n n_classes chance"
    assert " ".join(scores.columns) == columns
    assert not any(scores.null_count().row(0))


def test_fewer_than_five_classes_have_fewer_guesses():
    few = predictions().with_columns(top5=pl.lit([0, 1, 2]))
    chances = dict(score(few, {0: []}, 3).select("metric", "chance").unique().iter_rows())
    assert chances["balanced_top5"] == 1


def test_every_draw_has_the_scores_of_its_own_held_out_classes(of_draws, scores):
    assert of_draws.filter(draw=0).equals(scores)
    assert of_draws["draw"].unique(maintain_order=True).to_list() == [0, 2]
    dog, axe = (row(of_draws.filter(draw=draw), classes="held_out") for draw in (0, 2))
    assert (dog["value"], dog["n"]) == (0, 2)
    seen = [row(of_draws.filter(draw=draw), classes="seen")["value"] for draw in (0, 2)]
    assert seen == pytest.approx([1 / 2, 1 / 2])
    five = [
        row(of_draws.filter(draw=draw), classes="held_out", metric="balanced_top5")["value"]
        for draw in (0, 2)
    ]
    assert five == [1, 0]
    assert axe["n"] == 2


def test_the_scores_of_all_classes_are_the_same_in_every_draw(of_draws):
    first, second = (of_draws.filter(draw=draw, classes="all").drop("draw") for draw in (0, 2))
    assert first.equals(second)
