"""A mixture holds what its setting shows, nothing else, and survives the way to disk and back."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splits.budget import PUBLISHED_RULE, Budget
from splits.errors import UserError
from splits.mixture import (
    Base,
    Recipe,
    build_mixture,
    load_mixture,
    manifest_of,
    save_mixture,
)
from splits.pool import build_pool
from splits.settings import SETTINGS, World, exposure
from splits.variants import with_share

WORLD = World(("clipart", "real", "sketch"), ("axe", "bed", "cat", "dog"), "real")
AVAILABLE = [[3, 3, 3, 3], [6, 6, 6, 6], [5, 5, 2, 4]]


def table(counts=AVAILABLE):
    """A sample table with that many training rows per cell, and one test row per cell."""
    rows = [
        (f"{split}_{domain}_{name}_{i:03}", domain, name, split, "a picture", "an image")
        for domain, row in zip(WORLD.domains, counts, strict=True)
        for name, count in zip(WORLD.classes, row, strict=True)
        for split, number in (("train", count), ("test", 1), ("test_unseen_drawing", 1))
        for i in range(number)
    ]
    columns = ["id", "domain", "class_name", "split", "caption", "caption_aligned"]
    return pl.DataFrame(rows, columns, orient="row")


def build(setting="cg_high_diversity", samples=None, **changes):
    samples = table() if samples is None else samples
    train = samples.filter(pl.col("split") == "train")
    arguments = {
        "setting": SETTINGS[setting] if isinstance(setting, str) else setting,
        "test_domain": "sketch",
        "held_out": ("dog",),
        "budget": Budget(),
        "caption": "caption",
        "dataset_sha256": "d" * 64,
    }
    return build_mixture(build_pool(train, WORLD), Recipe(**(arguments | changes)))


@pytest.fixture
def saved(tmp_path):
    """A mixture, and the folder it is saved in."""
    mixture = build()
    folder = tmp_path / "mixtures" / "cg_high_diversity.sketch"
    save_mixture(mixture, folder)
    return mixture, folder


# Budget 24 + 12 = 36, trimmed in the order real (24), sketch (16), clipart (12). Pools: 24, 48, 36,
# 48, 40, 52. With 52, the factor 9/13 gives ceilings 3, 5 and 4, 4, 2, 3: 45, an overshoot of 9.
@pytest.mark.parametrize(
    ("setting", "realised"),
    [
        ("natural_only", [[0, 0, 0, 0], [6, 6, 6, 6], [0, 0, 0, 0]]),
        ("leave_out_domain", [[3, 3, 3, 3], [6, 6, 6, 6], [0, 0, 0, 0]]),
        ("cg_low_diversity", [[0, 0, 0, 0], [6, 6, 6, 6], [5, 5, 2, 0]]),
        ("cg_high_diversity", [[3, 3, 3, 3], [4, 4, 4, 4], [3, 3, 2, 0]]),
        ("upper_bound_low", [[0, 0, 0, 0], [5, 5, 5, 5], [5, 5, 2, 4]]),
        ("upper_bound_high", [[2, 3, 3, 3], [4, 4, 4, 4], [3, 3, 1, 2]]),
    ],
)
def test_the_counts_of_every_setting_are_those_worked_out_by_hand(setting, realised):
    mixture = build(setting)
    np.testing.assert_array_equal(mixture.realised, realised)
    shown = exposure(SETTINGS[setting], WORLD, "sketch", ["dog"])
    np.testing.assert_array_equal(mixture.requested, np.array(AVAILABLE) * shown)
    assert mixture.size == len(mixture.ids) == np.sum(realised)


@given(
    setting=st.sampled_from(sorted(SETTINGS)),
    test_domain=st.sampled_from(["clipart", "sketch"]),
    held_out=st.sets(st.sampled_from(WORLD.classes), min_size=1, max_size=3),
    counts=hnp.arrays(np.int64, (3, 4), elements=st.integers(1, 12)),
    seed=st.integers(0, 10**6),
)
def test_a_mixture_never_contains_a_forbidden_cell_or_a_test_sample(
    setting, test_domain, held_out, counts, seed
):
    samples = table(counts)
    held_out = tuple(sorted(held_out))
    budget = Budget(seed=seed)
    mixture = build(setting, samples, test_domain=test_domain, held_out=held_out, budget=budget)
    rows = samples.filter(pl.col("id").is_in(list(mixture.ids)))
    assert set(rows["split"]) == {"train"}
    if not setting.startswith("upper_bound"):
        forbidden = (pl.col("domain") == test_domain) & pl.col("class_name").is_in(held_out)
        assert rows.filter(forbidden).is_empty()
    assert not mixture.realised[
        exposure(SETTINGS[setting], WORLD, test_domain, held_out) == 0
    ].any()

    tested = WORLD.domains.index(test_domain)
    seen = [column for column, name in enumerate(WORLD.classes) if name not in held_out]
    budget = counts[1].sum() + counts[tested, seen].sum()
    assert mixture.size == min(budget, mixture.requested.sum()) == len(rows)


@given(st.integers(0, 10**6))
def test_the_order_of_the_sample_table_does_not_matter(seed):
    shuffled = table().sample(fraction=1, shuffle=True, seed=seed)
    one, other = build(held_out=("bed", "dog")), build(samples=shuffled, held_out=("bed", "dog"))
    assert manifest_of(one) == manifest_of(other)
    assert one.ids.to_list() == other.ids.to_list() == sorted(one.ids)


def test_the_hash_is_the_same_on_every_machine_and_in_every_year():
    assert build().sha256 == "97925a0cbfb5a12cd227f49e6eeb6ac53c8e8ad9b4ef86493ddb32f2b22167ef"


def test_the_published_choice_has_the_same_hash_everywhere_too():
    mixture = build(budget=Budget("published"))
    assert mixture.sha256 == "bde4cb48ae7c070fff7f0d94db9663a7849083ad8b5e84b53e3558bc1c8bdd34"


@given(
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=5),
    counts=hnp.arrays(np.int64, (3, 4), elements=st.integers(1, 30)),
    rule=st.sampled_from(["published", "random"]),
)
@example(shares=[0.5, 1.0], counts=np.array([[1] * 4, [1] * 4, [2, 1, 1, 1]]), rule=PUBLISHED_RULE)
def test_the_held_out_samples_of_a_smaller_fraction_are_part_of_those_of_a_larger(
    shares, counts, rule
):
    """But for the one sample that trimming may take of a class, of the upper bound only."""
    shown, taken_off = [], []
    for share in sorted(shares):
        setting = with_share(SETTINGS["cg_high_diversity"], "held_out", share)
        mixture = build(setting, table(counts), budget=Budget(rule))
        shown.append({name for name in mixture.ids if name.startswith("train_sketch_dog")})
        cell = WORLD.domains.index("sketch"), WORLD.classes.index("dog")
        taken_off.append(int(mixture.allocation.trimmed[cell]) * (share == 1))
    for (few, more), trimmed in zip(pairwise(shown), taken_off[1:], strict=True):
        assert len(few - more) <= trimmed <= 1


def test_settings_that_select_the_same_samples_share_a_hash():
    one = build("natural_only")
    other = build("natural_only", test_domain="clipart", held_out=("axe",), budget=Budget(seed=5))
    assert manifest_of(one) != manifest_of(other)
    assert one.sha256 == other.sha256


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": Budget(seed=1)},
        {"budget": Budget("balanced")},
        {"caption": "caption_aligned"},
        {"dataset_sha256": "e" * 64},
        {"base": Base("cc3m", "b" * 64, 7)},
    ],
)
def test_what_a_model_sees_changes_the_hash(changes):
    assert build(**changes).sha256 != build().sha256


def test_an_empty_cell_that_the_setting_shows_is_a_user_error():
    counts = np.array(AVAILABLE)
    counts[0, 2] = 0
    with pytest.raises(UserError, match=r"cell \(`clipart`, `cat`\) is asked for"):
        build(samples=table(counts))
    low = build("cg_low_diversity", table(counts))
    assert low.sha256 == build("cg_low_diversity").sha256
    allowed = build(samples=table(counts), allow_empty_cells=True)
    assert allowed.realised[0, 2] == 0
    assert allowed.size == 36


def test_a_mixture_of_nothing_is_a_user_error():
    nothing = replace(SETTINGS["natural_only"], cells=(("real", "*", 0.0),))
    with pytest.raises(UserError, match="setting `natural_only` shows no sample"):
        build(nothing)


def test_every_key_of_a_manifest_stands_on_the_formats_page():
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    table = page.split("| key of the manifest |")[1].split("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert set(re.findall(r"`(\w+)`", "".join(first))) == set(manifest_of(build()))


def test_a_topped_up_mixture_shows_its_samples_several_times():
    mixture = build("natural_only", budget=Budget(top_up=True))
    assert mixture.size == 36
    assert mixture.ids.n_unique() == 24
    assert manifest_of(mixture)["realised"][1] == [9, 9, 9, 9]


def test_a_mixture_comes_back_from_disk_as_it_was(saved):
    mixture, folder = saved
    loaded = load_mixture(folder)
    assert manifest_of(loaded) == manifest_of(mixture)
    assert loaded.ids.to_list() == mixture.ids.to_list()
    np.testing.assert_array_equal(loaded.cells, mixture.cells)


def test_a_mixture_of_every_kind_comes_back_from_disk(tmp_path):
    half = with_share(SETTINGS["cg_high_diversity"], "held_out", 0.5)
    mixture = build(
        replace(half, domains=("clipart",), cells=(("*", "axe", 0.25), ("real", "*", 1.0))),
        budget=Budget("fixed_total", total=40, top_up=True),
        base=Base("cc3m", "b" * 64, 7),
        draw=2,
    )
    save_mixture(mixture, tmp_path)
    assert load_mixture(tmp_path).recipe.setting == mixture.setting
    assert manifest_of(load_mixture(tmp_path)) == manifest_of(mixture)


def test_a_saved_mixture_is_two_files_that_say_what_the_formats_page_says(saved):
    mixture, folder = saved
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "mixture.parquet"]
    rows = pl.read_parquet(folder / "mixture.parquet")
    assert rows.columns == ["id", "domain", "class_name"]
    assert rows["id"].to_list() == mixture.ids.to_list()
    assert json.loads((folder / "manifest.json").read_text()) == {
        "setting": "cg_high_diversity",
        "test_domain": "sketch",
        "natural": "real",
        "domains": ["clipart", "real", "sketch"],
        "classes": ["axe", "bed", "cat", "dog"],
        "held_out": ["dog"],
        "rule": asdict(SETTINGS["cg_high_diversity"]) | {"cells": []},
        "draw": 0,
        "trim_order": [],
        "budget": {"rule": "random", "seed": 0, "total": 0, "top_up": False, "size": 36},
        "caption": "caption",
        "base": None,
        "allow_empty_cells": False,
        "notes": list(mixture.allocation.notes),
        "exposure": [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]],
        "available": AVAILABLE,
        "trimmed": [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]],
        "requested": [[3, 3, 3, 3], [6, 6, 6, 6], [5, 5, 2, 0]],
        "realised": [[3, 3, 3, 3], [4, 4, 4, 4], [3, 3, 2, 0]],
        "size": 36,
        "dataset_sha256": "d" * 64,
        "sha256": mixture.sha256,
    }


def test_saving_twice_gives_the_same_bytes(saved):
    _, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    save_mixture(build(samples=table().sample(fraction=1, shuffle=True, seed=1)), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_save_cut_off_before_the_manifest_is_detected(saved):
    _, folder = saved
    manifest = (folder / "manifest.json").read_bytes()
    save_mixture(build(budget=Budget(seed=1)), folder)
    (folder / "manifest.json").write_bytes(manifest)
    with pytest.raises(UserError, match=r"mixture\.parquet holds other samples"):
        load_mixture(folder)


@pytest.mark.parametrize("name", ["mixture.parquet", "manifest.json"])
def test_a_missing_or_truncated_file_is_a_user_error_that_names_it_and_the_fix(saved, name):
    _, folder = saved
    path = folder / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=f"{name} cannot be read") as broken:
        load_mixture(folder)
    assert "clipgen split build" in broken.value.fix
    path.unlink()
    with pytest.raises(UserError, match=f"{name} is not there"):
        load_mixture(folder)


def test_a_table_that_lost_a_row_is_detected(saved):
    _, folder = saved
    path = folder / "mixture.parquet"
    pl.read_parquet(path).head(-1).write_parquet(path)
    with pytest.raises(UserError, match=r"mixture\.parquet holds other samples"):
        load_mixture(folder)


def test_a_table_whose_cells_were_changed_is_detected(saved):
    _, folder = saved
    path = folder / "mixture.parquet"
    pl.read_parquet(path).with_columns(domain=pl.lit("real")).write_parquet(path)
    with pytest.raises(UserError, match=r"mixture\.parquet has other counts per cell"):
        load_mixture(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sha256", "0" * 64, "holds other samples"),
        ("size", 35, "holds other samples"),
        ("caption", "caption_aligned", "holds other samples"),
        ("realised", [[0] * 4] * 3, "has other counts per cell"),
        ("domains", ["clipart", "real"], "contradicts itself"),
        ("natural", "photo", "contradicts itself"),
        ("budget", None, "is not a mixture's manifest"),
        ("realised", [[1], [1, 2]], "is not a mixture's manifest"),
    ],
)
def test_a_changed_manifest_is_detected(saved, key, value, message):
    _, folder = saved
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match=message):
        load_mixture(folder)


@pytest.mark.parametrize("content", ["[]", "{}"])
def test_a_manifest_without_its_keys_is_detected(saved, content):
    _, folder = saved
    (folder / "manifest.json").write_text(content)
    with pytest.raises(UserError, match="is not a mixture's manifest"):
        load_mixture(folder)


def test_a_mixture_whose_ids_changed_has_another_hash():
    mixture = build()
    assert replace(mixture, ids=mixture.ids.slice(1)).sha256 != mixture.sha256
