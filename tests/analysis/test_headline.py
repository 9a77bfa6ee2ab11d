"""The headline regression finds what is planted, and nothing where nothing is."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from analysis.headline import FEWEST_GROUPS, FEWEST_RUNS, HEADLINE, headline, standardised_slopes
from analysis.statistics import Refused, partial_effect, shuffled_groups, shuffled_within

PRIMARY = ("layer4", "s_id_nc")
SETTINGS = 6


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


def primary_row(table, **options):
    (row,) = headline(table, PRIMARY, **options).filter(role="primary").to_dicts()
    return row


def effect_of(table, covariates=("seen", "log_samples"), permutations=2000, seed=0):
    """`partial_effect` on the columns of one site and measure, its rows permuted one by one."""
    blocks = table["test_domain"].to_numpy()
    return partial_effect(
        table["held_out"].to_numpy(),
        table["sharing"].to_numpy(),
        table.select(covariates).to_numpy().reshape(table.height, -1),
        blocks,
        lambda left: shuffled_within(left, blocks, permutations, seed),
    )


# ---------------------------------------------------------------------------- the test


def test_the_slope_and_the_gain_are_those_of_least_squares():
    table = planted(np.random.default_rng(0), effect=0.4)
    found = effect_of(table)
    dummies = table["test_domain"].to_dummies().to_numpy().astype(float)
    columns = [table[name].to_numpy() for name in ("held_out", "sharing", "seen", "log_samples")]
    within = [c - dummies @ np.linalg.lstsq(dummies, c)[0] for c in columns]
    y, *x = [c / c.std() for c in within]

    def fit(predictors):
        coefficients, squares = np.linalg.lstsq(np.stack(predictors, axis=1), y)[:2]
        return coefficients, 1 - squares[0] / (y @ y)

    (whole, gained), (_, without) = fit(x), fit(x[1:])
    assert found.beta == pytest.approx(whole[0])
    assert found.delta_r2 == pytest.approx(gained - without)


def test_the_only_explanation_is_found_and_its_slope_is_1():
    rng = np.random.default_rng(0)
    table = planted(rng, confound=0).with_columns(held_out=3 * pl.col("sharing"))
    table = table.with_columns(held_out=pl.col("held_out") + 1e-3 * pl.Series(rng.normal(size=54)))
    found = effect_of(table)
    assert found.beta == pytest.approx(1, abs=0.01)
    assert found.p == pytest.approx(1 / 2001)


def test_p_is_uniform_where_sharing_adds_nothing():
    rng = np.random.default_rng(1)
    p = [
        effect_of(planted(rng, seeds=2, settings=4), permutations=199, seed=i).p for i in range(400)
    ]
    assert 0.025 <= np.mean(np.array(p) <= 0.05) <= 0.08
    assert 0.43 <= np.mean(np.array(p) <= 0.5) <= 0.57


def test_p_agrees_with_students_test_where_errors_are_normal():
    table = planted(np.random.default_rng(5), effect=0.08)
    found = effect_of(table, permutations=20000)
    degrees = 54 - 3 - 2 - 1
    blocks = table["test_domain"].to_dummies().to_numpy().astype(float)
    others = np.column_stack([blocks, table.select("seen", "log_samples").to_numpy()])
    y, x = (table[name].to_numpy() for name in ("held_out", "sharing"))
    y, x = (c - others @ np.linalg.lstsq(others, c)[0] for c in (y, x))
    partial = (x @ y) ** 2 / (x @ x) / (y @ y)
    # t² = partial R² · degrees / (1 - partial R²)
    expected = 2 * t.sf(np.sqrt(partial * degrees / (1 - partial)), degrees)
    assert 0.001 < expected < 0.5
    assert found.p == pytest.approx(expected, rel=0.15)


def test_accuracy_alone_makes_sharing_no_finding():
    rng = np.random.default_rng(2)
    found = [effect_of(planted(rng, confound=3), permutations=200, seed=i) for i in range(40)]
    assert np.mean([one.delta_r2 for one in found]) < 0.005
    assert np.mean([one.delta_r2 for one in found]) == pytest.approx(
        np.mean([one.delta_chance for one in found]), abs=0.002
    )
    alone = effect_of(planted(rng, confound=3), covariates=())
    assert alone.delta_r2 > 0.5


def test_a_difference_between_domains_is_no_effect_of_sharing():
    rng = np.random.default_rng(3)
    tables = [planted(rng, confound=0) for _ in range(40)]
    for table in tables:  # hard domains share more: a line through all points falls
        assert np.corrcoef(table["held_out"], table["sharing"])[0, 1] < -0.6
    assert np.mean([effect_of(table, permutations=200).p <= 0.05 for table in tables]) < 0.15


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("sharing", 0.5, "the predictor does not vary"),
        ("held_out", 0.5, "the outcome does not vary"),
    ],
)
def test_what_does_not_vary_is_refused(column, values, reason):
    table = planted(np.random.default_rng(0)).with_columns(pl.lit(values).alias(column))
    assert effect_of(table).reason.startswith(reason)


def test_sharing_that_is_accuracy_once_more_is_refused():
    table = planted(np.random.default_rng(0)).with_columns(sharing=2 * pl.col("seen") + 1)
    assert isinstance(effect_of(table), Refused)


def test_a_covariate_that_is_the_same_everywhere_changes_nothing():
    table = planted(np.random.default_rng(0), effect=0.3)
    constant = table.with_columns(log_samples=pl.lit(9.2))
    assert effect_of(constant).beta == pytest.approx(effect_of(table, ["seen"]).beta)


def test_runs_of_one_setting_are_no_independent_evidence():
    rng = np.random.default_rng(0)
    rows = []
    for i in range(150):
        table = planted(rng, confound=0, seeds=3, domains=2)
        place = table["setting"].rank("dense").to_numpy() - 1
        of_setting = {n: rng.normal(size=SETTINGS)[place] for n in ("held_out", "sharing")}
        added = {n: pl.col(n) + 2 * pl.Series(values) for n, values in of_setting.items()}
        rows.append(primary_row(table.with_columns(**added), permutations=199, resamples=2, seed=i))
    assert np.mean([row["p_runs"] <= 0.05 for row in rows]) > 0.25
    assert np.mean([row["p"] <= 0.05 for row in rows]) < 0.1


def test_whole_settings_are_shuffled_alike_in_all_domains():
    values = np.arange(12.0)
    groups, blocks = np.repeat(list("abc"), 4), np.tile(list("xxyy"), 3)
    for shuffled in shuffled_groups(values, groups, blocks, 30, 0):
        means = shuffled.reshape(3, 2, 2).mean(axis=2)
        original = values.reshape(3, 2, 2).mean(axis=2)
        order = [int(np.flatnonzero(original[:, 0] == m)[0]) for m in means[:, 0]]
        assert sorted(order) == [0, 1, 2]
        assert (means == original[order]).all()
        assert (np.abs(np.diff(shuffled.reshape(6, 2))) == 1).all()  # within a group as before


def test_settings_change_places_only_with_those_of_the_same_domains():
    values = np.array([0.0, 1, 2, 3, 10])
    groups, blocks = np.array(list("aabbc")), np.array(list("xyxyx"))
    shuffled = shuffled_groups(values, groups, blocks, 50, 0)
    assert (shuffled[:, 4] == 10).all()
    assert {tuple(row[:4]) for row in shuffled} == {(0, 1, 2, 3), (2, 3, 0, 1)}


# ---------------------------------------------------------------------------- the table


def test_a_planted_effect_is_found_with_its_interval():
    row = primary_row(planted(np.random.default_rng(0), effect=0.5, noise=0.3))
    assert row["lo"] > 0
    assert row["lo"] < row["beta"] < row["hi"]
    assert row["p"] < 0.01
    assert row["delta_r2"] > 5 * row["delta_chance"]
    assert (row["n"], row["n_runs"], row["note"]) == (54, 54, "")


def test_intervals_over_settings_cover_the_slope_of_many_runs():
    def drawn(rng, settings):
        table = planted(rng, effect=0.5, seeds=2, settings=settings, noise=0.0)
        of_setting = rng.normal(size=settings)[table["setting"].rank("dense").to_numpy() - 1]
        own = 0.5 * rng.normal(size=table.height)
        return table.with_columns(held_out=pl.col("held_out") + of_setting + own)

    rng = np.random.default_rng(0)
    truth = primary_row(drawn(rng, 400), permutations=1, resamples=2)["beta"]
    covered = []
    for i in range(100):
        row = primary_row(drawn(rng, SETTINGS), permutations=1, resamples=300, seed=i)
        covered.append(row["lo"] <= truth <= row["hi"])
    assert 0.88 <= np.mean(covered) <= 0.99


def test_columns_and_roles():
    table = planted(np.random.default_rng(0), effect=0.3)
    rng = np.random.default_rng(1)
    others = [
        at(table, "embedding", "cka", rng.normal(size=54)),
        at(table, "layer4", "cka", rng.normal(size=54)),
        at(table, "layer1", "s_id_nc", rng.normal(size=54)),
    ]
    found = headline(pl.concat([*others, table]), PRIMARY, permutations=200, resamples=200)
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
    found = headline(pl.concat([table, *others]), PRIMARY, permutations=200, resamples=200)
    is_family = found["role"] == "exploratory"
    assert found.filter(~is_family)["p_bh"].is_null().all()
    family = found.filter(is_family)
    assert family["p_bh"].max() == pytest.approx(family["p"].max())
    assert (family["p_bh"] >= family["p"]).all()


def test_fewer_than_eight_runs_are_refused():
    table = planted(np.random.default_rng(0), seeds=1, domains=1, settings=FEWEST_RUNS - 1)
    row = primary_row(table)
    assert row["beta"] is None
    assert row["p"] is None
    assert row["note"] == "7 runs; a regression over runs needs 8"


def test_few_settings_give_a_slope_without_interval():
    row = primary_row(planted(np.random.default_rng(0), settings=FEWEST_GROUPS - 1))
    assert row["beta"] is not None
    assert row["p_runs"] is not None
    assert (row["lo"], row["p"], row["delta_chance"]) == (None, None, None)
    assert (
        row["note"]
        == "4 settings stand in the same test domains; tests and intervals over them need 5"
    )


def test_what_cannot_be_estimated_is_left_out_and_counted():
    table = planted(np.random.default_rng(0), effect=0.5)
    holes = table.with_columns(
        sharing=pl.when(pl.int_range(pl.len()) < 4).then(None).otherwise(pl.col("sharing"))
    )
    row = primary_row(holes)
    assert (row["n"], row["note"]) == (50, "4 of 54 rows have no value")
    assert row["beta"] == pytest.approx(primary_row(table[4:])["beta"])


def test_a_primary_measure_that_no_run_has_is_said():
    table = at(planted(np.random.default_rng(0)), "layer1", "cka", np.zeros(54))
    row = primary_row(table)
    assert (row["site"], row["measure"], row["n_runs"]) == (*PRIMARY, 0)
    assert row["note"] == "0 runs; a regression over runs needs 8"


def test_a_run_counts_once_per_test_domain_however_many_draws_it_serves():
    table = planted(np.random.default_rng(0), effect=0.3)
    shift = table.with_columns(draw=pl.lit(1), held_out=pl.col("held_out") - 7)
    one, two = primary_row(table), primary_row(pl.concat([table, shift]))
    assert (two["n"], two["n_runs"]) == (54, 54)
    assert two["beta"] == pytest.approx(one["beta"])
    assert two["p"] == one["p"]


def test_a_hard_draw_is_no_fault_of_its_runs():
    table = planted(np.random.default_rng(0), effect=0.3).with_columns(draw=pl.col("seed") % 2)
    harder = table.with_columns(held_out=pl.col("held_out") - 7 * pl.col("draw"))
    one, other = primary_row(table), primary_row(harder)
    assert other["beta"] == pytest.approx(one["beta"])
    assert other["p"] == one["p"]


def test_the_transfer_probe_is_that_of_the_primary_site():
    table = planted(np.random.default_rng(0), effect=0.3)
    rng = np.random.default_rng(1)
    inner, outer = rng.normal(size=54), rng.normal(size=54)
    first = at(table, "layer1", "s_id_nc", inner).with_columns(transfer=pl.Series(inner))
    main = table.with_columns(transfer=pl.Series(outer))
    both = headline(pl.concat([first, main]), PRIMARY, permutations=50, resamples=50)
    alone = headline(main, PRIMARY, permutations=50, resamples=50)
    keep = pl.col("measure") == "transfer"
    assert both.filter(keep).equals(alone.filter(keep))


def test_the_order_of_the_rows_is_of_no_effect():
    table = planted(np.random.default_rng(0), effect=0.3)
    shuffled = table.sample(fraction=1, shuffle=True, seed=3)
    one, other = primary_row(table), primary_row(shuffled)
    numbers = [name for name, value in one.items() if isinstance(value, float)]
    assert [one[name] for name in numbers] == pytest.approx([other[name] for name in numbers])


def test_resampled_slopes_are_those_of_repeated_rows():
    table = planted(np.random.default_rng(0), effect=0.4)
    columns = table.select("held_out", "sharing", "seen", "log_samples").to_numpy()
    blocks = table["test_domain"].to_numpy()
    counts = np.random.default_rng(1).integers(0, 4, size=(5, 54))
    found = standardised_slopes(columns, blocks, counts)
    for slope, count in zip(found, counts, strict=True):
        rows = np.repeat(np.arange(54), count)
        assert slope == pytest.approx(effect_of(table[rows], permutations=1).beta)
