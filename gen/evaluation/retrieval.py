"""Retrieval: do images find their captions, and captions their images?

Captions made of class names repeat, so a query has many right answers and many ties. Right answers
go by the text of the caption, never by the position in a table, and ties count in expectation over
their orders.

Legend: N images, T distinct captions, E embedding units, Q queries, K rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from gen.evaluation.metrics import Estimate, plain_accuracy
from gen.randomness import generator

RANKS = (1, 5, 10)
DIRECTIONS = ("image_to_text", "text_to_image")
RESOLUTION = 1e-6
"""cosines no further apart than this are tied: equal inputs differ by float32's rounding"""
COSINES_AT_ONCE = 1 << 22
RESAMPLES = 1000
CONFIDENCE = 0.95
SCORES: dict[str, type[pl.DataType]] = {
    **{"draw": pl.Int64, "split": pl.String, "domain": pl.String, "classes": pl.String},
    **{"metric": pl.String, "value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64},
    **{"n": pl.Int64, "n_classes": pl.Int64, "chance": pl.Float64},
}


@dataclass(frozen=True)
class Gallery:
    """The test images of one (split, domain), and their captions.

    Attributes:
        images: unit length, float64 [N, E].
        texts: of the distinct captions, unit length, float64 [T, E].
        codes: which caption an image has, int64 [N], every one of 0 … T − 1 at least once.
    """

    images: torch.Tensor
    texts: torch.Tensor
    codes: np.ndarray


@dataclass(frozen=True)
class Placement:
    """Where the best right answer of every query stands. All are int64 of shape [Q].

    Attributes:
        better: items that score strictly higher than the best right answer.
        tied: items at its score, itself among them.
        tied_positives: the right answers among those.
        positives: right answers in the gallery.
    """

    better: np.ndarray
    tied: np.ndarray
    tied_positives: np.ndarray
    positives: np.ndarray


def retrieval_tables(
    images: torch.Tensor,
    samples: pl.DataFrame,
    captions: Sequence[str],
    texts: torch.Tensor,
    draws: Mapping[int, Sequence[str]],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rank the captions for every image and the images for every caption; score both.

    A gallery is one (split, domain): the items of `image_to_text` are the captions of all its
    images, repeated ones as often as they stand there; those of `text_to_image` are its images.

    Args:
        images: normalised embeddings, float [N, E].
        samples: their rows (`id`, `split`, `domain`, `class_name`, `caption`).
        captions: the distinct captions, all of `samples` among them.
        texts: their normalised embeddings, float [T, E].
        draws: names of the held-out classes of every draw.

    Returns:
        docs/formats.md: retrieval.parquet, one row per query; and rows of evaluation.parquet
        (`draw` … `chance`): recall at 1, 5 and 10 both ways, and the modality gap.

    Raises:
        ValueError: shapes do not fit, a caption is missing or stands twice, or an embedding is
            no number.
    """
    codes = _codes(images, samples, captions, texts)
    ranks, gaps = [], []
    for place, part in _galleries(samples):
        rows = part["row"].cast(pl.Int64).to_numpy(writable=True)
        used, local = np.unique(codes[rows], return_inverse=True)
        gallery = Gallery(images[rows].double(), texts[used].double(), local)
        names = [captions[code] for code in used]
        ranks.append(_ranks_of(gallery, place, part, names))
        classes = part["class_name"].n_unique()
        gaps.append({**place, **_row("modality_gap", modality_gap(gallery), classes, None)})
    table = pl.concat(ranks)
    scores = retrieval_scores(table, draws)
    return table, pl.concat([scores, _in_every_draw(gaps, draws, scores.schema)])


def placements(gallery: Gallery, direction: str, chunk: int | None = None) -> Placement:
    """Place the right answers of every query among the others.

    Args:
        gallery: where to look.
        direction: `image_to_text` (N queries) or `text_to_image` (T queries).
        chunk: queries at a time; None: as many as COSINES_AT_ONCE allows.
    """
    counts = torch.from_numpy(np.bincount(gallery.codes, minlength=len(gallery.texts)))
    codes = torch.from_numpy(gallery.codes)
    to_text = direction == "image_to_text"
    queries, items = (gallery.images, gallery.texts)[:: 1 if to_text else -1]
    chunk = chunk or max(1, COSINES_AT_ONCE // len(items))
    parts = []
    for start in range(0, len(queries), chunk):
        scores = queries[start : start + chunk] @ items.T
        own = torch.arange(start, start + len(scores))
        if to_text:
            parts.append(_place_captions(scores, codes[own], counts))
        else:
            parts.append(_place_images(scores, codes == own[:, None]))
    return Placement(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


def recall(better: np.ndarray, tied: np.ndarray, right: np.ndarray, rank: int) -> np.ndarray:
    """Probability that a right answer is among the first K, ties being in random order.

    Of the K − better places that are left to the tied items, at least one goes to a right one:
    1 − C(tied − right, places) / C(tied, places), hypergeometric.

    Args:
        better, tied, right: `better`, `tied` and `tied_positives` of a Placement, [Q].
        rank: K.

    Returns:
        float64, shape [Q].
    """
    missed = np.ones(len(better))
    for taken in range(rank):  # C(a, m) / C(b, m) is the product of (a - j) / (b - j), j < m
        wrong = np.maximum(tied - right - taken, 0) / np.maximum(tied - taken, 1)
        missed *= np.where(taken < rank - better, wrong, 1.0)
    return 1 - missed


def retrieval_scores(ranks: pl.DataFrame, draws: Mapping[int, Sequence[str]]) -> pl.DataFrame:
    """Recall at 1, 5 and 10 per draw, split, domain and class set, from the table of queries.

    A query counts for the class set of its own class; the gallery is the whole (split, domain).
    Ranks that are no smaller than the gallery, which any model would reach, are left out.
    """
    rows = []
    for draw, held_out in sorted(draws.items()):
        is_held_out = pl.col("class_name").is_in(list(held_out))  # null where the class is
        sets = {"held_out": is_held_out, "seen": ~is_held_out, "all": pl.lit(True)}
        for (split, domain), group in ranks.group_by("split", "domain", maintain_order=True):
            for name, condition in sets.items():
                key = {"draw": draw, "split": split, "domain": domain, "classes": name}
                rows += [key | row for row in _recalls(group.filter(condition))]
    return pl.DataFrame(rows, schema=SCORES)


def modality_gap(gallery: Gallery, seed: int = 0) -> Estimate:
    """Distance between the mean image and the mean caption (Liang et al. 2022).

    Every image brings its caption, so repeated captions count repeatedly. The interval is that of
    the basic bootstrap over (image, caption) pairs: a length is overestimated by noise, and this
    one mirrors the overestimate instead of doubling it, as percentiles would.

    Returns:
        `value` in [0, 2]; `n` pairs.
    """
    difference = (gallery.images - gallery.texts[torch.from_numpy(gallery.codes)]).numpy()
    value = float(np.linalg.norm(difference.mean(axis=0)))
    drawn = np.linalg.norm(_resampled_means(difference, generator("modality gap", seed)), axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = 2 * value - np.quantile(drawn, [1 - tail, tail])
    # the estimate may stand above its own unbiased interval, which then reaches up to it
    lo, hi = max(0.0, min(float(low), value)), max(float(high), value)
    return Estimate(value, lo, hi, len(difference), 0)


def _resampled_means(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of bootstrap samples of the rows of [N, E]; [RESAMPLES, E], in bounded memory."""
    n = len(values)
    step = max(1, COSINES_AT_ONCE // n)
    means = []
    for start in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - start)
        drawn = rng.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        means.append(weights @ values / n)
    return np.concatenate(means)


def _codes(
    images: torch.Tensor, samples: pl.DataFrame, captions: Sequence[str], texts: torch.Tensor
) -> np.ndarray:
    """Position of every sample's caption among the distinct ones, after checking all inputs."""
    if len(images) != samples.height or len(texts) != len(captions):
        raise ValueError(
            f"{len(images)} images for {samples.height} samples, "
            f"{len(texts)} texts for {len(captions)} captions"
        )
    if not (torch.isfinite(images).all() and torch.isfinite(texts).all()):
        raise ValueError("embeddings hold values that are no numbers")
    position = {caption: code for code, caption in enumerate(captions)}
    if len(position) < len(captions):
        raise ValueError("captions stand twice")
    missing = set(samples["caption"]) - position.keys()
    if missing:
        raise ValueError(f"{len(missing)} captions have no embedding, `{min(missing)}` for one")
    return np.array([position[caption] for caption in samples["caption"]], dtype=np.int64)


def _galleries(samples: pl.DataFrame) -> Iterator[tuple[dict[str, str], pl.DataFrame]]:
    """Every (split, domain) and its rows, with their number as `row`."""
    groups = samples.with_row_index("row").group_by("split", "domain", maintain_order=True)
    for (split, domain), part in groups:
        yield {"split": str(split), "domain": str(domain)}, part


def _place_captions(
    scores_QT: torch.Tensor, codes: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Placement of the one right caption of every image, each caption as often as it stands."""
    own = scores_QT.gather(1, codes[:, None])
    better, tied = (mask.double() @ counts.double() for mask in _better_and_tied(scores_QT, own))
    return better.long(), tied.long(), counts[codes], counts[codes]


def _place_images(scores_QN: torch.Tensor, right_QN: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Placement of the best of the right images of every caption."""
    best = scores_QN.masked_fill(~right_QN, -torch.inf).amax(dim=1, keepdim=True)
    better, tied = _better_and_tied(scores_QN, best)
    counts = (mask.sum(dim=1) for mask in (better, tied, tied & right_QN, right_QN))
    return tuple(counts)


def _better_and_tied(scores: torch.Tensor, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which scores [Q, …] are above a query's own one [Q, 1], and which are tied with it."""
    differences = scores - own
    return differences > RESOLUTION, differences.abs() <= RESOLUTION


def _ranks_of(
    gallery: Gallery, place: Mapping[str, str], part: pl.DataFrame, captions: Sequence[str]
) -> pl.DataFrame:
    """Both directions of one gallery as rows of retrieval.parquet."""
    by_caption = part.group_by("caption").agg(
        pl.when(pl.col("class_name").n_unique() == 1).then(pl.col("class_name").first())
    )
    class_of = dict(by_caption.iter_rows())
    queries = {
        "image_to_text": (part["id"].to_list(), part["class_name"].to_list()),
        "text_to_image": (list(captions), [class_of[caption] for caption in captions]),
    }
    tables = []
    for direction in DIRECTIONS:
        names, classes = queries[direction]
        found = placements(gallery, direction)
        table = pl.DataFrame({"query": names, "class_name": pl.Series(classes, dtype=pl.String)})
        tables.append(
            table.select(
                pl.lit(direction).alias("direction"),
                *(pl.lit(place[key]).alias(key) for key in ("split", "domain")),
                "query",
                "class_name",
                *(pl.Series(key, value, dtype=pl.Int64) for key, value in vars(found).items()),
                gallery=pl.lit(part.height, dtype=pl.Int64),
            )
        )
    return pl.concat(tables)


def _recalls(part: pl.DataFrame) -> Iterator[dict]:
    """Rows of both directions, for the queries of one gallery and class set."""
    for direction in DIRECTIONS:
        queries = part.filter(pl.col("direction") == direction)
        if not queries.height:
            continue
        columns = ("better", "tied", "tied_positives", "positives", "gallery")
        better, tied, right, positives, gallery = (queries[c].to_numpy() for c in columns)
        classes = queries["class_name"].drop_nulls().n_unique()
        for rank in RANKS:
            if rank >= gallery[0]:
                continue
            found = recall(better, tied, right, rank)
            # Wilson's variance, p (1 - p), is the largest of values in [0, 1] with mean p: ties,
            # which make recalls fractions, can only make its interval too wide
            estimate = plain_accuracy(found, np.zeros(len(found), dtype=np.int64))
            chance = float(recall(np.zeros_like(better), gallery, positives, rank).mean())
            yield _row(f"{direction}_r{rank}", estimate, classes, chance)


def _in_every_draw(
    gaps: list[dict], draws: Mapping[int, Sequence[str]], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """The gap has no class set, so that it is the same in every draw."""
    rows = [{"draw": draw, "classes": "all"} | gap for draw in sorted(draws) for gap in gaps]
    return pl.DataFrame(rows, schema=schema)


def _row(metric: str, estimate: Estimate, classes: int, chance: float | None) -> dict:
    return {
        "metric": metric,
        "value": estimate.value,
        "lo": estimate.lo,
        "hi": estimate.hi,
        "n": estimate.n,
        "n_classes": classes,
        "chance": chance,
    }
