"""The headline regression finds what is planted, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from scipy.stats import t, zscore

from analysis.headline import HEADLINE, headline
from analysis.statistics import Refused, partial_effect

PRIMARY = ("layer4", "s_id_nc")
SETTINGS = 6
NUMBERS = ["beta", "lo", "hi", "delta_r2", "delta_chance", "p", "p_bh"]


def planted(rng, effect=0.0, confound=1.0, seeds=3, domains=3, settings=SETTINGS, noise=0.3):
    """Runs in which seen accuracy drives held-out accuracy and sharing, and sharing adds `effect`.

    Domains differ in difficulty and in sharing, as outliers do.
    """
    keys = [(s, d, k) for s in range(settings) for d in range(domains) for k in range(seeds)]
    setting, domain, seed = np.array(keys).T
    seen = rng.normal(size=len(keys))
    sharing = confound * seen + rng.normal(size=len(keys)) + 2 * domain
    outcome = seen + effect * sharing - 5 * domain + noise * rng.normal(size=len(keys))
    return pl.DataFrame(
        {
            "run": [f"{s}-{d}-{k}" for s, d, k in keys],
            "setting": [f"setting {s}" for s in setting],
            "test_domain": [f"domain {d}" for d in domain],
            "draw": 0,
            "seed": seed,
            "held_out": outcome,
            "seen": seen,
            "log_samples": rng.normal(size=len(keys)),
            "confidence": rng.normal(size=len(keys)),
            "transfer": pl.Series([None] * len(keys), dtype=pl.Float64),
            "site": PRIMARY[0],
            "measure": PRIMARY[1],
            "sharing": sharing,
        }
    )


def at(table, site, measure, sharing):
    """The same runs with another number for another site and measure."""
    return table.with_columns(
        site=pl.lit(site), measure=pl.lit(measure), sharing=pl.Series(sharing, dtype=pl.Float64)
    )


def primary_row(table):
    (row,) = headline(table, PRIMARY).filter(role="primary").to_dicts()
    return row


# ---------------------------------------------------------------------------- the regression


def drawn(rng, rows=8, effect=0.0):
    """Outcome, predictor that follows a covariate, and two covariates."""
    covariates = rng.normal(size=(rows, 2))
    predictor = covariates[:, 0] + rng.normal(size=rows)
    return covariates[:, 0] + effect * predictor + rng.normal(size=rows), predictor, covariates


def test_slope_gain_interval_and_p_are_those_of_least_squares():
    outcome, predictor, covariates = drawn(np.random.default_rng(0), rows=20, effect=0.4)
    found = partial_effect(outcome, predictor, covariates)
    y, x, z = (zscore(column) for column in (outcome, predictor, covariates))
    one = np.ones((20, 1))
    with_it, without = np.hstack([one, x[:, None], z]), np.hstack([one, z])
    coefficients, (squares,) = np.linalg.lstsq(with_it, y)[:2]
    (squares_without,) = np.linalg.lstsq(without, y)[1]
    assert found.beta == pytest.approx(coefficients[1])
    assert found.delta_r2 == pytest.approx((squares_without - squares) / 20)
    deviation = np.sqrt(squares / 16 * np.linalg.inv(with_it.T @ with_it)[1, 1])
    assert found.hi - found.beta == pytest.approx(t.ppf(0.975, 16) * deviation)
    assert found.lo == pytest.approx(2 * found.beta - found.hi)
    assert found.p == pytest.approx(2 * t.sf(abs(found.beta) / deviation, 16))


def test_the_only_explanation_is_found_and_its_slope_is_1():
    rng = np.random.default_rng(0)
    predictor = rng.normal(size=20)
    outcome = 3 * predictor + 1e-3 * rng.normal(size=20)
    found = partial_effect(outcome, predictor, rng.normal(size=(20, 2)))
    assert found.beta == pytest.approx(1, abs=0.01)
    assert found.p < 1e-9


def test_p_is_uniform_and_the_gain_that_of_chance_where_there_is_no_relation():
    rng = np.random.default_rng(1)
    found = [partial_effect(*drawn(rng)) for _ in range(2000)]
    p = np.array([one.p for one in found])
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.04)
    by_chance = np.mean([one.delta_chance for one in found])
    assert np.mean([one.delta_r2 for one in found]) == pytest.approx(by_chance, rel=0.1)


def test_the_interval_leaves_out_0_exactly_where_p_is_below_5_percent():
    rng = np.random.default_rng(2)
    found = [partial_effect(*drawn(rng, effect=0.8)) for _ in range(200)]
    assert {one.lo > 0 or one.hi < 0 for one in found} == {True, False}
    assert all((one.lo > 0 or one.hi < 0) == (one.p < 0.05) for one in found)


def test_what_does_not_vary_is_refused():
    outcome, predictor, covariates = drawn(np.random.default_rng(0))
    for name, pair in {
        "outcome": (0 * outcome, predictor),
        "predictor": (outcome, 0 * predictor),
    }.items():
        reason = f"the {name} does not vary beyond the covariates"
        assert partial_effect(*pair, covariates) == Refused(reason)
    once_more = partial_effect(outcome, 2 * covariates[:, 0] + 1, covariates)
    assert once_more == Refused("the predictor does not vary beyond the covariates")


def test_a_covariate_that_is_the_same_everywhere_changes_nothing():
    outcome, predictor, covariates = drawn(np.random.default_rng(0))
    constant = np.column_stack([covariates[:, 0], np.full(8, 9.2)])
    alone = partial_effect(outcome, predictor, covariates[:, :1])
    assert asdict(partial_effect(outcome, predictor, constant)) == pytest.approx(asdict(alone))


# ---------------------------------------------------------------------------- what counts


@pytest.mark.parametrize(("settings", "seeds"), [(6, 1), (6, 3), (12, 3)])
def test_few_studies_find_a_relation_where_settings_differ_for_other_reasons(settings, seeds):
    """Covariates and errors that follow the settings, as in real designs."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(200):
        table = planted(rng, seeds=seeds, domains=2, settings=settings)
        place = table["setting"].rank("dense").to_numpy() - 1
        columns = ["held_out", "seen", "log_samples", "sharing"]
        added = {n: pl.col(n) + 3 * pl.Series(rng.normal(size=settings)[place]) for n in columns}
        p.append(primary_row(table.with_columns(**added))["p"])
    assert np.mean(np.array(p) <= 0.05) <= 0.09


def test_seeds_of_a_setting_are_no_further_evidence():
    table = planted(np.random.default_rng(0), effect=0.3, seeds=1)
    copies = [table.with_columns(pl.col("run") + f"-{k}", seed=pl.lit(k)) for k in range(3)]
    one, three = primary_row(table), primary_row(pl.concat(copies))
    numbers = [name for name, value in one.items() if isinstance(value, float)]
    assert [three[name] for name in numbers] == pytest.approx([one[name] for name in numbers])
    assert (three["n"], three["n_runs"]) == (SETTINGS, 3 * one["n_runs"])


def test_a_single_setting_is_asked_over_its_seeds():
    table = planted(np.random.default_rng(0), effect=2.0, settings=1, seeds=9)
    row = primary_row(table)
    assert (row["units"], row["n"], row["n_runs"]) == ("seed", 9, 27)
    assert row["lo"] > 0


def test_a_difference_between_domains_is_no_effect_of_sharing():
    rng = np.random.default_rng(3)
    tables = [planted(rng, confound=0) for _ in range(100)]
    for table in tables:  # hard domains share more: a line through all points falls
        assert np.corrcoef(table["held_out"], table["sharing"])[0, 1] < -0.6
    assert np.mean([primary_row(table)["p"] <= 0.05 for table in tables]) < 0.12


def test_domains_and_draws_that_a_setting_lacks_are_no_advantage():
    table = planted(np.random.default_rng(0)).with_columns(
        seen=pl.col("setting").rank("dense") % 3 * 1.0,
        log_samples=pl.col("setting").rank("dense") % 2 * 1.0,
        sharing=(pl.col("setting").rank("dense").cast(pl.Float64)) ** 2,
    )
    exact = table.with_columns(  # of every row: what its setting and its domain add
        held_out=pl.col("sharing") + pl.col("seen") - 9 * pl.col("test_domain").rank("dense")
    )
    holes = exact.filter(
        ~((pl.col("setting") == "setting 0") & (pl.col("test_domain") != "domain 2"))
    )
    assert holes.height == 48
    whole, part = primary_row(exact), primary_row(holes)
    assert part["beta"] == pytest.approx(whole["beta"])
    assert part["delta_r2"] == pytest.approx(whole["delta_r2"])


# ---------------------------------------------------------------------------- the table


def test_a_planted_effect_is_found_with_its_interval():
    row = primary_row(planted(np.random.default_rng(0), effect=0.5, noise=0.1))
    assert 0 < row["lo"] < row["beta"] < row["hi"]
    assert row["p"] < 0.05
    assert row["delta_r2"] > 2 * row["delta_chance"]
    assert (row["units"], row["n"], row["n_runs"], row["note"]) == ("setting", 6, 54, "")


def test_columns_and_roles():
    table = planted(np.random.default_rng(0), effect=0.3)
    rng = np.random.default_rng(1)
    others = [
        at(table, "embedding", "cka", rng.normal(size=54)),
        at(table, "layer4", "cka", rng.normal(size=54)),
        at(table, "layer1", "s_id_nc", rng.normal(size=54)),
    ]
    found = headline(pl.concat([*others, table]), PRIMARY)
    assert dict(found.schema) == HEADLINE
    assert found.select("role", "site", "measure").rows() == [
        ("primary", *PRIMARY),
        ("baseline", "embedding", "cka"),
        ("baseline", None, "transfer"),
        ("baseline", None, "confidence"),
        ("exploratory", "layer4", "cka"),
        ("exploratory", "layer1", "s_id_nc"),
    ]


def test_only_the_exploratory_are_corrected_and_only_for_each_other():
    table = planted(np.random.default_rng(0), effect=0.3)
    rng = np.random.default_rng(1)
    others = [at(table, f"layer{i}", "cka", rng.normal(size=54)) for i in range(4)]
    found = headline(pl.concat([table, *others]), PRIMARY)
    is_family = found["role"] == "exploratory"
    assert found.filter(~is_family)["p_bh"].is_null().all()
    family = found.filter(is_family)
    assert family["p_bh"].max() == pytest.approx(family["p"].max())
    assert (family["p_bh"] >= family["p"]).all()


def test_few_settings_are_refused():
    row = primary_row(planted(np.random.default_rng(0), settings=5))
    assert [row[name] for name in NUMBERS] == [None] * len(NUMBERS)
    assert (row["n"], row["n_runs"]) == (5, 45)
    assert row["note"] == "5 settings: too few for 2 covariates, 6 are needed"


def test_an_amount_of_data_that_is_the_same_everywhere_costs_no_setting():
    table = planted(np.random.default_rng(0), settings=5, domains=13)
    row = primary_row(table.with_columns(log_samples=pl.lit(np.log1p(50000))))
    assert (row["n"], row["note"]) == (5, "")
    assert row["beta"] is not None


def test_runs_without_another_setting_beside_them_are_refused_and_counted():
    table = planted(np.random.default_rng(0), domains=1, seeds=1, settings=9)
    apart = table.with_columns(test_domain=pl.col("setting"))
    row = primary_row(apart)
    assert (row["n"], row["beta"]) == (0, None)
    assert row["note"] == (
        "9 rows without another setting in the test domain and draw; "
        "no two settings stand in one test domain and draw"
    )
    one_more = primary_row(pl.concat([table, apart[:1].with_columns(run=pl.lit("apart"))]))
    assert one_more["beta"] == pytest.approx(primary_row(table)["beta"])
    assert one_more["note"] == "1 row without another setting in the test domain and draw"


def test_settings_that_share_no_test_domain_are_not_compared():
    table = planted(np.random.default_rng(0), domains=2, settings=12)
    half = pl.col("setting").rank("dense") <= 6
    apart = table.filter(half == (pl.col("test_domain") == "domain 0"))
    assert primary_row(apart)["note"] == (
        "test domains and draws fall into parts that no setting connects"
    )


def test_what_cannot_be_estimated_is_left_out_and_counted():
    table = planted(np.random.default_rng(0), effect=0.5)
    holes = table.with_columns(
        sharing=pl.when(pl.int_range(pl.len()) < 4).then(None).otherwise(pl.col("sharing"))
    )
    row = primary_row(holes)
    assert (row["n_runs"], row["note"]) == (50, "4 of 54 rows have no value")
    assert row["beta"] == pytest.approx(primary_row(table[4:])["beta"])


def test_a_primary_measure_that_no_run_has_is_said():
    table = at(planted(np.random.default_rng(0)), "layer1", "cka", np.zeros(54))
    row = primary_row(table)
    assert (row["site"], row["measure"], row["n_runs"]) == (*PRIMARY, 0)
    assert row["note"] == "no two settings stand in one test domain and draw"


def test_a_run_counts_once_per_test_domain_however_many_draws_it_serves():
    table = planted(np.random.default_rng(0), effect=0.3)
    shift = table.with_columns(draw=pl.lit(1), held_out=pl.col("held_out") - 7)
    one, two = primary_row(table), primary_row(pl.concat([table, shift]))
    assert two["n_runs"] == 54
    assert two["beta"] == pytest.approx(one["beta"])
    assert two["p"] == pytest.approx(one["p"])


def test_a_hard_draw_is_no_fault_of_its_runs():
    table = planted(np.random.default_rng(0), effect=0.3).with_columns(draw=pl.col("seed") % 2)
    harder = table.with_columns(held_out=pl.col("held_out") - 7 * pl.col("draw"))
    one, other = primary_row(table), primary_row(harder)
    assert other["beta"] == pytest.approx(one["beta"])
    assert other["p"] == pytest.approx(one["p"])


def test_the_transfer_probe_is_that_of_the_primary_site():
    table = planted(np.random.default_rng(0), effect=0.3)
    rng = np.random.default_rng(1)
    inner, outer = rng.normal(size=54), rng.normal(size=54)
    first = at(table, "layer1", "s_id_nc", inner).with_columns(transfer=pl.Series(inner))
    main = table.with_columns(transfer=pl.Series(outer))
    both = headline(pl.concat([first, main]), PRIMARY)
    alone = headline(main, PRIMARY)
    keep = pl.col("measure") == "transfer"
    assert both.filter(keep).equals(alone.filter(keep))


def test_the_order_of_the_rows_is_of_no_effect():
    table = planted(np.random.default_rng(0), effect=0.3)
    shuffled = table.sample(fraction=1, shuffle=True, seed=3)
    one, other = primary_row(table), primary_row(shuffled)
    numbers = [name for name, value in one.items() if isinstance(value, float)]
    assert [one[name] for name in numbers] == pytest.approx([other[name] for name in numbers])
