"""Near duplicates: pairs of images whose 64-bit perceptual hashes differ in few bits.

The search is exact multi-index hashing (Norouzi, Punjani & Fleet 2012): the 64 bits are cut into
distance + 2 bands, and of two hashes that differ in at most `distance` bits at least two bands are
equal. So every pair agrees on the bits of one of the pairs of bands, and only hashes that agree
on those are compared. Equal hashes are one: thousands of blank images are one hash with a size.

Legend: N samples, H distinct hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

MAX_DISTANCE = 10
"""bits; beyond it the bands are too short to tell hashes apart"""
MAX_ROWS = 1_000_000
"""rows that are listed across splits, and again as many within a split; all are counted"""
PAIRS_AT_A_TIME = 1 << 20
BITS = 64

GROUP = ["phash", "split", "domain"]
COUNT_KEYS = ["kind", "split_a", "split_b", "domain_a", "domain_b"]
ROWS: dict[str, Any] = {
    "kind": pl.String,
    "id_a": pl.String,
    "id_b": pl.String,
    "split_a": pl.String,
    "split_b": pl.String,
    "domain_a": pl.String,
    "domain_b": pl.String,
    "class_a": pl.String,
    "class_b": pl.String,
    "distance": pl.Int64,
    "samples_a": pl.Int64,
    "samples_b": pl.Int64,
    "phash_a": pl.UInt64,
    "phash_b": pl.UInt64,
}
COUNTS: dict[str, Any] = dict.fromkeys(COUNT_KEYS, pl.String) | {"pairs": pl.Int64}

Advance = Callable[[int], object]
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of samples of another split or another domain whose hashes are near.

    Attributes:
        rows: one per two groups of samples, a group being all samples with one hash, split and
            domain: `kind` (`identical_hash` or `near_hash`), `id_a` and `class_a` of the group's
            first sample, `samples_a` (size of the group), `distance` in bits, and the same for b.
            `a` is the training sample where one of the two is. At most `MAX_ROWS` across splits,
            and as many within a split.
        counts: `pairs` of samples by `kind`, splits and domains: all of them.
        left_out: rows that were counted and not listed.
        without_hash: samples that have no hash, and were not compared.
    """

    rows: pl.DataFrame
    counts: pl.DataFrame
    left_out: int
    without_hash: int

    @property
    def pairs(self) -> int:
        """Pairs of samples, all of them."""
        return int(self.counts["pairs"].sum())


def find_near_duplicates(
    samples: pl.DataFrame,
    distance: int,
    *,
    most: int = MAX_ROWS,
    advance: Advance = lambda steps: None,
) -> NearDuplicates:
    """Compare the perceptual hashes of all samples with each other.

    Pairs within one split and one domain are left out: they are no leak of anything.

    Args:
        samples: has columns `id`, `split`, `domain`, `class_name`, `phash` (UInt64, may be null).
        distance: bits in which two hashes may differ, 0 to MAX_DISTANCE.
        most: rows to list across splits, and again as many within a split.
        advance: is told of steps that are done, `steps(distance)` in all.
    """
    hashed = samples.drop_nulls("phash")
    groups = _groups(hashed)
    hashes = groups["phash"].unique().sort()
    groups = groups.join(hashes.to_frame().with_row_index("hash"), on="phash")
    kept = Kept(most)
    for left, right, bits in _all_pairs(hashes.to_numpy(), distance, advance):
        kept.add(_rows(left, right, bits, groups))
    return kept.result(without_hash=samples.height - hashed.height)


def near_pairs(hashes: np.ndarray, distance: int, advance: Advance) -> Iterator[Pairs]:
    """Every pair of different hashes that differ in at most `distance` bits, once.

    Args:
        hashes: distinct, uint64 of shape [H].
        distance: bits, 0 to MAX_DISTANCE.
        advance: is told of each pass over the hashes that is done.

    Yields:
        Positions of the first and of the second hash, and their distance, about PAIRS_AT_A_TIME
        at a time. Memory is bounded by H and that, whatever the hashes are.
    """
    masks = band_masks(distance)
    for number, mask in enumerate(masks):
        order = np.argsort(hashes & mask, kind="stable")
        values = hashes[order]
        for first, second in _equal_runs(values & mask):
            differing = values[first] ^ values[second]
            near = _newly_near(differing, distance, masks[:number])
            bits = np.bitwise_count(differing[near])
            yield order[first[near]], order[second[near]], bits
        advance(1)


class HashIndex:
    """Distinct hashes, sorted by every pair of bands, to look up the near ones of others.

    Args:
        hashes: distinct, uint64 of shape [H].
        distance: bits, 0 to MAX_DISTANCE.
    """

    def __init__(self, hashes: np.ndarray, distance: int) -> None:
        self.hashes, self.distance = hashes, distance
        self.masks = band_masks(distance)
        self.orders = [np.argsort(hashes & mask, kind="stable") for mask in self.masks]

    def near(self, others: np.ndarray) -> Iterator[Pairs]:
        """Every pair of one of `others` and a hash of the index that are near, once.

        Args:
            others: distinct, uint64 of any length; in ascending order they are faster.

        Yields:
            Positions in `others` and in the index, and the distance, about PAIRS_AT_A_TIME (or
            H, where that is more) at a time.
        """
        for number, (mask, order) in enumerate(zip(self.masks, self.orders, strict=True)):
            keys = self.hashes[order] & mask
            start = np.searchsorted(keys, others & mask, side="left")
            count = np.searchsorted(keys, others & mask, side="right") - start
            for one, place in _expanded(start, count):
                other = order[place]
                differing = others[one] ^ self.hashes[other]
                near = _newly_near(differing, self.distance, self.masks[:number])
                yield one[near], other[near], np.bitwise_count(differing[near])


def _expanded(start: np.ndarray, count: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every number i with each place of its run of `count[i]` from `start[i]`, in parts."""
    hits = np.flatnonzero(count)
    part = np.cumsum(count[hits]) // PAIRS_AT_A_TIME
    for rows in np.split(hits, np.flatnonzero(np.diff(part)) + 1):
        lengths = count[rows]
        before = np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.repeat(start[rows], lengths) + np.arange(lengths.sum()) - before
        yield np.repeat(rows, lengths), places


def _newly_near(differing: np.ndarray, distance: int, earlier: Sequence[np.uint64]) -> np.ndarray:
    """Positions of the differences of few bits that no earlier mask would have found."""
    near = np.flatnonzero(np.bitwise_count(differing) <= distance)
    for mask in earlier:
        near = near[differing[near] & mask != 0]
    return near


def band_masks(distance: int) -> list[np.uint64]:
    """The bits of every pair of `distance` + 2 bands.

    Neighbouring bits are in different bands: a hash's first bits are its lowest frequencies, on
    which many images agree.

    Raises:
        ValueError: the distance is not in 0 to MAX_DISTANCE.
    """
    if not 0 <= distance <= MAX_DISTANCE:
        raise ValueError(f"distance {distance} is not in 0 to {MAX_DISTANCE}")
    bands = distance + 2
    bits = [sum(1 << bit for bit in range(band, BITS, bands)) for band in range(bands)]
    return [np.uint64(one | other) for one, other in combinations(bits, 2)]


def steps(distance: int) -> int:
    """Passes over the hashes that a search makes."""
    return len(band_masks(distance))


def _equal_runs(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of positions within runs of equal (sorted) keys, by how far they are apart."""
    first, apart = np.arange(len(keys)), 0
    waiting: list[np.ndarray] = []
    while len(first):
        apart += 1
        first = first[: np.searchsorted(first, len(keys) - apart)]
        first = first[keys[first] == keys[first + apart]]
        waiting.append(np.stack([first, first + apart]))
        if sum(part.shape[1] for part in waiting) >= PAIRS_AT_A_TIME or not len(first):
            together = np.concatenate(waiting, axis=1)
            yield together[0], together[1]
            waiting = []


def _all_pairs(hashes: np.ndarray, distance: int, advance: Advance) -> Iterator[Pairs]:
    """The pairs of different hashes, and every hash with itself."""
    for start in range(0, len(hashes), PAIRS_AT_A_TIME):
        same = np.arange(start, min(len(hashes), start + PAIRS_AT_A_TIME))
        yield same, same, np.zeros(len(same), dtype=np.uint8)
    yield from near_pairs(hashes, distance, advance)


def hash_groups(hashed: pl.DataFrame) -> pl.DataFrame:
    """Samples of one hash, split and domain: their number and the first of them."""
    return hashed.group_by(GROUP, maintain_order=True).agg(
        pl.col("id").first(), pl.col("class_name").first(), samples=pl.len().cast(pl.Int64)
    )


def _groups(hashed: pl.DataFrame) -> pl.DataFrame:
    """The groups with the `place` of their split and domain, training first."""
    group = hash_groups(hashed)
    places = group.select("split", "domain").unique()
    places = places.sort(pl.col("split") != "train", "split", "domain").with_row_index("place")
    return group.join(places, on=["split", "domain"])


def _rows(
    left: np.ndarray, right: np.ndarray, bits: np.ndarray, groups: pl.DataFrame
) -> pl.DataFrame:
    """Pairs of hashes → pairs of groups of another split or domain, training first."""
    turned = left != right
    one = np.concatenate([left, right[turned]])
    other = np.concatenate([right, left[turned]])
    rows = group_rows(one, other, np.concatenate([bits, bits[turned]]), groups, groups)
    return rows.filter(pl.col("place_a") < pl.col("place_b")).select(*ROWS)


def group_rows(
    left: np.ndarray,
    right: np.ndarray,
    bits: np.ndarray,
    groups_a: pl.DataFrame,
    groups_b: pl.DataFrame,
) -> pl.DataFrame:
    """Pairs of hashes → pairs of the groups that have them: the columns ROWS, and others.

    Args:
        left, right: numbers of the hashes on the sides a and b, shape [N].
        bits: in which they differ, shape [N].
        groups_a, groups_b: `hash_groups`, with the number of each one's `hash`.
    """
    kind = groups_a.schema["hash"]
    pairs = pl.DataFrame({"hash_a": left, "hash_b": right, "distance": bits}).cast(
        {"hash_a": kind, "hash_b": kind, "distance": pl.Int64}
    )
    rows = pairs.join(groups_a.rename(lambda name: f"{name}_a"), on="hash_a").join(
        groups_b.rename(lambda name: f"{name}_b"), on="hash_b"
    )
    same = pl.col("distance") == 0
    return rows.rename({"class_name_a": "class_a", "class_name_b": "class_b"}).with_columns(
        kind=pl.when(same).then(pl.lit("identical_hash")).otherwise(pl.lit("near_hash"))
    )


class Kept:
    """Counts of all rows, and the first `most` of them across splits and within a split."""

    def __init__(self, most: int) -> None:
        self.most, self.left_out = most, 0
        self.rows = [pl.DataFrame(schema=ROWS)]
        self.counts = pl.DataFrame(schema=COUNTS)
        self.room = {True: most, False: most}

    def add(self, rows: pl.DataFrame) -> None:
        if rows.is_empty():
            return
        pairs = rows.group_by(COUNT_KEYS).agg(
            pairs=(pl.col("samples_a") * pl.col("samples_b")).sum()
        )
        joined = pl.concat([self.counts, pairs])
        self.counts = joined.group_by(COUNT_KEYS).agg(pl.col("pairs").sum())
        for across in (True, False):
            part = rows.filter((pl.col("split_a") != pl.col("split_b")) == across)
            self.rows.append(part.head(self.room[across]))
            self.left_out += max(0, part.height - self.room[across])
            self.room[across] -= self.rows[-1].height

    def result(self, without_hash: int) -> NearDuplicates:
        rows = pl.concat(self.rows).sort("split_a", "split_b", "distance", "id_a", "id_b")
        counts = self.counts.sort(COUNT_KEYS)
        return NearDuplicates(rows, counts, self.left_out, without_hash)


# ---------------------------------------------------------------------------- embeddings


def nearest(
    queries: np.ndarray, keys: np.ndarray, *, rows: int = 512, columns: int = 1 << 15
) -> tuple[np.ndarray, np.ndarray]:
    """For every query the key with the largest cosine, in blocks of `rows` × `columns`.

    Args:
        queries: float of shape [N, E], each of length 1.
        keys: float of shape [M, E], each of length 1, at least one.

    Returns:
        Position of the nearest key (the first, where several are) and its cosine; shapes [N].
    """
    best = np.full(len(queries), -np.inf, dtype=np.float32)
    place = np.zeros(len(queries), dtype=np.int64)
    for top in range(0, len(queries), rows):
        part = slice(top, top + rows)
        for start in range(0, len(keys), columns):
            cosines = queries[part] @ keys[start : start + columns].T
            column = cosines.argmax(axis=1)
            value = cosines[np.arange(len(column)), column]
            better = value > best[part]
            best[part] = np.where(better, value, best[part])
            place[part] = np.where(better, column + start, place[part])
    return place, best


def centred(queries: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both without the mean of the keys, each row of length 1 again; float [N, E] and [M, E].

    The embeddings of a CLIP lie in a narrow cone: without their mean a cosine tells images apart.
    """
    mean = keys.mean(axis=0)
    moved = (queries - mean, keys - mean)
    one, other = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in moved)
    return one, other
