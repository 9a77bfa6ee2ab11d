"""Whether domains are made of the same features: sparse autoencoders of a model, compared by class.

Legend: N images, U units, J features, D domains, C classes, S classes of a set, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.stats import hypergeom
from scipy.stats import t as student

from analysis.class_sets import ClassSet
from analysis.sae_codes import Coded, Places

KS = (5, 10, 15, 20)
"""features of a class that are compared (Kempf et al. 2025)"""
COUNTED = 20
"""features of an image that a histogram counts, at most (the same)"""
CONFIDENCE = 0.95
ROUNDING = 1e-12
MATCHINGS = 20
"""steps in which random directions come to the second moment of features"""
MEASURES = ("overlap", "jaccard")


@dataclass(frozen=True)
class Profiles:
    """How strongly features are there in every cell, [D, C, J], over all images and over halves."""

    whole: np.ndarray
    halves: tuple[np.ndarray, np.ndarray]


def histogram_profiles(codes: csr_array, places: Places) -> Profiles:
    """Share of a cell's images that have a feature positive and among their COUNTED largest.

    As published (Kempf et al. 2025). Equal shares are frequent in cells of few images; the mean
    code decides between them, where the published order of such features is that of their numbers.
    """
    counted = _largest(codes)
    strengths = codes / max(float(codes.max()), np.finfo(np.float32).tiny)
    tie = 0.5 / int(places.sizes.max())  # less than what unequal shares differ by

    def profile(mask_N: np.ndarray | None) -> np.ndarray:
        shares = places.means(counted, mask_N)
        return shares + np.where(shares > 0, tie * places.means(strengths, mask_N), 0)

    return _profiles(profile, places)


def mean_profiles(codes: csr_array, places: Places) -> Profiles:
    """Mean code of every cell."""
    return _profiles(lambda mask_N: places.means(codes, mask_N), places)


def _profiles(profile: Callable[[np.ndarray | None], np.ndarray], places: Places) -> Profiles:
    halves = profile(places.half_N == 0), profile(places.half_N == 1)
    return Profiles(profile(None), halves)


def _largest(codes: csr_array) -> csr_array:
    """1 where a code is positive and among the COUNTED largest of its image."""
    rows = np.repeat(np.arange(codes.shape[0]), np.diff(codes.indptr))
    order = np.lexsort((-codes.data, rows))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - codes.indptr[rows]
    kept = (rank < COUNTED) & (codes.data > 0)
    return csr_array((np.ones(kept.sum()), (rows[kept], codes.indices[kept])), shape=codes.shape)


def top_sets(profile_CJ: np.ndarray, k: int) -> csr_array:
    """The k features with the largest entries of every class, as rows of 0 and 1; none of 0."""
    k = min(k, profile_CJ.shape[1])
    best = np.argpartition(-profile_CJ, k - 1, axis=1)[:, :k]
    rows = np.repeat(np.arange(len(profile_CJ)), k)
    kept = np.take_along_axis(profile_CJ, best, axis=1).ravel() > 0
    entries = np.ones(kept.sum()), (rows[kept], best.ravel()[kept])
    return csr_array(entries, shape=profile_CJ.shape)


def agreement(a_CJ: csr_array, b_CJ: csr_array, measure: str, k: int) -> np.ndarray:
    """How alike the sets of all classes of a and b are, [C, C]; two empty sets are not.

    `overlap` is |A ∩ B| / k, `jaccard` |A ∩ B| / |A ∪ B|.
    """
    both_CC = (a_CJ @ b_CJ.T).toarray()
    if measure == "overlap":
        return both_CC / k
    sizes_a, sizes_b = np.diff(a_CJ.indptr), np.diff(b_CJ.indptr)
    either_CC = sizes_a[:, None] + sizes_b[None, :] - both_CC
    return both_CC / np.maximum(either_CC, 1)


def chance(measure: str, k: int, alive: int) -> float:
    """What random sets of k of the features that fire at all would agree, in expectation."""
    k_drawn = min(k, alive)
    if measure == "overlap" or not alive:
        return k_drawn**2 / max(alive, 1) / k
    common = np.arange(k_drawn + 1)
    shares = common / (2 * k_drawn - common)
    return float(hypergeom.pmf(common, alive, k_drawn, k_drawn) @ shares)


@dataclass(frozen=True)
class Agreement:
    """Of two domains, between the feature sets of all their classes.

    Attributes:
        between_CC: of class c in one domain with class c′ in the other.
        ceiling_C: of a class with itself: halves of its images, mean of the two domains.
        chance: of random sets.
    """

    between_CC: np.ndarray
    ceiling_C: np.ndarray
    chance: float


def agreements(
    coded: Coded, places: Places, measure: str
) -> Iterator[tuple[int, int, int | None, Agreement]]:
    """Of every pair of domains for every k of KS, then averaged over them (k None).

    `overlap`, as published, compares all images of one domain with all of the other. `jaccard`
    compares halves, as its ceiling does: mean of the four pairs of a half of each. A domain with
    itself is its own ceiling: one half with the other.
    """
    build = histogram_profiles if measure == "overlap" else mean_profiles
    profiles = build(coded.codes, places)
    within = {(d, k): _within(profiles, d, measure, k) for d in range(places.domains) for k in KS}
    for a, b in combinations_with_replacement(range(places.domains), 2):
        found = {
            k: Agreement(
                _between(profiles, a, b, measure, k) if a != b else within[a, k],
                (within[a, k].diagonal() + within[b, k].diagonal()) / 2,
                chance(measure, k, coded.alive),
            )
            for k in KS
        }
        yield from ((a, b, k, one) for k, one in found.items())
        yield a, b, None, _mean(list(found.values()))


def _between(profiles: Profiles, a: int, b: int, measure: str, k: int) -> np.ndarray:
    if measure == "overlap":
        one, other = (top_sets(profiles.whole[d], k) for d in (a, b))
        return agreement(one, other, measure, k)
    sets_a, sets_b = ([top_sets(half[d], k) for half in profiles.halves] for d in (a, b))
    return np.mean([agreement(x, y, measure, k) for x in sets_a for y in sets_b], axis=0)


def _within(profiles: Profiles, d: int, measure: str, k: int) -> np.ndarray:
    """Of the classes of one half of a domain's images with those of the other, [C, C]."""
    first, second = (top_sets(half[d], k) for half in profiles.halves)
    return agreement(first, second, measure, k)


def _mean(found: Sequence[Agreement]) -> Agreement:
    return Agreement(
        np.mean([one.between_CC for one in found], axis=0),
        np.mean([one.ceiling_C for one in found], axis=0),
        float(np.mean([one.chance for one in found])),
    )


def sharing_rows(
    coded: Coded, places: Places, domains: Sequence[str], sets: Sequence[ClassSet]
) -> Iterator[dict]:
    """`overlap` and `jaccard` of every pair of domains, and of each with itself, by k and set."""
    r2 = {
        (d, chosen.draw, chosen.name): coded.r2(d, chosen.members) if chosen.members else None
        for d in range(places.domains)
        for chosen in sets
    }
    for measure in MEASURES:
        for a, b, k, found in agreements(coded, places, measure):
            for chosen in sets:
                yield {
                    "domain_a": domains[a],
                    "domain_b": domains[b],
                    "draw": chosen.draw,
                    "classes": chosen.name,
                    "measure": measure,
                    "k": k,
                    **_estimate(found, list(chosen.members)),
                    "r2_a": r2[a, chosen.draw, chosen.name],
                    "r2_b": r2[b, chosen.draw, chosen.name],
                }


def _estimate(found: Agreement, members: list[int]) -> dict:
    """Mean over classes, its interval, and what stands beside it.

    The jackknife of a mean is its standard error; Student's t, because classes may be few.
    """
    n = len(members)
    if not n:
        return {"n": 0, "note": "no class of this set is compared"}
    among_SS = found.between_CC[np.ix_(members, members)]
    values_S = among_SS.diagonal()
    value = float(values_S.mean())
    row = {
        "value": value,
        "n": n,
        "chance": found.chance,
        "ceiling": float(found.ceiling_C[members].mean()),
        "note": "",
    }
    if n == 1:
        return row | {"note": "one class: no interval, and no other class for a floor"}
    row["floor"] = float((among_SS.sum() - values_S.sum()) / (n * (n - 1)))
    half = float(student.ppf(0.5 + CONFIDENCE / 2, n - 1) * values_S.std(ddof=1) / np.sqrt(n))
    if half < ROUNDING:
        return row | {"note": "the same in all classes: they tell of no spread"}
    return row | {"lo": max(0.0, value - half), "hi": min(1.0, value + half)}


def matched_cosine(a_JU: np.ndarray, b_KU: np.ndarray) -> float:
    """Mean cosine of features that are matched one to one so that it is largest (Hungarian)."""
    cosines_JK = a_JU @ b_KU.T
    rows, columns = linear_sum_assignment(cosines_JK, maximize=True)
    return float(cosines_JK[rows, columns].mean())


def random_features(decoder_JU: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many random directions, where the features lie: unit length, [J, U].

    Features of activations that spread in few directions are alike for that reason alone. The
    draws are Gaussian along the principal directions of the features, and as strong on each as
    gives them, at unit length, the features' second moment WᵀW / J.
    """
    _, values_K, directions_KU = np.linalg.svd(decoder_JU, full_matrices=False)
    target_K = values_K**2 / len(decoder_JU)
    drawn_JK, power_K = rng.standard_normal((len(decoder_JU), len(target_K))), target_K
    for _ in range(MATCHINGS):  # unit length evens the powers out: strong ones have to be stronger
        units_JK = drawn_JK * np.sqrt(power_K)
        units_JK /= np.linalg.norm(units_JK, axis=1, keepdims=True)
        found_K = np.maximum((units_JK**2).mean(axis=0), ROUNDING)
        power_K = power_K * target_K / found_K
    return units_JK @ directions_KU


def stability_rows(decoders: dict[int, np.ndarray], rng: np.random.Generator) -> Iterator[dict]:
    """How far autoencoders that differ in their seed alone find the same features.

    Of every seed the mean over the others of `matched_cosine`; n counts its features. Chance
    matches `random_features` of the one with those of the other.

    Args:
        decoders: by seed, the features that fire on test images, unit length, [J, U].
        rng: of the random directions that are matched for chance.
    """
    found: dict[int, list[tuple[float, float]]] = {seed: [] for seed in decoders}
    for one, other in combinations(decoders, 2):
        pair = [decoders[one], decoders[other]]
        if any(len(decoder) == 0 for decoder in pair):
            continue
        random = [random_features(decoder, rng) for decoder in pair]
        both = matched_cosine(*pair), matched_cosine(*random)
        for seed in (one, other):
            found[seed].append(both)
    for seed, values in found.items():
        known = len(values) > 0
        mean = np.mean(values, axis=0) if known else (None, None)
        yield {
            **{"seed": seed, "classes": "all", "measure": "stability"},
            **{"value": mean[0], "chance": mean[1], "n": len(decoders[seed])},
            "note": "" if known else "no other seed to match with",
        }
