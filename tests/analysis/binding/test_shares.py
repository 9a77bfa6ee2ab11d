import numpy as np
import pytest

from analysis.binding.shares import explained, share


def test_scenes_that_do_not_repeat_have_wilsons_interval():
    found = share(np.array([1.0] * 30 + [0.0] * 10), np.arange(40))
    assert found.value == 0.75
    assert (found.lo, found.hi) == pytest.approx((0.598, 0.858), abs=0.005)
    assert (found.n, found.clusters) == (40, 40)


def test_repeating_every_scene_does_not_make_a_score_more_certain():
    right = np.array([1.0] * 30 + [0.0] * 10)
    once = share(right, np.arange(40))
    often = share(np.tile(right, 25), np.tile(np.arange(40), 25))
    assert often.value == once.value
    assert often.lo == pytest.approx(once.lo, abs=0.01)
    assert often.n == 1000


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_score_is_certain(value):
    found = share(np.full(100, value), np.repeat(np.arange(10), 10))
    assert found.hi - found.lo == pytest.approx(0.278, abs=0.005)


def test_a_score_without_scenes_has_a_reason():
    found = share(np.zeros(0), np.zeros(0, dtype=int), reason="none is there")
    assert (found.value, found.lo, found.n, found.reason) == (None, None, 0, "none is there")


def test_explained_variance_is_one_of_a_perfect_and_zero_of_the_mean_prediction():
    y = np.random.default_rng(0).standard_normal((200, 3))
    clusters = np.arange(200)
    assert explained(y, y, clusters, seed=0).value == 1
    mean = explained(y, np.broadcast_to(y.mean(axis=0), y.shape), clusters, seed=0)
    assert mean.value == pytest.approx(0)
    half = explained(y, y / 2, clusters, seed=0)
    assert half.lo < half.value < half.hi


def test_embeddings_that_do_not_vary_have_no_explained_variance():
    y = np.ones((20, 3))
    assert explained(y, y, np.arange(20), seed=0).value is None
