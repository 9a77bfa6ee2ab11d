"""Probes read what is planted, on images they never saw, and are scored per class set."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from analysis.linear_probe import fit_probe
from analysis.probe_images import probe_pool
from analysis.probes import FEW_SHOT_C, PROBES, Activations, ProbePlan, linear_probes
from gen.evaluation.metrics import balanced_accuracy

DOMAINS, CLASSES = ("real", "sketch", "clipart"), tuple(f"class {i}" for i in range(6))
DRAWS = {0: ("class 1", "class 4"), 2: ("class 0", "class 5")}
UNITS, TRAIN, TEST = 10, 12, 15
MEANS = np.random.default_rng(5).normal(size=(len(CLASSES), UNITS))


def samples(split, per_cell):
    rows = [
        (f"{split}/{domain}/{name}/{i}", split, domain, name, label, f"{split}/{domain}/{name}/{i}")
        for domain in DOMAINS
        for label, name in enumerate(CLASSES)
        for i in range(per_cell)
    ]
    columns = ["id", "split", "domain", "class_name", "class_id", "instance"]
    return pl.DataFrame(rows, columns, orient="row")


def activations(table, seed):
    """`clean` tells classes apart; `flipped` does, but otherwise in a sketch; `noise` does not."""
    rng, labels = np.random.default_rng(seed), table["class_id"].to_numpy()
    noise = rng.normal(size=(table.height, UNITS))
    sign = np.where(table["domain"] == "sketch", -1.0, 1.0)[:, None]
    clean = MEANS[labels] + 0.02 * noise
    sites = {"noise": noise, "flipped": sign * clean, "clean": clean}
    return Activations(table, {site: x.astype(np.float32) for site, x in sites.items()})


PLAN = ProbePlan(("sketch",), "real", (1, 4, 8), 2, DRAWS, len(CLASSES))
POOL = activations(probe_pool(samples("train", TRAIN), DOMAINS, TRAIN), 0)
TESTED = activations(samples("test", TEST), 1)


class Bar:
    """Counts how often it was told to go on."""

    count = 0

    def update(self):
        self.count += 1


@pytest.fixture(scope="module")
def bar():
    return Bar()


@pytest.fixture(scope="module")
def probes(bar):
    return linear_probes(POOL, TESTED, PLAN, bar)


def full(probes, site, trained_on, domain):
    keys = {"site": site, "trained_on": trained_on, "domain": domain}
    return probes.filter(pl.col("kind") == "full", *(pl.col(k) == v for k, v in keys.items()))


def test_every_probe_has_a_row_per_draw_and_class_set(probes, bar):
    assert dict(probes.schema) == PROBES
    keys = [*("site", "trained_on", "domain", "kind", "shots", "seed", "draw", "classes")]
    assert not probes.select(keys).is_duplicated().any()
    # three sites; three pairs of domains; all images, or three numbers of shots in two draws
    assert probes.height == 3 * 3 * (1 + 3 * 2) * len(DRAWS) * 3
    places = probes.select("trained_on", "domain").unique().sort("trained_on", "domain")
    assert places.rows() == [("real", "real"), ("real", "sketch"), ("sketch", "sketch")]
    assert bar.count == PLAN.probes_per_site * 3
    assert probes.select("site", "depth").unique().sort("depth").rows() == [
        *(("noise", 0), ("flipped", 1), ("clean", 2)),
    ]


def test_probes_are_the_same_every_time(probes):
    assert linear_probes(POOL, TESTED, PLAN).equals(probes)


def test_what_is_told_apart_is_read(probes):
    for trained_on, domain in (("real", "real"), ("real", "sketch"), ("sketch", "sketch")):
        assert set(full(probes, "clean", trained_on, domain)["value"]) == {1.0}


def test_a_boundary_of_photographs_may_not_hold_where_one_of_sketches_does(probes):
    assert set(full(probes, "flipped", "sketch", "sketch")["value"]) == {1.0}
    assert set(full(probes, "flipped", "real", "real")["value"]) == {1.0}
    assert (full(probes, "flipped", "real", "sketch")["value"] < 0.5).all()


def test_noise_scores_chance_within_its_interval(probes):
    noise = full(probes, "noise", "sketch", "sketch").filter(classes="all")
    assert set(noise["chance"]) == {1 / 6}
    assert ((noise["lo"] < 1 / 6) & (noise["hi"] > 1 / 6)).all()
    several = probes.filter(site="noise", kind="few_shot", classes="all")["value"]
    assert several.mean() == pytest.approx(1 / 6, abs=0.05)


def test_few_shots_have_a_fixed_penalty_and_draws_of_their_own(probes):
    few = probes.filter(kind="few_shot")
    assert set(few["c"]) == {FEW_SHOT_C}
    assert few.select("shots", "seed").unique().sort("shots", "seed").rows() == [
        (shots, seed) for shots in (1, 4, 8) for seed in (0, 1)
    ]
    assert probes.filter(kind="full").select("shots", "seed").unique().rows() == [(None, 0)]
    values = few.filter(site="noise", shots=4, classes="all", draw=0, domain="sketch")
    by_draw = values.filter(trained_on="sketch").sort("seed")["value"].to_list()
    assert by_draw[0] != by_draw[1]


def test_class_sets_are_those_of_the_draw_and_count_their_images(probes):
    rows = full(probes, "noise", "sketch", "sketch").sort("draw", "classes")
    found = rows.select("draw", "classes", "n", "n_classes").rows()
    assert found == [
        (draw, name, TEST * classes, classes)
        for draw in DRAWS
        for name, classes in (("all", 6), ("held_out", 2), ("seen", 4))
    ]
    of_draw = rows.filter(draw=0)
    total = of_draw.filter(classes="all")["value"].item()
    held_out, seen = (of_draw.filter(classes=c)["value"].item() for c in ("held_out", "seen"))
    assert total == pytest.approx((2 * held_out + 4 * seen) / 6)


def test_shots_that_a_class_lacks_are_left_out():
    short = POOL.samples.filter(
        ~pl.col("id").is_in([f"train/sketch/class 1/{i}" for i in range(7)])
    )
    kept = POOL.samples["id"].is_in(short["id"].to_list()).to_numpy()
    pool = Activations(short, {"clean": POOL.sites["clean"][kept]})
    found = linear_probes(pool, TESTED, PLAN).filter(kind="few_shot")
    shots = {d: set(part["shots"]) for (d,), part in found.group_by("trained_on")}
    assert shots == {"sketch": {1, 4}, "real": {1, 4, 8}}


def test_a_score_and_its_interval_are_those_of_the_probe_with_that_penalty(probes):
    row = full(probes, "noise", "real", "sketch").filter(classes="seen", draw=0).row(0, named=True)
    shown, asked = POOL.of("real"), TESTED.of("sketch")
    probe = fit_probe(shown.sites["noise"], shown.labels, row["c"])
    right = probe.predict(asked.sites["noise"]) == asked.labels
    seen = ~asked.samples["class_name"].is_in(DRAWS[0]).to_numpy()
    expected = balanced_accuracy(right[seen], asked.labels[seen])
    assert (row["value"], row["lo"], row["hi"]) == pytest.approx(
        (expected.value, expected.lo, expected.hi), abs=0.02
    )
    assert row["lo"] < row["value"] < row["hi"]


def test_the_natural_domain_as_test_domain_is_probed_once():
    plan = ProbePlan(("real",), "real", (), 1, DRAWS, len(CLASSES))
    pool = Activations(POOL.samples, {"clean": POOL.sites["clean"]})
    found = linear_probes(pool, TESTED, plan)
    assert found.select("trained_on", "domain", "kind").unique().rows() == [
        ("real", "real", "full"),
    ]


def test_an_image_that_is_tested_is_never_fitted_on():
    both = pl.concat([TESTED.samples, POOL.samples[:1]])
    sites = {site: np.concatenate([x, x[:1]]) for site, x in TESTED.sites.items()}
    with pytest.raises(ValueError, match="tested, too"):
        linear_probes(POOL, Activations(both, sites), PLAN)
