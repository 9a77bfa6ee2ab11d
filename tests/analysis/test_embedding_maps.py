"""Maps show the same images in the same place, and distances are those that were planted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import ortho_group

from analysis.cells import CellMeans
from analysis.domain_distances import (
    MAP_DISTANCES,
    domain_distances,
    modality_gaps,
    within_cells,
)
from analysis.embedding_maps import (
    MAPS,
    MOST_POINTS,
    balanced,
    embedding_maps,
    on_a_circle,
    pca_layout,
    tsne_layout,
    turned,
)
from analysis.probes import Activations

DOMAINS = ("real", "sketch", "clipart", "quickdraw")
CLASSES, PER_CELL, UNITS = 6, 4, 10


def images(per_cell=PER_CELL, classes=CLASSES, uneven=0):
    """Rows of a sample table: `per_cell` of every cell, `uneven` more of the first."""
    cells = [(d, c) for d in DOMAINS for c in range(classes) for _ in range(per_cell)]
    cells += [(DOMAINS[0], 0)] * uneven
    return pl.DataFrame(
        {
            "id": [f"{d}/{c}/{i}" for i, (d, c) in enumerate(cells)],
            "domain": [d for d, _ in cells],
            "class_id": [c for _, c in cells],
            "class_name": [f"class {c}" for _, c in cells],
        }
    )


def shown(seed=0, apart=12.0, **table):
    """Domains apart from each other, each along a unit of its own and less so than the one before.

    `apart` is how far the first is from 0; images vary by 1 in every unit.
    """
    rows = images(**table)
    x = np.random.default_rng(seed).normal(size=(rows.height, UNITS))
    for number, domain in enumerate(DOMAINS):
        x[(rows["domain"] == domain).to_numpy(), number] += apart * 0.6**number
    return Activations(rows, {"stem": np.float32(x**3), "embedding": np.float32(x)})


def layout(table, site, method):
    return table.filter(site=site, method=method).select("x", "y").to_numpy()


def middles(table, site, method):
    """Mean place of every domain, in the order of DOMAINS."""
    rows = table.filter(site=site, method=method).group_by("domain").agg(pl.mean("x", "y"))
    return rows.sort(pl.col("domain").cast(pl.Enum(DOMAINS))).select("x", "y").to_numpy()


# ---------------------------------------------------------------------------- maps


def test_every_site_has_a_point_per_image_and_method():
    table = embedding_maps(shown(), DOMAINS)
    assert dict(table.schema) == MAPS
    counts = table.group_by("site", "depth", "method").len().sort("depth", "method").rows()
    assert counts == [
        (site, depth, method, 96)
        for depth, site in enumerate(("stem", "embedding"))
        for method in ("pca", "tsne")
    ]
    assert not table.select(pl.col("x", "y").is_nan().any()).row(0)[0]
    assert table.filter(method="tsne")["explained"].is_null().all()


def test_the_sample_is_balanced_bounded_and_the_same_whatever_is_shown():
    large = shown(per_cell=60, uneven=7)
    sample = balanced(large)
    sizes = sample.samples.group_by("domain", "class_id").len()["len"]
    assert sizes.n_unique() == 1
    assert MOST_POINTS - len(sizes) < sample.samples.height <= MOST_POINTS
    order = np.random.default_rng(0).permutation(large.samples.height)
    other = balanced(Activations(large.samples[order], {}))
    assert set(other.samples["id"]) == set(sample.samples["id"])
    assert len(sample.sites["stem"]) == sample.samples.height


def test_more_cells_than_points_have_one_image_each():
    sample = balanced(Activations(images(per_cell=2, classes=MOST_POINTS // 4 + 9), {}))
    assert sample.samples.height == 4 * (MOST_POINTS // 4 + 9)


def test_pca_holds_what_two_directions_can():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(50, 2)) @ rng.normal(size=(2, UNITS)) + 7
    found, explained = pca_layout(flat)
    assert explained == pytest.approx(1)
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    assert np.linalg.norm(found[:, None] - found[None], axis=-1) == pytest.approx(apart)


def test_constant_activations_are_one_point():
    constant = Activations(images(), {"stem": np.full((96, UNITS), 0.1, np.float32)})
    table = embedding_maps(constant, DOMAINS)
    assert (table.select("x", "y").to_numpy() == 0).all()
    assert table["explained"].is_null().all()


def test_turning_changes_no_distance_and_undoes_a_rotation():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 2))
    mirrored = points @ ortho_group.rvs(2, random_state=1) + [3, -2]
    back = turned(mirrored, points)
    assert back == pytest.approx(points - points.mean(axis=0))
    anywhere = turned(points, rng.normal(size=(20, 2)))
    gram = (points - points.mean(axis=0)) @ (points - points.mean(axis=0)).T
    assert anywhere @ anywhere.T == pytest.approx(gram)


def test_domains_lie_where_they_lie_in_every_map():
    one = shown(0)
    circle = on_a_circle(one.samples["domain"], DOMAINS)
    turn = ortho_group.rvs(UNITS, random_state=3).astype(np.float32)
    other = Activations(one.samples, {site: x @ turn for site, x in one.sites.items()})
    first, second = (embedding_maps(a, DOMAINS) for a in (one, other))
    for method, tolerance in (("pca", 0.01), ("tsne", 0.5)):  # rounding moves points of t-SNE
        found, again = (middles(table, "embedding", method) for table in (first, second))
        size = np.linalg.norm(found, axis=1).mean()
        assert np.linalg.norm(found - again, axis=1).max() < tolerance * size
        best = np.trace(layout(first, "embedding", method).T @ circle)
        for seed in range(20):
            turn = ortho_group.rvs(2, random_state=seed)
            assert np.trace((layout(first, "embedding", method) @ turn).T @ circle) <= best


def test_neighbours_stay_neighbours_in_t_sne():
    sample = shown(apart=20.0)
    start, _ = pca_layout(sample.sites["embedding"])
    found = tsne_layout(sample.sites["embedding"], start, 0)
    apart = np.linalg.norm(found[:, None] - found[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    domain = sample.samples["domain"].to_numpy()
    assert (domain[apart.argmin(axis=1)] == domain).mean() > 0.95


def test_equal_seeds_give_equal_maps():
    one, again = (embedding_maps(shown(), DOMAINS, seed=4) for _ in range(2))
    assert one.equals(again)


def test_three_images_are_no_map():
    few = shown()
    with pytest.raises(ValueError, match="needs 4 images, not 3"):
        embedding_maps(Activations(few.samples[:3], {"stem": few.sites["stem"][:3]}), DOMAINS)


# ---------------------------------------------------------------------------- distances


def cells(seed, distance, per_fold=3, folds=4, classes=40, of_class=0.0, units=UNITS):
    """Two domains `distance` apart, each class moved by `of_class` more in a direction of its own.

    The images of a cell vary by 1 in all units together.
    """
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(1, classes, units)).repeat(2, axis=0)
    true[1, :, 0] += distance
    away = rng.normal(size=(classes, units))
    true[1] += of_class * away / np.linalg.norm(away, axis=1, keepdims=True)
    size = np.sqrt(1 / units / per_fold)
    noisy = true + rng.normal(0, size, size=(folds, 2, classes, units))
    counts = np.full((folds, 2, classes), per_fold)
    names = tuple(f"class {c}" for c in range(classes))
    return CellMeans({"layer1": noisy}, counts, ("a", "b"), names)


def of(table, quantity):
    (row,) = table.filter(quantity=quantity).to_dicts()
    return row


def test_the_columns_and_rows_of_distances():
    table = domain_distances(cells(0, 1.0))
    assert dict(table.schema) == MAP_DISTANCES
    assert table["quantity"].to_list() == [
        "distance",
        "distance_relative",
        "class_distance",
        "class_distance_relative",
    ]
    assert set(table["n"]) == {40}
    assert set(table["level"]) == {"residual"}


def test_the_spread_of_images_is_read_off_the_means_of_folds():
    found = [within_cells(cells(i, 1.0, per_fold=5), "layer1").mean() for i in range(20)]
    assert np.mean(found) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_a_distance_counts_in_deviations_of_an_image(distance):
    found = [of(domain_distances(cells(i, distance)), "distance_relative") for i in range(30)]
    assert np.mean([row["value"] for row in found]) == pytest.approx(distance, rel=0.03)


def test_few_images_make_published_distances_too_large_and_not_the_corrected_ones():
    tables = [domain_distances(cells(i, 0.0, per_fold=1, of_class=0.3)) for i in range(200)]

    def mean(name):
        return np.mean([of(table, name)["value"] for table in tables])

    assert mean("class_distance") > 0.6
    squares = [of(table, "class_distance_relative")["value"] for table in tables]
    assert np.mean(np.sign(squares) * np.square(squares)) == pytest.approx(0.09, abs=0.015)


def test_domains_that_are_one_have_no_distance_in_expectation():
    values = [
        of(domain_distances(cells(i, 0.0, per_fold=1)), "distance_relative") for i in range(60)
    ]
    signs = [np.sign(row["value"]) for row in values]
    assert 0.2 < np.mean(np.array(signs) > 0) < 0.8
    assert np.mean([row["lo"] <= 0 <= row["hi"] for row in values]) > 0.85


def test_intervals_over_classes_cover_the_planted_distance():
    rows = [
        of(domain_distances(cells(i, 0.7, of_class=1.0)), "distance_relative") for i in range(100)
    ]
    assert 0.88 <= np.mean([row["lo"] <= 0.7 <= row["hi"] for row in rows]) <= 1


def test_published_distances_are_those_of_the_means():
    planted = cells(0, 1.0)
    means = planted.means("layer1")
    table = domain_distances(planted)
    apart = means[0] - means[1]
    assert of(table, "distance")["value"] == pytest.approx(np.linalg.norm(apart.mean(axis=0)))
    assert of(table, "class_distance")["value"] == pytest.approx(
        np.linalg.norm(apart, axis=1).mean()
    )
    assert of(table, "distance")["lo"] >= 0


def test_images_that_do_not_differ_are_no_measure_of_distance():
    planted = cells(0, 1.0)
    same = CellMeans(
        {"stem": planted.folds["layer1"][[0, 0]]}, planted.counts[:2], ("a", "b"), planted.classes
    )
    row = of(domain_distances(same), "distance_relative")
    assert (row["value"], row["note"]) == (None, "the images of a cell do not differ")


# ---------------------------------------------------------------------------- modality gap


def gaps(own, gap=0.8, noise=0.02):
    """Images are texts of their classes plus `gap`; quickdraw's also `own` along another axis."""
    rng = np.random.default_rng(0)
    rows = images(classes=20)
    texts = rng.normal(size=(20, 30))
    texts[:, :2] = 0
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    x = np.sqrt(1 - gap**2) * texts[rows["class_id"].to_numpy()]
    x[:, 0] = gap
    x[(rows["domain"] == "quickdraw").to_numpy(), 1] += own
    x += noise * rng.normal(size=x.shape)
    sites = {"stem": np.float32(x), "embedding": np.float32(3 * x)}
    return modality_gaps(Activations(rows, sites), DOMAINS, 5 * texts)


def test_the_gap_is_that_of_normalised_means():
    table = gaps(own=0.0)
    found = table.filter(quantity="modality_gap")
    assert found["domain_a"].to_list() == list(DOMAINS)
    assert found["domain_b"].is_null().all()
    assert set(found["depth"]) == {1}
    for row in found.to_dicts():
        assert 0.75 < row["value"] < 0.85
        assert row["lo"] < row["value"] < row["hi"]


def test_a_gap_that_all_domains_share_is_gone_after_centring():
    table = gaps(own=0.0)
    centred = table.filter(quantity="modality_gap_centred")
    assert centred["value"].abs().max() < 0.03
    assert (centred["lo"] <= 0).all()


def test_a_domain_of_its_own_keeps_its_part_of_the_gap():
    table = gaps(own=0.8)
    centred = dict(
        table.filter(quantity="modality_gap_centred").select("domain_a", "value").iter_rows()
    )
    assert centred["quickdraw"] > 0.4
    assert max(centred[name] for name in DOMAINS[:3]) == pytest.approx(
        centred["quickdraw"] / 3, rel=0.2
    )


def test_cells_with_one_image_have_no_gap():
    rows = images(per_cell=1)
    x = np.ones((rows.height, 5), np.float32)
    with pytest.raises(ValueError, match="at least two images"):
        modality_gaps(Activations(rows, {"embedding": x}), DOMAINS, np.ones((CLASSES, 5)))
