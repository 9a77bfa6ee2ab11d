import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import linregress, norm

from analysis.robustness import (
    FEWEST_MODELS,
    Baseline,
    Robustness,
    effective_robustness,
    fit_baseline,
)
from analysis.statistics import Refused

MANY = 10**6
SLOPE, INTERCEPT = 0.7, -0.9


def planted(models=8, moments=4, noise=0.0, seed=0):
    """Points on a line of logits, moments of one model off it by the same amount."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (models, moments))
    y = SLOPE * x + INTERCEPT + noise * rng.standard_normal((models, 1))
    names = np.repeat([f"run {number:02d}" for number in range(models)], moments)
    return expit(x).ravel(), expit(y).ravel(), names


def fitted(accuracy_id, accuracy_ood, names, **options):
    n = [MANY] * len(names)
    return fit_baseline(accuracy_id, accuracy_ood, n, n, names, **options)


@pytest.mark.parametrize(
    ("transform", "backward"), [("logit", expit), ("probit", norm.cdf)], ids=["logit", "probit"]
)
def test_a_planted_line_is_found(transform, backward):
    x = np.linspace(-2, 2, 12)
    names = [f"run {number}" for number in range(12)]
    line = fitted(backward(x), backward(SLOPE * x + INTERCEPT), names, transform=transform)
    assert (line.slope, line.intercept) == pytest.approx((SLOPE, INTERCEPT))
    assert line.r_squared == pytest.approx(1)
    assert (line.lowest, line.highest) == pytest.approx((backward(-2), backward(2)))
    assert (line.n_points, line.n_models) == (12, 12)
    found = effective_robustness(line, backward(0.5), 0.3, MANY)
    assert found.expected == pytest.approx(backward(SLOPE * 0.5 + INTERCEPT))
    assert found.value == pytest.approx(0.3 - found.expected)


def test_the_line_is_that_of_another_least_squares():
    accuracy_id, accuracy_ood, names = planted(noise=0.4)
    line = fitted(accuracy_id, accuracy_ood, names)
    oracle = linregress(logit(accuracy_id), logit(accuracy_ood))
    assert (line.slope, line.intercept) == pytest.approx((oracle.slope, oracle.intercept))
    assert line.r_squared == pytest.approx(oracle.rvalue**2)


def test_the_order_of_the_points_is_of_no_effect():
    accuracy_id, accuracy_ood, names = planted(noise=0.4)
    order = np.random.default_rng(1).permutation(len(names))
    one = fitted(accuracy_id, accuracy_ood, names)
    other = fitted(accuracy_id[order], accuracy_ood[order], names[order])
    assert (one.slope, one.intercept) == (other.slope, other.intercept)
    assert effective_robustness(one, 0.5, 0.5, 100) == effective_robustness(other, 0.5, 0.5, 100)


@pytest.mark.parametrize("models", [FEWEST_MODELS, 20])
def test_intervals_over_models_cover_the_true_line(models):
    truth, covered = expit(INTERCEPT), []
    for seed in range(300):
        line = fitted(*planted(models, noise=0.5, seed=seed), resamples=1000)
        found = effective_robustness(line, 0.5, truth, MANY)
        covered.append(found.lo <= 0 <= found.hi)
    assert 0.9 <= np.mean(covered) <= 0.985


def test_moments_of_one_training_count_as_one_model():
    accuracy_id, accuracy_ood, names = planted(moments=6, noise=0.5)
    apart = [f"{name}, {number}" for number, name in enumerate(names)]
    together, separate = (
        effective_robustness(fitted(accuracy_id, accuracy_ood, of), 0.5, 0.4, MANY)
        for of in (names, apart)
    )
    assert together.value == pytest.approx(separate.value)
    assert together.hi - together.lo > 1.5 * (separate.hi - separate.lo)


def test_few_models_give_a_line_without_interval():
    accuracy_id, accuracy_ood, names = planted(models=1, moments=6)
    line = fitted(accuracy_id, accuracy_ood, names)
    found = effective_robustness(line, float(accuracy_id[0]), 0.9, MANY)
    assert isinstance(found, Robustness)
    assert (found.lo, found.hi) == (None, None)
    assert line.doubt == f"1 baseline run; an interval over models needs {FEWEST_MODELS}"


def test_models_that_share_a_place_but_one_give_no_interval():
    accuracies = [0.2, 0.2, 0.2, 0.2, 0.2, 0.6]
    line = fitted(accuracies, [0.1] * 5 + [0.3], list("abcdef"))
    assert line.slope > 0
    assert "have a single place" in line.doubt
    assert effective_robustness(line, 0.4, 0.3, MANY).lo is None


def test_equal_models_are_no_certainty():
    accuracy_id, accuracy_ood, _ = planted(models=1, moments=4)
    names = np.repeat([f"run {number}" for number in range(6)], 4)
    line = fitted(np.tile(accuracy_id, 6), np.tile(accuracy_ood, 6), names)
    assert line.doubt.startswith("the baseline runs are equal")
    assert effective_robustness(line, float(accuracy_id[0]), 0.9, MANY).lo is None


def test_two_points_are_no_baseline():
    refused = fitted([0.2, 0.4], [0.1, 0.2], ["a", "b"])
    assert refused == Refused("baseline points: 2; 3 are needed")


def test_one_accuracy_without_shift_is_no_baseline():
    assert isinstance(fitted([0.4] * 4, [0.1, 0.2, 0.3, 0.2], list("abcd")), Refused)


@pytest.mark.parametrize("accuracy_id", [0.05, 0.95])
def test_outside_the_baselines_range_there_is_no_number(accuracy_id):
    line = fitted(*planted())
    refused = effective_robustness(line, accuracy_id, 0.5, MANY)
    assert isinstance(refused, Refused)
    assert f"{accuracy_id:.1%} without shift is outside" in refused.reason


def test_at_the_ends_of_the_range_there_is_one():
    line = fitted(*planted())
    for end in (line.lowest, line.highest):
        assert isinstance(effective_robustness(line, end, 0.5, MANY), Robustness)


def test_none_and_all_right_stand_where_half_a_sample_would():
    n = [50] * 3
    line = fit_baseline([0, 0.5, 1], [0, 0.5, 1], n, n, list("abc"))
    assert isinstance(line, Baseline)
    assert (line.slope, line.intercept) == pytest.approx((1, 0))
    assert (line.lowest, line.highest) == (0, 1)
    assert effective_robustness(line, 1, 1, 50).value == pytest.approx(0.01)


def test_accuracies_that_do_not_vary_under_shift_have_no_share_explained():
    line = fitted([0.2, 0.4, 0.6], [0.1] * 3, list("abc"))
    assert line.r_squared is None
    assert line.slope == pytest.approx(0)


@pytest.mark.parametrize("wrong", [1.2, -0.1, float("nan")])
def test_what_is_no_accuracy_is_an_error(wrong):
    with pytest.raises(ValueError, match="outside"):
        fitted([0.2, 0.4, wrong], [0.1, 0.2, 0.3], list("abc"))


def test_an_unknown_transform_is_an_error():
    with pytest.raises(ValueError, match="no transform `log`; there are logit, probit"):
        fitted(*planted(), transform="log")
