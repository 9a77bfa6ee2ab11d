"""Probes are fitted on training images alone, chosen by their ids."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from analysis.probe_images import most_shots, probe_pool, shots_part, validation_part
from splits.errors import UserError

CLASSES = ("cat", "dog", "fox")


def samples(per_cell=12, domains=("real", "sketch"), per_instance=1):
    rows = [
        (f"{s}/{d}/{name}/{i}", s, d, name, label, f"{s}/{d}/{name}/{i // per_instance}")
        for s in ("train", "test", "test_unseen_drawing")
        for d in domains
        for label, name in enumerate(CLASSES)
        for i in range(per_cell)
    ]
    columns = ["id", "split", "domain", "class_name", "class_id", "instance"]
    return pl.DataFrame(rows, columns, orient="row")


def pool_of(domain="sketch", per_cell=12, **kind):
    return probe_pool(samples(per_cell, **kind), [domain], per_cell)


def test_a_pool_holds_training_images_of_its_domains_only():
    pool = probe_pool(samples(), ["sketch"], 40)
    assert pool["split"].unique().to_list() == ["train"]
    assert pool["domain"].unique().to_list() == ["sketch"]
    assert pool.height == 36


def test_a_cell_gives_so_many_images_at_most():
    pool = probe_pool(samples(), ["real", "sketch"], 5)
    assert pool.group_by("domain", "class_id").len()["len"].to_list() == [5] * 6
    larger = probe_pool(samples(), ["real", "sketch"], 7)
    assert set(pool["id"]) < set(larger["id"])


def test_the_choice_depends_on_the_ids_alone():
    shuffled = samples().sample(fraction=1, shuffle=True, seed=1)
    one, other = (probe_pool(t, ["sketch"], 5) for t in (samples(), shuffled))
    assert set(one["id"]) == set(other["id"])
    assert not one["id"].str.ends_with("/0").all()
    numbers = one["id"].str.split("/").list.last().cast(pl.Int64)
    assert set(numbers) != set(range(5))  # not the first of every cell


def test_validation_is_a_third_of_every_class():
    pool = pool_of()
    held = validation_part(pool)
    assert pool.filter(held)["class_id"].value_counts()["count"].to_list() == [4, 4, 4]


def test_an_instance_stands_on_one_side():
    pool = pool_of(per_instance=3)
    held = validation_part(pool)
    assert 0 < held.sum() < len(held)
    assert not set(pool.filter(held)["instance"]) & set(pool.filter(~held)["instance"])


@pytest.mark.parametrize("per_instance", [1, 4, 12])
@pytest.mark.parametrize("per_cell", [1, 2, 5])
def test_every_class_keeps_images_to_be_fitted_on(per_cell, per_instance):
    owls = pool_of(per_cell=2).filter(class_id=0)
    owls = owls.with_columns(class_name=pl.lit("owl"), class_id=pl.lit(9), instance=pl.col("id"))
    pool = pl.concat(
        [pool_of(per_cell=per_cell, per_instance=per_instance), owls], how="vertical_relaxed"
    )
    held = validation_part(pool)
    assert pool.filter(~held)["class_id"].n_unique() == len(CLASSES) + 1


def test_without_two_instances_no_penalty_can_be_chosen():
    with pytest.raises(UserError, match="domain sketch"):
        validation_part(pool_of(per_instance=12))


def test_shots_are_so_many_per_class_and_nested():
    pool = pool_of()
    assert most_shots(pool) == 12
    before = np.zeros(pool.height, dtype=bool)
    for shots in (1, 2, 4, 8):
        part = shots_part(pool, shots, draw=0)
        assert pool.filter(part)["class_id"].value_counts()["count"].to_list() == [shots] * 3
        assert (part | ~before).all()
        before = part


def test_draws_of_shots_differ_from_each_other_and_from_the_pools_order():
    pool = pool_of()
    drawn = [frozenset(pool.filter(shots_part(pool, 4, draw))["id"]) for draw in range(3)]
    smaller = frozenset(probe_pool(samples(), ["sketch"], 4)["id"])
    assert len({*drawn, smaller}) == 4


def test_the_most_shots_are_those_of_the_smallest_class():
    pool = pool_of().filter((pl.col("class_name") != "dog") | pl.col("id").str.ends_with("/1"))
    assert most_shots(pool) == 1
