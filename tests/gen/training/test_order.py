"""Every epoch shows each sample once, in an order that depends on seed and epoch alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.training.order import SMALL, _kept_permutation, batch_at


@settings(deadline=None)
@given(
    samples=st.integers(1, 40),
    batch_size=st.integers(1, 60),
    seed=st.integers(0, 5),
    steps=st.integers(1, 12),
)
def test_each_epoch_shows_each_sample_once(samples, batch_size, seed, steps):
    batches = [batch_at(step, batch_size, samples, seed) for step in range(steps)]
    epochs, positions = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert (epochs == np.arange(steps * batch_size) // samples).all()
    for epoch in range(steps * batch_size // samples):  # all but the unfinished one
        assert sorted(positions[epochs == epoch]) == list(range(samples))
    unfinished = positions[epochs == steps * batch_size // samples]
    assert len(set(unfinished)) == len(unfinished)
    assert set(unfinished) <= set(range(samples))


def test_a_batch_may_hold_the_end_of_one_epoch_and_the_start_of_the_next():
    epochs, positions = batch_at(step=2, batch_size=4, samples=10, seed=0)
    assert epochs.tolist() == [0, 0, 1, 1]
    first = [batch_at(step, 4, 10, 0)[1] for step in (0, 1)]
    assert sorted([*np.concatenate(first), *positions[:2]]) == list(range(10))


def test_a_step_may_be_asked_for_first_last_and_again():
    samples = SMALL + 1
    forward = [batch_at(step, 700, samples, 0)[1].tolist() for step in range(20)]
    _kept_permutation.cache_clear()
    backward = [batch_at(step, 700, samples, 0)[1].tolist() for step in reversed(range(20))]
    assert forward == backward[::-1]


def test_orders_differ_between_epochs_and_between_seeds():
    orders = {tuple(batch_at(step, 30, 30, seed)[1]) for step in range(4) for seed in range(4)}
    assert len(orders) == 16


def test_every_place_of_an_epoch_is_equally_likely():
    first = [batch_at(step, 5, 5, 0)[1][0] for step in range(2000)]
    shares = np.bincount(first, minlength=5) / len(first)
    assert np.abs(shares - 0.2).max() < 0.04


def test_the_order_of_many_samples_is_looked_up_and_that_of_few_made_anew():
    _kept_permutation.cache_clear()
    for step in range(3):
        batch_at(step, 8, SMALL + 1, 0)
        batch_at(step, 8, SMALL, 0)
    assert (_kept_permutation.cache_info().misses, _kept_permutation.cache_info().hits) == (1, 2)
