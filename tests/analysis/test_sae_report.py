"""The report counts kinds of features, sets pairs beside the test domain, and shows images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from planted_sae import PLANTERS, SEEDS, image_ids
from planted_tables import CLASSES, DOMAINS, SITES

from analysis import feature_images
from analysis.autoencoders import FEATURES, SHARING
from analysis.feature_images import SAE_IMAGES, notable_features
from analysis.report import sae_tables
from analysis.report.sae_section import first_autoencoders, sae_parts
from analysis.report.section import Chart, Table
from analysis.report.summary import setting_label
from analysis.sae_features import BOTH, DOMAIN, OTHER, SHARED
from gen.datasets.decoding import decode
from gen.evaluation.metrics import wilson
from gen.runs import Target

SCHEMAS = (FEATURES, SHARING, SAE_IMAGES)
SETTINGS = ("cg_low_diversity", "cg_high_diversity")
SIX = (
    *("natural_only", "leave_out_domain", "cg_low_diversity", "cg_low_diversity-held_out_0.05"),
    *("cg_high_diversity-held_out_0.05", "cg_high_diversity"),
)
TEST_DOMAIN = DOMAINS[-1]


@dataclass(frozen=True)
class Run:
    name: str
    setting: str
    seed: int = 0
    mixtures: dict = field(default_factory=lambda: {Target(TEST_DOMAIN, 0): "mixture"})


def planted(settings=SETTINGS, grid=SETTINGS):
    """What a report reads of a study: its plan, and the tables of all runs."""
    runs = tuple(Run(f"run-{setting}", setting) for setting in settings)
    plan = SimpleNamespace(
        test_domains=(TEST_DOMAIN,),
        settings=grid,
        runs=runs,
        domains=DOMAINS,
        draws=((CLASSES[0], CLASSES[1]),),
    )
    analyses = {
        name: pl.concat([_named(planter(run, plan), run) for run in runs])
        if runs
        else _named(pl.DataFrame(schema=schema), Run("", ""))
        for (name, planter), schema in zip(PLANTERS.items(), SCHEMAS, strict=True)
    }
    return SimpleNamespace(plan=plan, analyses=analyses)


def _named(table, run):
    names = {"run": run.name, "setting": run.setting, "seed": run.seed}
    renamed = table.rename({"seed": "sae_seed"}, strict=False)
    return renamed.select(*(pl.lit(v).alias(k) for k, v in names.items()), pl.all())


@pytest.fixture(scope="module")
def results():
    return planted()


def test_shares_of_kinds_are_those_of_the_features_that_fire(results):
    features = sae_tables.features_by_target(results)
    shares = sae_tables.kind_shares(features)
    assert shares.height == len(SETTINGS) * 3 * len(SEEDS) * 4
    one = {"run": "run-cg_low_diversity", "site": SITES[-1], "sae_seed": 1}
    rows, own = shares.filter(**one), features.filter(**one)
    fires = own.filter(pl.col("rate") > 0)
    assert set(rows["n"]) == {fires.height}
    assert set(rows["silent"]) == {own.height - fires.height}
    assert rows["codes"][0] == pytest.approx(own["rate"].sum())
    assert rows["value"].sum() == pytest.approx(1)
    for row in rows.iter_rows(named=True):
        counted = fires.filter(kind=row["kind"]).height
        assert row["value"] == pytest.approx(counted / fires.height)
        ends = wilson(np.array([counted / fires.height]), np.array([fires.height]))
        assert (row["lo"], row["hi"]) == pytest.approx(tuple(ends[:, 0]))
    assert set(rows["kind"]) == {SHARED, DOMAIN, BOTH, OTHER}


def test_pairs_with_the_test_domain_are_averaged_and_its_r2_stands_apart(results):
    sharing = sae_tables.sharing_by_target(results)
    assert set(sharing["measure"]) == {"overlap", "jaccard"}
    means = sae_tables.sharing_with_test(sharing)
    place = {"run": "run-cg_high_diversity", "site": SITES[-1], "sae_seed": 0}
    place |= {"measure": "jaccard", "classes": "seen"}
    row = means.filter(**place).row(0, named=True)
    a, b = pl.col("domain_a"), pl.col("domain_b")
    pairs = sharing.filter((a == TEST_DOMAIN) != (b == TEST_DOMAIN), **place)
    assert row["n_pairs"] == pairs.height == len(DOMAINS) - 1
    assert row["value"] == pytest.approx(pairs["value"].mean())
    assert row["r2_test"] == pytest.approx(0.7 - 0.1 * (len(DOMAINS) - 1))
    others = [0.7 - 0.1 * i for i in range(len(DOMAINS) - 1)]
    assert row["r2_others"] == pytest.approx(np.mean(others))


def test_different_classes_of_one_domain_are_a_floor_of_their_own(results):
    sharing = sae_tables.sharing_by_target(results)
    place = {"run": "run-cg_high_diversity", "site": SITES[-1], "sae_seed": 0}
    place |= {"measure": "jaccard", "classes": "seen"}
    row = sae_tables.sharing_with_test(sharing).filter(**place).row(0, named=True)
    a, b = pl.col("domain_a"), pl.col("domain_b")
    own = dict(sharing.filter(a == b, **place).select("domain_a", "floor").iter_rows())
    others = np.mean([own[name] for name in DOMAINS if name != TEST_DOMAIN])
    assert row["floor_within"] == pytest.approx((own[TEST_DOMAIN] + others) / 2)
    # features of a domain fire for all of its classes: planted, and shared by no two domains
    assert row["floor_within"] > row["floor"] + 0.01


def test_a_mean_over_pairs_says_what_is_not_estimable_in_which(results):
    sharing = sae_tables.sharing_by_target(results).filter(classes="seen", measure="jaccard")
    is_first, is_second = (
        (pl.col("domain_a") == name) & (pl.col("domain_b") == TEST_DOMAIN) for name in DOMAINS[:2]
    )
    reason = pl.when(is_first).then(pl.lit("no class")).when(is_second).then(pl.lit("no spread"))
    broken = sharing.with_columns(
        pl.when(~is_first).then(pl.col("value", "chance", "ceiling", "floor")),
        pl.when(~is_first & ~is_second).then(pl.col("lo", "hi")),
        note=reason.otherwise("note"),
    )
    means, whole = sae_tables.sharing_with_test(broken), sae_tables.sharing_with_test(sharing)
    assert set(means["note"]) == {"no class; no spread"}
    assert set(means["n_pairs"]) == {len(DOMAINS) - 2}
    assert set(means["not_estimable"]) == {1}
    assert means["lo"].null_count() == means["hi"].null_count() == means.height
    assert means["value"].null_count() == means["floor_within"].null_count() == 0
    assert (set(whole["note"]), set(whole["not_estimable"])) == ({""}, {0})
    view = sae_tables.sharing_view(means)
    assert {row[view.columns.index("Pairs of domains")] for row in view.rows} == {
        str(len(DOMAINS) - 2)
    }


def test_diverse_settings_share_more_features(results):
    means = sae_tables.sharing_with_test(sae_tables.sharing_by_target(results))
    low, high = (
        means.filter(setting=setting, measure="jaccard", classes="seen", site=SITES[-1])
        for setting in SETTINGS
    )
    assert (high["lo"] > low["hi"]).all()


def test_names_are_held_against_pairs_at_random(results):
    row = sae_tables.naming(sae_tables.features_by_target(results)).row(0, named=True)
    assert row["value"] == 1  # they are planted so
    assert 0 < row["lo"] < 1 == row["hi"]
    assert row["chance"] == pytest.approx(1 / len(CLASSES), abs=0.05)


def test_notable_features_are_frequent_enough_to_be_shown(results):
    features = first_autoencoders(sae_tables.features_by_target(results))["cg_high_diversity"]
    last = features.filter(site=SITES[-1])
    shared = notable_features(last, SHARED, 3)
    assert shared["top_images"].list.len().unique().to_list() == [8]
    gap = shared["domain_entropy"] - shared["class_entropy"]
    assert gap.to_list() == sorted(gap, reverse=True)
    private = notable_features(last, DOMAIN, 3)
    assert set(private["kind"]) == {DOMAIN}
    assert notable_features(last.clear(), SHARED, 3).is_empty()


def test_a_study_without_autoencoders_has_no_section():
    assert sae_parts(planted(settings=())) == []


def test_every_chart_has_its_table_and_features_are_shown_by_their_images(results):
    parts = sae_parts(results)
    tables = {part.name: part for part in parts if isinstance(part, Table)}
    charts = [part for part in parts if isinstance(part, Chart)]
    assert [chart.name for chart in charts] == [
        f"sae-features-{TEST_DOMAIN}",
        f"sae-sharing-{TEST_DOMAIN}",
        f"sae-images-{TEST_DOMAIN}",
    ]
    assert {chart.data for chart in charts} <= set(tables)
    assert not any(isinstance(kind, pl.List) for t in tables.values() for kind in t.frame.dtypes)
    assert tables["sae_kinds"].view.rows
    assert all(
        len(row) == len(tables["sae_kinds"].view.columns) for row in tables["sae_kinds"].view.rows
    )
    view = tables["sae_sharing_test"].view
    assert all(len(row) == len(view.columns) for row in view.rows)
    assert all(chart.figure is not None for chart in charts)


def test_of_six_settings_those_that_are_told_of_are_drawn_and_all_are_in_the_table():
    parts = sae_parts(planted(SIX, SIX))
    charts = {part.name: part for part in parts if isinstance(part, Chart)}
    tables = {part.name: part.frame for part in parts if isinstance(part, Table)}
    assert set(tables["sae_features"]["setting"]) == set(SIX)
    told = [setting_label(name) for name in ("natural_only", "leave_out_domain", SIX[-1])]
    for name in ("features", "sharing"):
        chart = charts[f"sae-{name}-{TEST_DOMAIN}"]
        assert f"3 of 6 settings are drawn ({'; '.join(told)})" in chart.note
        sides = [axes.get_ylabel().split("\nentropy")[0] for axes in chart.figure.axes]
        drawn = [" ".join(side.split()) for side in sides if side]
        assert [side for side in drawn if side in told] == told
    assert told[-1] in charts[f"sae-images-{TEST_DOMAIN}"].label


def test_the_images_of_a_run_are_those_that_its_report_draws(monkeypatch):
    run = Run("run", SETTINGS[0])
    features = PLANTERS["sae"](run, planted().plan)
    samples = pl.DataFrame({"id": ["another", *image_ids()]})
    read = []

    def stored(folder, rows, pixels):
        read.append(rows["id"].to_list())
        return np.zeros((rows.height, pixels, pixels, 3), dtype=np.uint8)

    monkeypatch.setattr(feature_images, "read_images", stored)
    table = feature_images.feature_images(features, samples, Path("data"), 8)
    first = features.filter(site=SITES[-1], seed=min(SEEDS))
    shown = [notable_features(first, kind)["top_images"].explode() for kind in (SHARED, DOMAIN)]
    assert set(table["id"]) == set(pl.concat(shown)) == set(read[0])
    assert decode(table["png"][0]).shape == (8, 8, 3)
