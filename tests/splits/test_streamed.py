"""A streamed mixture is the one that memory gives, whatever the size of the pieces."""

from __future__ import annotations

import polars as pl
import pytest

from splits import streamed
from splits.budget import Budget
from splits.errors import UserError
from splits.mixture import Recipe, build_mixture, load_mixture, manifest_of
from splits.pool import build_pool
from splits.settings import SETTINGS, World

WORLD = World(("clipart", "real", "sketch"), ("axe", "bed", "cat", "dog"), "real")
ROWS = [
    (f"{place * 7919 % 10007:05}", domain, name)
    for place, (domain, name) in enumerate(
        (domain, name)
        for domain, size in zip(WORLD.domains, (3, 9, 5), strict=True)
        for name in WORLD.classes
        for _ in range(size)
    )
]


def table(tmp_path, *, by="id"):
    path = tmp_path / "table.parquet"
    rows = pl.DataFrame(ROWS, ["id", "domain", "class_name"], orient="row").sort(by)
    rows.write_parquet(path)
    return path, rows


def recipe(setting="cg_high_diversity", **budget):
    return Recipe(SETTINGS[setting], "sketch", ("dog",), Budget(**budget), "caption", "d" * 64)


@pytest.mark.parametrize("batch", [1, 5, 1000])
@pytest.mark.parametrize(
    "wanted",
    [recipe(), recipe(seed=4), recipe(rule="balanced"), recipe("natural_only", top_up=True)],
    ids=["random", "other seed", "balanced", "topped up"],
)
def test_a_stream_selects_what_memory_selects(tmp_path, monkeypatch, wanted, batch):
    monkeypatch.setattr(streamed, "BATCH", batch)
    path, rows = table(tmp_path)
    expected = build_mixture(build_pool(rows, WORLD), wanted)
    manifest = streamed.stream_mixture(path, tmp_path / "mixture", WORLD, wanted)
    assert manifest == manifest_of(expected)
    loaded = load_mixture(tmp_path / "mixture")
    assert loaded.ids.to_list() == expected.ids.to_list()
    assert manifest_of(loaded) == manifest_of(expected)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_table_that_is_not_sorted_or_has_an_id_twice_is_refused(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(streamed, "BATCH", batch)
    path, rows = table(tmp_path, by="class_name")
    with pytest.raises(UserError, match="sorted by id"):
        streamed.stream_mixture(path, tmp_path / "mixture", WORLD, recipe())
    pl.concat([rows, rows.head(1)]).sort("id").write_parquet(path)
    with pytest.raises(UserError, match="every id once"):
        streamed.stream_mixture(path, tmp_path / "mixture", WORLD, recipe())
    assert not (tmp_path / "mixture").exists()


def test_the_published_rule_needs_lists(tmp_path):
    path, _ = table(tmp_path)
    with pytest.raises(UserError, match="takes the first samples of lists"):
        streamed.stream_mixture(path, tmp_path / "mixture", WORLD, recipe(rule="published"))
