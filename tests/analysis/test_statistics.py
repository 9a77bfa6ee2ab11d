import numpy as np
import pytest

from analysis.statistics import holm, paired_difference_interval

LABELS = np.repeat(np.arange(15), 20)


def test_paired_intervals_cover_the_true_difference_even_with_four_samples_per_class():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(15), 4)
    covered = []
    for _ in range(400):
        ease = rng.random(60)  # the same samples are hard for both
        e = paired_difference_interval(
            ease < 0.3, ease < 0.3 + 0.2 * (rng.random(60) < 0.5), labels
        )
        covered.append(e.lo <= 0.1 <= e.hi)
    assert 0.91 <= np.mean(covered) <= 0.985


def test_a_paired_difference_weighs_classes_equally():
    labels = np.array([0] * 8 + [1] * 2)
    before, after = np.zeros(10), np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 1])
    difference = paired_difference_interval(before, after, labels)
    assert difference.value == pytest.approx((0.5 + 1) / 2)


def test_swapping_the_settings_flips_the_difference_and_keeps_p():
    rng = np.random.default_rng(1)
    a, b = rng.random(300) < 0.3, rng.random(300) < 0.4
    there, back = paired_difference_interval(a, b, LABELS), paired_difference_interval(b, a, LABELS)
    assert back.value == pytest.approx(-there.value)
    assert back.p == pytest.approx(there.p)


def test_a_large_difference_is_significant_and_none_is_not():
    rng = np.random.default_rng(2)
    a, b = rng.random(300) < 0.2, rng.random(300) < 0.5
    large, none = paired_difference_interval(a, b, LABELS), paired_difference_interval(a, a, LABELS)
    assert large.lo > 0.15
    assert large.p == pytest.approx(1 / 2001)
    assert (none.value, none.p) == (0, 1)
    assert none.lo < 0 < none.hi


def test_p_values_are_uniform_where_nothing_differs():
    rng = np.random.default_rng(3)
    p = [
        paired_difference_interval(
            rng.random(60) < 0.5, rng.random(60) < 0.5, LABELS[:60], resamples=200
        ).p
        for _ in range(400)
    ]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.08


def test_equal_seeds_give_equal_intervals():
    rng = np.random.default_rng(4)
    a, b = rng.random(300) < 0.3, rng.random(300) < 0.4
    assert paired_difference_interval(a, b, LABELS) == paired_difference_interval(a, b, LABELS)


def test_holm_adjusts_as_in_the_textbook():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("correct", "labels", "message"),
    [
        ([], [], "no samples"),
        ([1, 0], [0], "shapes differ"),
        ([1, np.nan], [0, 1], "NaN"),
        ([1, 0], [0, np.nan], "NaN"),
        ([1, 2], [0, 1], "outside"),
    ],
)
def test_bad_input_is_a_clear_error(correct, labels, message):
    correct, labels = np.array(correct, float), np.array(labels)
    with pytest.raises(ValueError, match=message):
        paired_difference_interval(correct, correct, labels)
