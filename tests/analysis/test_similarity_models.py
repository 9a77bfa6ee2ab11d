"""Two models are compared on the same images, domain by domain."""

from __future__ import annotations

from io import StringIO

import numpy as np
import polars as pl
import pytest
from scipy.stats import ortho_group
from tqdm import tqdm
from two_domains import cka_of_kernels

from analysis.class_shuffles import ROTATIONS
from analysis.model_similarity import MODEL_SIMILARITY, _knn, _nearest, _overlap, model_similarity
from analysis.neighbours import MOST_NEIGHBOURS
from analysis.probes import Activations
from splits.errors import UserError

CLASSES, PER_CLASS, UNITS = 8, 15, 24
DOMAINS = ("real", "sketch")


def samples():
    rows = [(d, c) for d in DOMAINS for c in range(CLASSES) for _ in range(PER_CLASS)]
    table = pl.DataFrame(rows, ["domain", "class_id"], orient="row")
    return table.with_row_index("id").with_columns(pl.col("id").cast(pl.String))


def activations(seed, units=UNITS):
    rng = np.random.default_rng(seed)
    table = samples()
    means = rng.normal(size=(CLASSES, units))[table["class_id"].to_numpy()]
    return 3 + means + rng.normal(size=(table.height, units))


def model(values):
    return Activations(samples(), {"layer1": values.astype(np.float32)})


def compared(x, y):
    table = model_similarity(model(x), model(y), [("layer1", "layer1")])
    return {row["measure"]: row for row in table.filter(domain="real").iter_rows(named=True)}


def test_a_rotated_and_scaled_copy_is_the_same():
    x = activations(0)
    for row in compared(x, 2 * x @ ortho_group.rvs(UNITS, random_state=0) + 1).values():
        assert row["value"] == pytest.approx(1, abs=1e-3)
        assert row["hi"] - row["lo"] < 1e-3
        assert row["chance_hi"] < 0.7


def test_models_that_see_nothing_alike_are_at_chance():
    rng = np.random.default_rng(0)
    found = compared(*rng.normal(size=(2, samples().height, UNITS)))
    for row in found.values():
        assert row["lo"] < row["chance_hi"]
        assert row["hi"] > row["chance_lo"]
    n = CLASSES * PER_CLASS
    assert found["knn"]["chance"] == pytest.approx(MOST_NEIGHBOURS / (n - 1), abs=0.01)


def test_the_values_are_those_of_whole_kernels_and_the_rows_those_of_the_contract():
    x, y = activations(0), activations(1, 9) + activations(0)[:, :9]
    table = model_similarity(model(x), model(y), [("layer1", "layer1")])
    assert dict(table.schema) == MODEL_SIMILARITY
    assert table["measure"].to_list() == ["cka", "s_rot", "knn"] * 2
    assert table.select("n", "n_classes").unique().rows() == [(CLASSES * PER_CLASS, CLASSES)]
    part = slice(0, CLASSES * PER_CLASS)
    k, m = (v[part].astype(np.float32).astype(float) for v in (x, y))
    k, m = k @ k.T, m @ m.T
    expected = cka_of_kernels(k, m)
    assert compared(x, y)["cka"]["value"] == pytest.approx(expected, rel=1e-6)


def test_rotated_similarity_is_that_of_all_units_where_there_are_more_than_images():
    few = np.arange(0, CLASSES * PER_CLASS, 5)
    x, y = activations(0, 90)[few], activations(1, 70)[few]
    sides = [Activations(samples()[few], {"s": values.astype(np.float32)}) for values in (x, y)]
    row = model_similarity(*sides, [("s", "s")]).row(1, named=True)
    a, b = (v.astype(np.float32).astype(float) for v in (x, y))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    assert row["value"] == pytest.approx(np.linalg.norm(a.T @ b, "nuc") / scale)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(few)) for _ in range(ROTATIONS)]
    chance = [np.linalg.norm(a.T @ b[order], "nuc") / scale for order in orders]
    found = [row["chance"], row["chance_lo"], row["chance_hi"]]
    assert found == pytest.approx([np.mean(chance), min(chance), max(chance)])


def test_a_bar_ends_with_the_last_domain_and_pair_of_sites():
    both = Activations(samples(), {"s": activations(0), "t": activations(1)})
    with tqdm(total=4, file=StringIO()) as bar:
        model_similarity(both, both, [("s", "s"), ("s", "t")], bar=bar)
        assert bar.n == 4


@pytest.mark.parametrize("measure", ["cka", "knn", "s_rot"])
def test_the_interval_leaves_out_whole_classes(measure):
    x, y = activations(0), activations(0) + 1.5 * activations(1)
    row = compared(x, y)[measure]
    labels, n = samples()["class_id"].to_numpy(), CLASSES * PER_CLASS
    left_out = []
    for gone in range(CLASSES):
        kept = (labels != gone) & (np.arange(len(labels)) < n)
        rows = samples().filter(kept)
        one, other = (Activations(rows, {"s": v[kept].astype(np.float32)}) for v in (x, y))
        table = model_similarity(one, other, [("s", "s")])
        left_out.append(table.filter(measure=measure)["value"].item())
    error = np.sqrt((CLASSES - 1) * np.var(left_out))
    found = (row["hi"] - row["lo"]) / 2 / 2.364624  # Student's quantile, 7 degrees
    assert found == pytest.approx(error, rel=0.15 if measure == "s_rot" else 1e-6)


def test_chance_of_neighbours_is_that_of_shuffled_images():
    x, y = (activations(seed)[:60] for seed in (0, 1))
    orders = [np.random.default_rng(seed).permutation(60) for seed in range(3)]
    _, chance = _knn(x, y, np.repeat(np.arange(6), 10), orders)
    k = MOST_NEIGHBOURS
    expected = [_overlap(_nearest(x, k), _nearest(y[order], k)).mean() for order in orders]
    assert chance == pytest.approx(expected)


def test_other_images_and_unknown_sites_are_errors():
    one, other = model(activations(0)), model(activations(1))
    shuffled = Activations(other.samples[::-1], other.sites)
    with pytest.raises(UserError, match="not the same"):
        model_similarity(one, shuffled, [("layer1", "layer1")])
    with pytest.raises(UserError, match="site `layer2` is unknown"):
        model_similarity(one, other, [("layer1", "layer2")])


def test_dead_sites_and_few_classes_are_rows_without_numbers():
    dead = compared(activations(0), np.ones((samples().height, 4)))
    assert {row["note"] for row in dead.values()} == {"all activations of a model are equal"}
    few = samples()["class_id"].to_numpy() < 4
    one = Activations(samples().filter(few), {"s": activations(0)[few]})
    table = model_similarity(one, one, [("s", "s")])
    assert set(table["note"]) == {"4 classes, fewer than 5"}
    assert table["value"].null_count() == table.height
