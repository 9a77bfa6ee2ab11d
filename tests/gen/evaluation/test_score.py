"""Scores stand per split, domain and class set, each with the samples that belong to it."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest

from gen.evaluation.score import EVALUATION, score_predictions

CLASSES = ("cat", "dog", "axe", *(f"class {number}" for number in range(3, 10)))
CLASS_SETS = ("all", "held_out", "seen")
CONFIDENCE = 0.75


def predictions(samples_seen=640, final=True, prompts="domain_free"):
    """Class cat (0): right first, and among five. Dog (1): never first. Axe (2): never at all."""
    first = {"cat": [0, 1, 2, 3, 4], "dog": [0, 1, 2, 3, 4], "axe": [5, 6, 7, 8, 9]}
    rows = [
        (f"{split}_{domain}_{name}_{i}", split, domain, name, CLASSES.index(name), first[name])
        for split, domain, name, count in (
            ("test", "real", "cat", 4),
            ("test", "real", "dog", 2),
            ("test", "real", "axe", 2),
            ("test", "sketch", "cat", 3),
            ("test_unseen_drawing", "real", "dog", 1),
        )
        for i in range(count)
    ]
    columns = ["id", "split", "domain", "class_name", "label", "top5"]
    return pl.DataFrame(rows, columns, orient="row").with_columns(
        samples_seen=pl.lit(samples_seen, pl.Int64),
        final=pl.lit(final),
        prompts=pl.lit(prompts),
        confidence=pl.lit(CONFIDENCE, pl.Float32),
    )


@pytest.fixture(scope="module")
def scores():
    return score_predictions(predictions(), {0: ["dog"]}, CLASSES)


@pytest.fixture(scope="module")
def of_draws():
    return score_predictions(predictions(), {2: ["axe"], 0: ["dog"]}, CLASSES)


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
        ("all", "macro_f1", (2 * 4 / (4 + 6)) / 3),  # cat: 4 right, 6 times answered
        ("all", "ece", CONFIDENCE - 4 / 8),
        ("held_out", "balanced_top1", 0),
        ("held_out", "balanced_top5", 1),
        ("held_out", "held_out_as_seen", 1),
        ("held_out", "macro_f1", 0),
        ("held_out", "ece", CONFIDENCE),
        ("seen", "balanced_top1", 1 / 2),
        ("seen", "balanced_top5", 1 / 2),
        ("seen", "top1", 4 / 6),
        ("seen", "macro_f1", 1 / 2),
        ("seen", "ece", CONFIDENCE - 4 / 6),
        ("seen", "seen_as_held_out", 0),
    ],
)
def test_scores_are_those_counted_by_hand(scores, classes, metric, value):
    assert row(scores, classes=classes, metric=metric)["value"] == pytest.approx(value)


def test_answers_from_the_other_class_set_are_counted(of_draws):
    axe_out = of_draws.filter(draw=2)
    found = row(axe_out, classes="held_out", metric="held_out_as_seen")
    assert (found["value"], found["n"], found["chance"]) == (1, 2, 0.9)
    dog_as_cat = row(of_draws.filter(draw=0), classes="held_out", metric="held_out_as_seen")
    assert dog_as_cat["value"] == 1
    cats_held_out = score_predictions(predictions(), {0: ["cat"]}, CLASSES)
    found = row(cats_held_out, classes="seen", metric="seen_as_held_out")
    assert (found["value"], found["n"], found["chance"]) == (2 / 4, 4, 0.1)


def test_every_score_tells_how_much_stands_behind_it(scores):
    counts = {c: (r := row(scores, classes=c))["n"] + 100 * r["n_classes"] for c in CLASS_SETS}
    assert counts == {"all": 308, "held_out": 102, "seen": 206}
    for found in scores.iter_rows(named=True):
        assert 0 <= found["lo"] <= found["value"] <= found["hi"] <= 1


def test_chance_is_that_of_a_guess_over_all_classes(scores):
    chances = dict(scores.select("metric", "chance").unique().iter_rows())
    assert chances == {
        "balanced_top1": 0.1,
        "balanced_top5": 0.5,
        "top1": 0.1,
        "macro_f1": None,
        "ece": None,
        "held_out_as_seen": 0.9,
        "seen_as_held_out": 0.1,
    }


def test_a_domain_without_samples_of_a_class_set_has_no_row_of_it(scores):
    sets = scores.filter(split="test", domain="sketch")["classes"].unique().sort()
    assert sets.to_list() == ["all", "seen"]
    unseen = scores.filter(split="test_unseen_drawing")
    assert unseen.select("domain", "classes").unique().sort("classes").rows() == [
        ("real", "all"),
        ("real", "held_out"),
    ]


def test_the_columns_are_those_of_the_format(scores):
    columns = "draw split domain classes samples_seen final prompts metric value lo hi n n_classes"
    assert " ".join(scores.columns) == f"{columns} chance"
    assert dict(scores.schema) == EVALUATION
    assert not any(scores.drop("chance").null_count().row(0))


def test_fewer_than_five_classes_have_fewer_guesses():
    few = predictions().with_columns(top5=pl.lit([0, 1, 2]))
    found = score_predictions(few, {0: []}, CLASSES[:3])
    chances = dict(found.select("metric", "chance").unique().iter_rows())
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


def test_a_milestone_and_every_prompt_set_have_rows_of_their_own(scores):
    several = pl.concat(
        [predictions(64, final=False), predictions(), predictions(prompts="single")]
    )
    found = score_predictions(several, {0: ["dog"]}, CLASSES)
    kinds = found.select("samples_seen", "final", "prompts").unique(maintain_order=True)
    assert kinds.rows() == [
        (64, False, "domain_free"),
        (640, True, "domain_free"),
        (640, True, "single"),
    ]
    assert found.filter("final", prompts="domain_free").equals(scores)
    milestone = found.filter(~pl.col("final"))
    assert set(milestone["metric"]) == {"balanced_top1", "balanced_top5", "top1"}


def test_a_pretrained_model_has_seen_nobody_knows_how_much():
    found = score_predictions(predictions(samples_seen=None), {0: ["dog"]}, CLASSES)
    assert found["samples_seen"].is_null().all()


def permuted(per_cell, seed, domains=("real", "sketch"), splits=("test",), classes=75):
    """Predictions that know nothing of the labels."""
    rng = np.random.default_rng(seed)
    names = [f"class {number:02d}" for number in range(classes)]
    cells = [(s, d, k) for s in splits for d in domains for k in range(classes)] * per_cell
    guesses = np.argsort(rng.random((len(cells), classes)), axis=1)[:, :5]
    splits_of, domains_of, labels = zip(*cells, strict=True)
    return pl.DataFrame(
        {
            "id": [str(number) for number in range(len(cells))],
            "split": splits_of,
            "domain": domains_of,
            "class_name": [names[label] for label in labels],
            "label": labels,
            "top5": pl.Series(guesses).cast(pl.List(pl.Int64)),
            "confidence": rng.random(len(cells)).astype(np.float32),
            "samples_seen": 640,
            "final": True,
            "prompts": "domain_free",
        }
    ), names


def test_a_model_that_knows_nothing_scores_chance_within_its_interval():
    known = []
    for seed in range(20):
        table, names = permuted(10, seed)
        scores = score_predictions(table, {0: names[::5]}, names).drop_nulls("chance")
        inside = (pl.col("lo") <= pl.col("chance")) & (pl.col("chance") <= pl.col("hi"))
        known.append(scores.select("metric", inside=inside))
    shares = dict(pl.concat(known).group_by("metric").agg(pl.col("inside").mean()).iter_rows())
    assert len(shares) == 5
    assert min(shares.values()) > 0.87  # 95 % less three standard errors of 40 to 120 intervals
    assert max(shares.values()) <= 1


def test_nine_thousand_samples_with_four_prompt_sets_are_scored_in_seconds():
    domains = ("real", "clipart", "infograph", "painting", "quickdraw", "sketch")
    table, names = permuted(10, 0, domains, ("test", "test_unseen_drawing"))
    assert table.height == 9000
    several = pl.concat(
        table.with_columns(prompts=pl.lit(name)) for name in ("free", "single", "all", "domain")
    )
    start = time.process_time()
    scores = score_predictions(several, {0: names[::5]}, names)
    assert time.process_time() - start < 5
    assert scores.height == 4 * 12 * (5 + 6 + 6)
