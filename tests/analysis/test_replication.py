"""The published measures, against values worked out by hand, their source, and our own."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import ortho_group

from analysis.cells import CellMeans
from analysis.class_sets import ClassSet
from analysis.domain_similarity import domain_similarity
from analysis.replication import (
    PUBLISHED,
    cka,
    feature_histogram,
    hsic1,
    linear_kernel,
    overlap,
    published_sae_sharing,
    published_similarity,
    rbf_kernel,
)

C, U = 20, 8
DOMAINS = ("real", "sketch", "quickdraw")
SETS = [
    ClassSet("all", None, tuple(range(C))),
    ClassSet("seen", 0, tuple(range(6, C))),
    ClassSet("held_out", 0, tuple(range(6))),
]
NOTHING = pl.DataFrame(
    schema={
        **dict.fromkeys(["measure", "site", "domain_a", "domain_b", "classes"], pl.String),
        "draw": pl.Int64,
        **dict.fromkeys(["value", "lo", "hi"], pl.Float64),
    }
)


def means(seed, classes=C):
    return np.random.default_rng(seed).normal(size=(classes, U))


def cells(seed=0):
    """Sketches are real images turned, plus noise; quickdraw is of its own."""
    real = means(seed)
    turn = ortho_group.rvs(U, random_state=seed)
    domains = np.stack([real, real @ turn + 0.3 * means(seed + 1), means(seed + 2)])
    noise = 0.05 * np.random.default_rng(seed).normal(size=(2, 3, C, U))
    counts = np.full((2, 3, C), 2)
    names = tuple(f"class {c}" for c in range(C))
    return CellMeans(
        {"stem": domains + noise, "embedding": domains + 2 * noise}, counts, DOMAINS, names
    )


# ---------------------------------------------------------------------------- CKA


def test_hsic_is_the_mean_over_quadruples_of_different_classes():
    """Song et al. 2012, Theorem 2: the U-statistic of h over all ordered 4-tuples."""
    from itertools import permutations

    x, y = means(0, 6), means(1, 6)
    k, l = linear_kernel(x), linear_kernel(y)  # noqa: E741
    terms = [
        k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in permutations(range(6), 4)
    ]
    assert hsic1(k, l) == pytest.approx(np.mean(terms))


def test_equal_geometry_has_cka_1_and_independent_ones_0_in_expectation():
    x = linear_kernel(means(0))
    assert cka(x, x) == pytest.approx(1)
    values = [cka(linear_kernel(means(2 * i)), linear_kernel(means(2 * i + 1))) for i in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


def test_a_kernel_without_variation_has_no_cka():
    assert cka(np.ones((C, C)), linear_kernel(means(0))) is None


def test_the_bandwidth_is_the_lower_median_of_the_squared_distances():
    x = np.array([[0.0], [1.0], [3.0], [7.0]])  # squares 1, 9, 49, 4, 36, 16
    width = 9
    apart = (x - x.T) ** 2
    assert rbf_kernel(x) == pytest.approx(np.exp(-apart / (2 * width)))


def test_the_order_of_units_a_rotation_and_a_shift_change_no_rbf_kernel():
    x = means(0)
    turn = ortho_group.rvs(U, random_state=1)
    assert rbf_kernel(x @ turn + 3) == pytest.approx(rbf_kernel(x))


def test_every_pair_site_and_class_set_has_its_row_beside_ours():
    planted = cells()
    ours = domain_similarity(planted, SETS, measures=("cka", "cka_rbf"))
    table = published_similarity(planted, SETS, ours)
    assert dict(table.schema) == PUBLISHED
    assert table.height == 2 * 2 * 3 * 3
    assert table["ours_lo"].null_count() == 0
    assert table.filter(classes="held_out")["n"].unique().to_list() == [6]


def test_ours_and_the_published_linear_cka_are_one_number():
    planted = cells()
    ours = domain_similarity(planted, SETS, measures=("cka", "cka_rbf"))
    table = published_similarity(planted, SETS, ours)
    linear = table.filter(measure="cka")
    assert linear["value"].to_list() == pytest.approx(linear["ours"].to_list(), abs=1e-10)
    rbf = table.filter(measure="cka_rbf")  # the bandwidth of ours lies between two distances
    assert rbf["value"].to_list() == pytest.approx(rbf["ours"].to_list(), abs=0.02)


def test_planted_sharing_shows_in_the_published_numbers():
    table = published_similarity(cells(), SETS[:1], NOTHING)
    pairs = table.filter(measure="cka", site="stem").select("domain_a", "domain_b", "value")
    values = {(a, b): value for a, b, value in pairs.iter_rows()}
    assert values["real", "sketch"] > 0.7
    assert abs(values["real", "quickdraw"]) < 0.3
    assert abs(values["sketch", "quickdraw"]) < 0.3


def test_three_classes_have_no_published_cka():
    few = [ClassSet("held_out", 0, (0, 1, 2))]
    table = published_similarity(cells(), few, NOTHING)
    assert table["value"].is_null().all()
    assert set(table["note"]) == {"3 classes; HSIC₁ needs 4"}


def test_where_ours_is_missing_it_is_null():
    table = published_similarity(cells(), SETS[:1], NOTHING)
    assert table["ours"].is_null().all()
    assert table["value"].null_count() == 0


# ---------------------------------------------------------------------------- features


def test_a_histogram_counts_images_in_which_a_feature_is_positive_and_among_the_largest():
    codes = np.zeros((3, 30))
    codes[0, :25] = np.arange(25, 0, -1)  # features 20 to 24 are not among the 20 largest
    codes[1, [2, 5]] = 1
    codes[2, 5] = -1
    counts = feature_histogram(codes)
    assert counts[:20].tolist() == [1, 1, 2, 1, 1, 2] + [1] * 14
    assert counts[20:].sum() == 0


def test_overlap_is_the_share_of_the_top_features_of_both():
    a, b = np.zeros(40), np.zeros(40)
    a[[1, 2, 3, 4]] = [9, 8, 7, 6]
    b[[1, 2, 30, 31]] = [9, 8, 7, 6]
    assert overlap(a, b, 2) == 1
    assert overlap(a, b, 4) == 0.5
    assert overlap(a, a, 4) == 1


def planted_codes():
    """Ten images of two classes in two domains; class 0 has the same features in both."""
    rows, codes = [], []
    for domain, shift in (("real", 0), ("sketch", 20)):
        for label in (0, 1):
            for _ in range(10):
                code = np.zeros(60)
                code[np.arange(20) + (0 if label == 0 else shift + 20)] = np.arange(20, 0, -1)
                codes.append(code)
                rows.append((domain, label))
    return np.array(codes), pl.DataFrame(rows, ["domain", "class_id"], orient="row")


def test_sharing_is_the_mean_over_k_and_over_classes():
    codes, samples = planted_codes()
    sets = [ClassSet("all", None, (0, 1)), ClassSet("held_out", 0, (1,)), ClassSet("seen", 0, (0,))]
    table = published_sae_sharing(
        codes, samples, ("real", "sketch"), sets, NOTHING.drop("measure", "site"), "embedding", 5
    )
    assert dict(table.schema) == PUBLISHED
    found = dict(table.select("classes", "value").iter_rows())
    assert found == {"all": 0.5, "held_out": 0.0, "seen": 1.0}
    assert table["n"].to_list() == [2, 1, 1]
    assert set(table["depth"]) == {5}


def test_our_overlap_stands_beside_the_published_one():
    codes, samples = planted_codes()
    ours = pl.DataFrame(
        {"domain_a": "real", "domain_b": "sketch", "classes": "all", "draw": [None]}
        | {"value": 0.4, "lo": 0.3, "hi": 0.5},
        schema_overrides={"draw": pl.Int64},
    )
    sets = [ClassSet("all", None, (0, 1))]
    (row,) = published_sae_sharing(
        codes, samples, ("real", "sketch"), sets, ours, "embedding", 5
    ).to_dicts()
    assert (row["value"], row["ours"], row["ours_lo"], row["ours_hi"]) == (0.5, 0.4, 0.3, 0.5)


def test_a_class_without_images_in_a_domain_is_not_counted():
    codes, samples = planted_codes()
    kept = ~((samples["domain"] == "sketch") & (samples["class_id"] == 1)).to_numpy()
    sets = [ClassSet("all", None, (0, 1)), ClassSet("held_out", 0, (1,))]
    table = published_sae_sharing(
        codes[kept], samples.filter(kept), ("real", "sketch"), sets,
        NOTHING.drop("measure", "site"), "embedding", 5,
    )  # fmt: skip
    assert table["n"].to_list() == [1, 0]
    assert table["value"].to_list() == [1.0, None]
    assert table["note"].to_list() == ["", "no class of this set has images"]
