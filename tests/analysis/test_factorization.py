"""Sums of a class and a domain are recognised, and so is how much of a layer is none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from analysis.additive_fit import additive_fit
from analysis.cells import CellMeans
from analysis.factorization import FACTORIZATION, factorization
from gen.schema import SiteLevel

D, C, U, F = 4, 20, 30, 4
DOMAINS = ("real", "clipart", "painting", "sketch")
CLASSES = tuple(f"class {number:02d}" for number in range(C))
HELD_OUT = {0: (1, 5, 6, 11, 17)}


def factors(seed, units=U):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(C, units)), rng.normal(size=(D, units)), rng


def additive(seed, units=U):
    classes, domains, _ = factors(seed, units)
    return 3 + classes[None] + domains[:, None]


def cell_means(sites, noise=0.0, images=8, seed=7):
    """Cells with these true means, of so many images with noise of this deviation each."""
    rng, per_fold = np.random.default_rng(seed), images // F
    folds = {
        site: true + noise / np.sqrt(per_fold) * rng.normal(size=(F, *true.shape))
        for site, true in sites.items()
    }
    return CellMeans(folds, np.full((F, D, C), per_fold), DOMAINS, CLASSES)


def values(table, **key):
    rows = table.filter(**key)
    return dict(zip(rows["quantity"], rows["value"], strict=True))


def test_factors_are_found_again_from_the_seen_cells_alone():
    true = additive(0)
    seen = np.ones((D, C), dtype=bool)
    seen[3, list(HELD_OUT[0])] = False
    shown = np.where(seen[..., None], true, np.nan)  # what is not seen cannot matter
    fit = additive_fit(shown, seen)
    assert np.allclose(fit.cells_DCU, true)
    assert np.allclose(fit.class_CU.sum(axis=0), 0)
    assert np.allclose(fit.domain_DU.sum(axis=0), 0)


def test_the_fit_is_that_of_least_squares_over_all_coefficients_at_once():
    cells = np.random.default_rng(0).normal(size=(D, C, 3))
    seen = np.random.default_rng(1).random((D, C)) < 0.7
    seen[0] = True
    d, c = np.nonzero(seen)
    design = np.hstack([np.eye(D)[d], np.eye(C)[c]])
    expected = design @ np.linalg.lstsq(design, cells[seen], rcond=None)[0]
    assert np.allclose(additive_fit(cells, seen).cells_DCU[seen], expected)


def test_cells_that_hang_together_nowhere_have_no_fit():
    seen = np.zeros((2, 4), dtype=bool)
    seen[0, :2] = seen[1, 2:] = True
    with pytest.raises(ValueError, match="do not connect"):
        additive_fit(np.zeros((2, 4, 3)), seen)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_additive_cells_have_r2_1_and_predict_what_was_held_out(noise):
    found = factorization(cell_means({"stem": additive(0)}, noise), "sketch", HELD_OUT, None)
    assert dict(found.schema) == FACTORIZATION
    got = values(found)
    for quantity in ("r2", "class_r2", "held_out_cosine"):
        assert got[quantity] == pytest.approx(1, abs=1e-9 if noise == 0 else 0.03)
    assert got["held_out_cosine_without_domain"] < 0.9
    assert got["held_out_cosine_without_class"] < 0.9
    if noise:
        assert got["r2_uncorrected"] < 0.97


def test_an_interaction_of_known_size_has_the_r2_that_it_leaves_whatever_the_noise():
    """Of 20 worlds with twelve noisy images per cell: the mean is the truth, the raw one is not."""
    corrected, raw, truth = [], [], []
    for seed in range(20):
        _, _, rng = factors(seed)
        interaction = rng.normal(size=(D, C, U))
        true = additive(seed) + interaction
        whole = factorization(cell_means({"stem": true}), "sketch", {0: ()}, None)
        noisy = cell_means({"stem": true}, 3.0, images=12, seed=1000 + seed)
        got = values(factorization(noisy, "sketch", {0: ()}, None))
        truth.append(values(whole)["r2"])
        corrected.append(got["r2"])
        raw.append(got["r2_uncorrected"])
    assert 0.5 < np.mean(truth) < 0.9
    error = np.std(np.subtract(corrected, truth)) / np.sqrt(20)
    assert abs(np.mean(corrected) - np.mean(truth)) < 3 * error + 1e-3
    assert abs(np.mean(raw) - np.mean(truth)) > 0.02


def test_the_share_of_class_variance_is_what_was_planted():
    """Balanced and without noise: class / (class + interaction), by the degrees of freedom."""
    classes, domains, rng = factors(3, 400)
    true = classes + domains[:, None] + 2 * rng.normal(size=(D, C, 400))
    got = values(factorization(cell_means({"stem": true}), "sketch", {0: ()}, None))
    # E of the mean squares: classes 1 + 4/D of the class sum, interaction 4 · (D − 1)/D
    assert got["class_r2"] == pytest.approx((1 + 4 / D) / (1 + 4), abs=0.03)


def test_chance_is_what_classes_in_an_order_of_their_own_explain():
    true = additive(1) + 0.3 * np.random.default_rng(5).normal(size=(D, C, U))
    table = factorization(cell_means({"stem": true}, 0.5), "sketch", {0: ()}, None)
    chance = dict(zip(table["quantity"], table["chance"], strict=True))
    assert chance["class_r2"] == pytest.approx(1 / D)
    rng = np.random.default_rng(0)
    shuffled = []
    for _ in range(40):
        broken = np.stack([domain[rng.permutation(C)] for domain in true])
        shuffled.append(values(factorization(cell_means({"x": broken}), "sketch", {0: ()}, None)))
    for quantity in ("r2", "class_r2"):
        mean = np.mean([got[quantity] for got in shuffled])
        assert chance[quantity] == pytest.approx(mean, abs=0.02)


def test_the_chance_of_a_predicted_cell_is_that_of_another_class():
    cells = cell_means({"stem": additive(0)})
    row = factorization(cells, "sketch", HELD_OUT, None).filter(quantity="held_out_cosine")
    seen = np.ones((D, C), dtype=bool)
    members = list(HELD_OUT[0])
    seen[3, members] = False
    fit = additive_fit(cells.means("stem"), seen)
    true = cells.means("stem")[3, members] - fit.mean_U
    other = [true[i] @ true[j] for i in range(5) for j in range(5) if i != j]
    assert row["chance"].item() == pytest.approx(np.mean(other) / (true**2).sum(axis=1).mean())
    assert row["chance"].item() < row["lo"].item()


def test_held_out_cells_that_the_sum_does_not_hold_for_are_not_predicted():
    true = additive(2)
    rng = np.random.default_rng(9)
    members = list(HELD_OUT[0])
    true[3, members] = 3 + rng.normal(size=(5, U)) * np.sqrt(2)
    found = factorization(cell_means({"stem": true}, 1.0), "sketch", HELD_OUT, None)
    got = values(found)
    assert got["r2"] == pytest.approx(1, abs=0.03)
    assert abs(got["held_out_cosine"]) < 0.3


def test_intervals_cover_the_mean_over_draws_of_as_many_classes():
    domains = np.random.default_rng(0).normal(size=(D, 8))
    rows = []
    for seed in range(100):
        rng = np.random.default_rng(5000 + seed)
        interaction = np.sqrt(0.5) * rng.normal(size=(D, C, 8))
        cells = cell_means(
            {"x": domains[:, None] + rng.normal(size=(C, 8)) + interaction}, 0.5, seed=seed
        )
        table = factorization(cells, "sketch", {0: ()}, None).filter(quantity="class_r2")
        rows.append(table.select("value", "lo", "hi").row(0))
    values, lo, hi = np.array(rows).T
    assert 0.9 <= np.mean((lo <= values.mean()) & (values.mean() <= hi)) < 1


def test_orthogonal_factors_share_no_direction_and_equal_ones_all():
    classes, domains, _ = factors(0)
    classes[:, U // 2 :] = 0
    domains[:, : U // 2] = 0
    apart = classes + domains[:, None]
    along = np.random.default_rng(1).normal(size=(1, U))
    same = classes[:, :1] @ along + (domains[:, -1:] @ along)[:, None]
    table = factorization(cell_means({"apart": apart, "same": same}), "sketch", HELD_OUT, None)
    got, equal = values(table, site="apart"), values(table, site="same")
    assert got["class_in_domain_span"] == pytest.approx(0, abs=1e-9)
    assert got["factor_cosine"] == pytest.approx(0, abs=1e-9)
    assert equal["class_in_domain_span"] == pytest.approx(1)
    assert equal["factor_cosine"] == pytest.approx(1)


def test_factors_at_random_share_what_chance_says():
    tables = [
        factorization(cell_means({"x": additive(seed, 100)}), "sketch", HELD_OUT, None)
        for seed in range(20)
    ]
    for quantity in ("class_in_domain_span", "factor_cosine"):
        rows = pl.concat(tables).filter(quantity=quantity)
        assert rows["value"].mean() == pytest.approx(rows["chance"][0], rel=0.1)


def test_predicted_cells_are_named_by_their_texts():
    classes, domains, _ = factors(6, 200)
    true = classes + domains[:, None]
    broken = true.copy()
    broken[3, list(HELD_OUT[0])] = true[3, list(HELD_OUT[0])[::-1]]  # all but one are exchanged
    for cells, expected in ((true, 1.0), (broken, 0.2)):
        found = factorization(cell_means({"embedding": cells}), "sketch", HELD_OUT, classes)
        got = values(found)
        assert got["accuracy_predicted"] == 1
        assert got["accuracy_true"] == expected
        assert got["accuracy_without_domain"] == 1
        assert got["accuracy_without_class"] <= 0.2
        rows = found.filter(pl.col("quantity").str.starts_with("accuracy"))
        assert set(rows["chance"]) == {1 / C}
        assert set(rows["n"]) == {5}
        assert ((rows["lo"] < rows["hi"]) & (rows["hi"] <= 1)).all()


def test_what_is_noise_alone_is_not_estimated_and_nothing_is_nan():
    sites = {"noise": np.zeros((D, C, U)), "still": np.zeros((D, C, U))}
    cells = cell_means(sites, 1.0)
    cells.folds["still"][:] = 1
    draws = {0: HELD_OUT[0], 1: ()}
    table = factorization(cells, "sketch", draws, None)
    hidden = table.filter(pl.col("quantity").is_in(["r2", "class_r2", "held_out_cosine"]))
    assert hidden["value"].null_count() == hidden.height
    assert (hidden["note"] != "").all()
    assert table.drop_nulls("value").select(pl.col("value", "lo", "hi").is_nan().any()).row(0) == (
        *(False, False, False),
    )
    assert not table.filter(pl.col("value").is_null() & (pl.col("note") == "")).height
    none = table.filter(draw=1, quantity="held_out_cosine", site="noise")
    assert none["note"].item() == "no held-out class has enough test images"


def test_levels_and_depths_are_those_asked_for():
    cells = cell_means({"block1.heads": additive(0)})
    places = {"block1.heads": (SiteLevel.head, 3)}
    table = factorization(cells, "sketch", HELD_OUT, None, places)
    assert table.select("level", "depth").unique().rows() == [("head", 3)]


def test_two_held_out_classes_have_a_value_and_no_interval():
    table = factorization(cell_means({"x": additive(0)}), "sketch", {0: (2, 3)}, None)
    row = table.filter(quantity="held_out_cosine").row(0, named=True)
    assert row["value"] == pytest.approx(1)
    assert (row["lo"], row["hi"]) == (None, None)
    assert row["note"] == "no interval: 2 classes, fewer than 3"


def test_the_sum_has_more_than_a_factor_by_the_difference_over_the_same_classes():
    """Noise that both cosines have in common is no part of the difference's interval."""
    table = factorization(cell_means({"x": additive(0)}, 1.0), "sketch", HELD_OUT, None)
    found = {row["quantity"]: row for row in table.iter_rows(named=True)}
    whole = found["held_out_cosine"]
    for factor in ("without_domain", "without_class"):
        alone, more = found[f"held_out_cosine_{factor}"], found[f"held_out_cosine_minus_{factor}"]
        assert more["value"] == pytest.approx(whole["value"] - alone["value"])
        assert more["lo"] > 0
        assert more["chance"] is None
        assert more["n"] == len(HELD_OUT[0])


@pytest.mark.parametrize("held_out", [5, 12])
def test_intervals_of_differences_cover_their_mean_over_draws_of_classes(held_out):
    domains = np.random.default_rng(0).normal(size=(D, 8))
    names = [f"held_out_cosine_minus_without_{factor}" for factor in ("domain", "class")]
    rows = []
    for seed in range(100):
        rng = np.random.default_rng(9000 + seed)
        interaction = 0.7 * rng.normal(size=(D, C, 8))
        true = domains[:, None] + rng.normal(size=(C, 8)) + interaction
        cells = cell_means({"x": true}, 0.5, seed=seed)
        table = factorization(cells, "sketch", {0: range(held_out)}, None)
        rows.append([table.filter(quantity=n).select("value", "lo", "hi").row(0) for n in names])
    value, lo, hi = np.array(rows).transpose(2, 1, 0)
    mean = value.mean(axis=1, keepdims=True)
    covered = ((lo <= mean) & (mean <= hi)).mean(axis=1)
    assert ((covered >= 0.9) & (covered < 1)).all()


def test_a_factor_that_cells_do_not_have_makes_the_sum_worse():
    true = additive(4)
    members = list(HELD_OUT[0])
    domains = true.mean(axis=1) - true.mean(axis=(0, 1))
    true[3, members] = true.mean(axis=(0, 1)) + domains[3]  # the cells are their domain alone
    true[3, members] += 0.3 * np.random.default_rng(2).normal(size=(5, U))
    got = factorization(cell_means({"x": true}, 0.5), "sketch", HELD_OUT, None)
    more = got.filter(quantity="held_out_cosine_minus_without_class").row(0, named=True)
    assert more["value"] < 0
    assert got.filter(quantity="held_out_cosine_minus_without_domain")["lo"].item() > 0


def test_exchanging_classes_is_no_chance_where_all_are_predicted_alike():
    table = factorization(cell_means({"x": additive(0)}, 1.0), "sketch", HELD_OUT, None)
    chance = dict(zip(table["quantity"], table["chance"], strict=True))
    assert chance["held_out_cosine_without_class"] is None
    assert chance["held_out_cosine_without_domain"] is not None
