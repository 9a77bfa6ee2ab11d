"""Features are told apart by where they fire, and rare ones are not taken for selective."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from analysis.sae_codes import Coded, Places
from analysis.sae_features import (
    BOTH,
    DOMAIN,
    OTHER,
    SHARED,
    SILENT,
    TOP_IMAGES,
    entropy,
    feature_names,
    feature_rows,
    firing_rates,
    selectivity,
    shuffled_within,
    top_images,
)

D, C, PER_CELL = 4, 6, 20
N = D * C * PER_CELL
DOMAINS, CLASSES = [f"domain {i}" for i in range(D)], [f"class {i}" for i in range(C)]


def places():
    cell = np.repeat(np.arange(D * C), PER_CELL)
    return Places(cell // C, cell % C, D, C)


def planted(seed=0):
    """A feature of every kind, then rare ones that fire anywhere."""
    rng, where = np.random.default_rng(seed), places()
    d, c = where.domain_N, where.class_N
    often = rng.random((N, 4)) < 0.7
    fires = np.zeros((N, 30), dtype=bool)
    fires[:, 0] = (c == 2) & often[:, 0]
    fires[:, 1] = (d == 1) & often[:, 1]
    fires[:, 2] = (d == 3) & (c == 4) & often[:, 2]
    fires[:, 3] = often[:, 3]
    for j in range(5, 30):  # and 4 never fires
        fires[rng.choice(N, 3, replace=False), j] = True
    return csr_array((fires * rng.uniform(1, 2, size=fires.shape)).astype(np.float32))


def rows(codes, seed=0):
    return feature_rows(codes, places(), DOMAINS, CLASSES, np.random.default_rng(seed))


def test_every_planted_feature_is_of_its_kind():
    table = rows(planted())
    assert table["kind"].to_list()[:5] == [SHARED, DOMAIN, BOTH, OTHER, SILENT]
    assert set(table["kind"][5:]) == {OTHER}
    assert table["top_class"][0] == "class 2"
    assert table["top_domain"][1] == "domain 1"
    assert (table["top_domain"][2], table["top_class"][2]) == ("domain 3", "class 4")


def test_entropies_are_those_of_the_rates():
    table = rows(planted())
    assert table["domain_entropy"][0] > 0.97
    assert table["class_entropy"][0] == table["domain_entropy"][2] == pytest.approx(0)
    assert table["rate"][1] == pytest.approx(0.7 / D, abs=0.05)
    rates = np.array([[0.5, 0.2], [0.25, 0.2], [0.25, 0.2], [0.0, 0.2]])
    np.testing.assert_allclose(entropy(rates), [1.5 * np.log(2) / np.log(4), 1])


def test_a_feature_that_never_fires_has_no_entropy_and_says_so():
    row = rows(planted()).row(4, named=True)
    assert row["rate"] == 0
    assert row["note"] == "fires on no test image"
    empty = ("domain_entropy", "class_entropy", "p_domain", "p_class", "top_domain", "top_class")
    assert {row[name] for name in empty} == {None}


def test_rare_features_have_low_entropy_by_chance_alone():
    rare = rows(planted())[5:]
    assert rare["domain_entropy"].mean() < 0.8
    difference = rare["domain_entropy"] - rare["domain_entropy_chance"]
    assert abs(difference.mean()) < 0.1


def test_of_features_that_fire_anywhere_one_in_twenty_has_a_small_p():
    rng, where = np.random.default_rng(3), places()
    rates = np.geomspace(0.005, 0.9, 1500)
    codes = csr_array((rng.random((N, len(rates))) < rates).astype(np.float32))
    found = selectivity(codes, where.domain_N, where.class_N, D, np.random.default_rng(4))
    assert 0.02 < (found.p_J <= 0.05).mean() < 0.07
    assert (found.p_J <= 0.001).mean() < 0.004
    table = feature_rows(codes, where, DOMAINS, CLASSES, np.random.default_rng(4))
    assert set(table["kind"]) <= {OTHER, SILENT}


def test_the_p_value_of_two_images_of_one_domain_is_that_of_the_hypergeometric_law():
    fires = np.zeros((N, 1), dtype=np.float32)
    fires[[0, 1]] = 1  # class 0 in domain 0, of whose 80 images 20 are in domain 0
    found = selectivity(
        csr_array(fires), places().domain_N, places().class_N, D, np.random.default_rng(0)
    )
    assert found.p_J[0] == pytest.approx(19 / 79, abs=0.07)


@pytest.mark.parametrize(("many", "images"), [(75, (2, 6)), (345, (15, 40))])
def test_few_images_of_many_classes_have_no_impossible_p(many, images):
    rng = np.random.default_rng(5)
    cell = np.repeat(np.arange(D * many), rng.integers(4, 11, size=D * many))
    fires = np.zeros((len(cell), 2000), dtype=np.float32)
    for column in fires.T:
        column[rng.choice(len(cell), rng.integers(images[0], images[1] + 1), replace=False)] = 1
    found = selectivity(csr_array(fires), cell % many, cell // many, many, rng)
    assert (found.p_J <= 0.001).mean() <= 0.004
    assert (found.p_J <= 0.01).mean() <= 0.03


def test_the_p_value_of_a_feature_of_one_class_is_small_though_no_shuffle_is_like_it():
    fires = np.zeros((N, 1), dtype=np.float32)
    fires[np.arange(0, N, 5)] = (places().class_N == 2)[::5, None]  # 16 images
    table = rows(csr_array(fires))
    assert table["p_class"].item() < 1e-4
    assert table["p_domain"].item() > 0.5


def test_labels_are_shuffled_within_the_other_label():
    rng = np.random.default_rng(0)
    domain, kind = rng.integers(D, size=500), rng.integers(C, size=500)
    found = shuffled_within(domain, kind, rng)
    assert (found != domain).any()
    for c in range(C):
        assert sorted(found[kind == c]) == sorted(domain[kind == c])


def test_all_cells_weigh_alike_in_rates_however_many_images_they_have():
    cell = np.repeat(np.arange(4), [40, 10, 3, 2])
    where = Places(cell // 2, cell % 2, 2, 2)
    codes = csr_array((cell == 0).astype(np.float32)[:, None])
    np.testing.assert_allclose(firing_rates(codes, where)[:, :, 0], [[1, 0], [0, 0]])
    table = feature_rows(codes, where, ["a", "b"], ["x", "y"], np.random.default_rng(0))
    assert table["rate"].item() == pytest.approx(0.25)


def test_the_images_of_a_feature_are_those_with_its_largest_codes():
    codes = planted()
    ids = [f"image {i}" for i in range(N)]
    found = top_images(codes, ids)
    column = codes.toarray()[:, 0]
    assert found[0] == [ids[i] for i in np.argsort(-column)[:TOP_IMAGES]]
    assert len(found[5]) == 3
    assert found[4] == []


def test_features_are_named_by_the_nearest_text():
    texts = np.array([[2.0, 0, 0], [0, 0.5, 0], [0, 3, 3]])
    names, cosines = feature_names(np.eye(3)[[1, 0]], ["cat", "dog", "bird"], texts)
    assert names == ["dog", "cat"]
    np.testing.assert_allclose(cosines, 1)


def test_halves_deal_the_images_of_every_cell_in_turn():
    where = Places(np.array([0, 1, 0, 0, 1, 1]), np.array([0, 0, 0, 0, 0, 0]), 2, 1)
    assert where.half_N.tolist() == [0, 0, 1, 0, 1, 0]


def test_cell_means_are_means_of_sparse_and_dense_values_alike():
    where, values = places(), planted().toarray()
    expected = values.reshape(D, C, PER_CELL, -1)
    np.testing.assert_allclose(where.means(csr_array(values)), expected.mean(axis=2), rtol=1e-5)
    halves = where.means(values, where.half_N == 1)
    np.testing.assert_allclose(halves, expected[:, :, 1::2].mean(axis=2), rtol=1e-5)


def test_knowing_the_domain_alone_explains_nothing():
    rng, where = np.random.default_rng(0), places()
    x = 5.0 * where.domain_N[:, None] + rng.normal(size=(N, 3))
    within = np.stack([x[where.domain_N == d].mean(axis=0) for d in range(D)])[where.domain_N]
    for made, expected in ((within, 0), (x, 1), ((x + within) / 2, 0.75)):
        around = x - x.mean(axis=0)
        found = Coded(
            planted(),
            where.means(((x - made) ** 2).sum(axis=1, keepdims=True))[:, :, 0],
            where.means((around**2).sum(axis=1, keepdims=True))[:, :, 0],
            where.means(around),
        )
        assert found.r2(1, range(C)) == pytest.approx(expected)
