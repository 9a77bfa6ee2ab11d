"""Randomness as a pure function of names: no state to save, none to share.

Two kinds: a NumPy generator for one named thing (a sample to render, a draw of classes), and
uniform numbers for a whole batch of (epoch, sample) pairs at once.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*names: object) -> np.random.Generator:
    """A generator that depends on `names` alone, in order (on any machine, in any process)."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def sample_keys(ids: list[str]) -> np.ndarray:
    """A 64-bit number for every sample id, shape [N], the same on any machine."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids)
    return np.frombuffer(digests, dtype="<u8")


def batch_uniforms(seed: int, epochs: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """`count` uniform numbers in [0, 1) for every (epoch, sample) pair of a batch.

    Counter-based: each number is the SplitMix64 finalizer (Steele, Lea & Flood 2014) of the seed,
    epoch, sample key and column, so that it depends on nothing else.

    Args:
        seed: seed of the run.
        epochs: int, shape [B].
        keys: uint64 from `sample_keys`, shape [B].
        count: numbers per pair.

    Returns:
        float64, shape [B, count].
    """
    with np.errstate(over="ignore"):
        state = _mix(np.uint64(seed % 2**63) + keys)
        state = _mix(state + epochs.astype(np.uint64))
        columns = np.arange(1, count + 1, dtype=np.uint64)
        mixed = _mix(state[:, None] + columns * np.uint64(0x9E3779B97F4A7C15))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: a bijection of 64-bit numbers that spreads every bit."""
    state = (state + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
