"""Random numbers depend on names alone, and look random along every direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from gen.randomness import batch_uniforms, generator, sample_keys

IDS = [f"train_real_cat_{number:05d}" for number in range(20_000)]
KEYS = sample_keys(IDS)
EPOCHS = np.zeros(len(KEYS), dtype=np.int64)
P_MIN = 1e-4
"""of a Kolmogorov-Smirnov test; the numbers are fixed, so it holds always or never"""


def test_a_generator_gives_the_numbers_it_has_always_given():
    assert generator(0, "caption", "cat").integers(1000, size=4).tolist() == [909, 27, 577, 307]


def test_a_generator_depends_on_every_name_and_on_their_order():
    names = [(0, "a", "b"), (1, "a", "b"), (0, "b", "a"), (0, "a"), (0, "a", "c"), ("b", "a", 0)]
    draws = {tuple(generator(*group).integers(2**60, size=2)) for group in names}
    assert len(draws) == len(names)
    again = {tuple(generator(*group).integers(2**60, size=2)) for group in names}
    assert again == draws


def test_a_generator_neither_reads_nor_moves_the_global_state():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = generator("a").random()
    np.random.seed(1)  # noqa: NPY002
    assert generator("a").random() == first
    np.random.seed(0)  # noqa: NPY002
    generator("a").random()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_keys_differ_between_samples_and_depend_on_the_id_alone():
    assert len(np.unique(KEYS)) == len(IDS)
    assert (sample_keys(IDS[5:8]) == KEYS[5:8]).all()


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**70),
    epoch=st.integers(0, 10_000),
    row=st.integers(0, 9),
    count=st.integers(1, 6),
)
def test_a_row_computed_alone_is_the_row_of_the_batch(seed, epoch, row, count):
    epochs = np.full(10, epoch)
    batch = batch_uniforms(seed, epochs, KEYS[:10], count)
    alone = batch_uniforms(seed, epochs[[row]], KEYS[[row]], count)
    assert batch.shape == (10, count)
    assert (batch[row] == alone[0]).all()
    assert ((batch >= 0) & (batch < 1)).all()


def test_a_further_column_leaves_the_others():
    narrow, wide = (batch_uniforms(3, EPOCHS, KEYS, count) for count in (2, 5))
    assert (wide[:, :2] == narrow).all()


@pytest.mark.parametrize("seed", range(3))
def test_every_column_is_uniform_over_samples(seed):
    numbers = batch_uniforms(seed, EPOCHS, KEYS, 5)
    assert min(kstest(column, "uniform").pvalue for column in numbers.T) > P_MIN


def test_one_sample_is_uniform_over_epochs_and_over_seeds():
    epochs = np.arange(20_000)
    over_epochs = batch_uniforms(0, epochs, np.repeat(KEYS[:1], len(epochs)), 1)[:, 0]
    over_seeds = np.array(
        [batch_uniforms(seed, EPOCHS[:1], KEYS[:1], 1)[0, 0] for seed in range(3000)]
    )
    assert kstest(over_epochs, "uniform").pvalue > P_MIN
    assert kstest(over_seeds, "uniform").pvalue > P_MIN


def test_columns_epochs_and_seeds_are_uncorrelated():
    draws = [
        batch_uniforms(seed, EPOCHS + epoch, KEYS, 3)
        for seed, epoch in ((0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (1, 1))
    ]
    correlations = np.corrcoef(np.concatenate(draws, axis=1).T)
    off_diagonal = correlations[~np.eye(len(correlations), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(len(KEYS))


def test_neighbouring_samples_are_uncorrelated():
    numbers = batch_uniforms(0, EPOCHS, KEYS, 1)[:, 0]
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 5 / np.sqrt(len(KEYS))
