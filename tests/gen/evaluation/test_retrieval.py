"""Captions find their images and images their captions, with repeated captions and ties."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import hypergeom
from torch.nn.functional import normalize

from gen.evaluation.retrieval import (
    DIRECTIONS,
    RANKS,
    Gallery,
    modality_gap,
    placements,
    recall,
    retrieval_scores,
    retrieval_tables,
)

PLACE = {"split": "test", "domain": "real"}
WORDS = ("cat", "dog", "fox")


def random_gallery(seed=0, images=40, captions=9, levels=4, units=3):
    """Embeddings of a few small integers each: many cosines are equal."""
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(captions), rng.integers(captions, size=images - captions)])
    x, t = (torch.from_numpy(rng.integers(levels, size=(n, units))) for n in (images, captions))
    return Gallery(x.double(), t.double(), rng.permutation(codes))


def table(codes, domain="real", split="test"):
    """A class is named by the first word of its captions; sample i has caption `codes[i]`."""
    rows = [
        (f"{split}/{domain}/{i}", split, domain, WORDS[code % len(WORDS)], f"caption {code}")
        for i, code in enumerate(codes)
    ]
    return pl.DataFrame(rows, ["id", "split", "domain", "class_name", "caption"], orient="row")


def names(count):
    return [f"caption {code}" for code in range(count)]


def shuffled_recall(scores, right, rank, shuffles, rng):
    """Share of random orders of the items in which a right one is among the first."""
    hits = 0
    for _ in range(shuffles):
        order = rng.permutation(len(scores))
        first = order[np.argsort(-scores[order], kind="stable")][:rank]
        hits += right[first].any()
    return hits / shuffles


def cosines_and_right(gallery, direction):
    scores = (gallery.images @ gallery.texts.T).numpy()
    items = scores[:, gallery.codes]  # every caption as often as it stands
    same = gallery.codes[:, None] == gallery.codes[None, :]
    if direction == "image_to_text":
        return items, same
    return scores.T, np.arange(len(gallery.texts))[:, None] == gallery.codes[None, :]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_the_places_are_those_counted_item_by_item(direction, seed):
    gallery = random_gallery(seed)
    scores, right = cosines_and_right(gallery, direction)
    found = placements(gallery, direction)
    for q, (row, mask) in enumerate(zip(scores, right, strict=True)):
        best = row[mask].max()
        assert found.better[q] == (row > best).sum()
        assert found.tied[q] == (row == best).sum()
        assert found.tied_positives[q] == (row[mask] == best).sum()
        assert found.positives[q] == mask.sum()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_recall_is_the_mean_over_random_orders_of_the_ties(direction):
    gallery, rng = random_gallery(3), np.random.default_rng(0)
    scores, right = cosines_and_right(gallery, direction)
    found = placements(gallery, direction)
    for rank in (1, 5):
        expected = recall(found.better, found.tied, found.tied_positives, rank)
        drawn = [
            shuffled_recall(row, mask, rank, 200, rng)
            for row, mask in zip(scores, right, strict=True)
        ]
        assert 0.05 < expected.mean() < 0.95  # neither trivial
        assert np.mean(drawn) == pytest.approx(expected.mean(), abs=4 * 0.5 / np.sqrt(200 * 9))
        assert np.abs(drawn - expected).max() < 4 * 0.5 / np.sqrt(200)


def test_recall_is_exact_over_all_orders_of_a_small_gallery():
    scores, right = np.array([3, 2, 2, 2, 1]), np.array([0, 1, 0, 0, 1], dtype=bool)
    for rank, expected in ((1, 0), (2, 1 / 3), (3, 2 / 3), (4, 1)):
        hits = [
            right[np.array(order)[np.argsort(-scores[list(order)], kind="stable")][:rank]].any()
            for order in permutations(range(5))
        ]
        assert np.mean(hits) == pytest.approx(expected)
        one = recall(np.array([1]), np.array([3]), np.array([1]), rank)
        assert one[0] == pytest.approx(expected)


def test_recall_is_the_hypergeometric_law():
    rng = np.random.default_rng(0)
    tied = rng.integers(1, 60, size=200)
    right = np.minimum(rng.integers(1, 20, size=200), tied)
    better = rng.integers(0, 12, size=200)
    for rank in RANKS:
        places = np.clip(rank - better, 0, tied)
        expected = 1 - hypergeom.pmf(0, tied, right, places)
        assert recall(better, tied, right, rank) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_queries_in_chunks_are_queries_at_once(direction, chunk):
    gallery = random_gallery()
    whole, parts = placements(gallery, direction), placements(gallery, direction, chunk)
    for field, values in vars(whole).items():
        assert np.array_equal(values, getattr(parts, field))


def test_equal_inputs_are_tied_whatever_float32_makes_of_them():
    noise = torch.randn(40, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    same = torch.ones(40, 8, dtype=torch.float64) / np.sqrt(8) + 1e-9 * noise
    codes = np.arange(40) % 10
    found = placements(Gallery(same, same[:10], codes), "image_to_text")
    assert (found.better == 0).all()
    assert (found.tied == 40).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("apart", "tied"), [(2e-7, 2), (9e-7, 2), (1.5e-6, 1)])
def test_cosines_are_tied_by_their_distance_wherever_they_lie(direction, apart, tied):
    for first in np.linspace(0.5, 0.500001, 7):  # across every border to which one might round
        images = {
            "image_to_text": [[first, first + apart], [0, 1]],
            "text_to_image": [[first, 0], [first + apart, 0]],
        }[direction]
        gallery = Gallery(
            torch.tensor(images, dtype=torch.float64), torch.eye(2).double(), np.arange(2)
        )
        found = placements(gallery, direction)
        assert (found.better[0], found.tied[0]) == (2 - tied, tied)


def test_a_perfect_model_finds_repeated_captions_at_once():
    codes = np.repeat(np.arange(12), 3)
    texts = normalize(torch.randn(12, 16, generator=torch.Generator().manual_seed(0)))
    ranks, rows = retrieval_tables(texts[codes], table(codes), names(12), texts, {0: ["cat"]})
    recalls = rows.filter(pl.col("metric") != "modality_gap")
    assert recalls["value"].to_list() == [1.0] * 18  # class sets, directions and ranks
    assert (recalls["chance"] < 0.8).all()
    assert ranks.filter(pl.col("direction") == "image_to_text")["tied"].to_list() == [3] * 36
    assert rows.filter(pl.col("metric") == "modality_gap")["value"].item() == pytest.approx(0)


def test_a_constant_model_scores_chance_exactly():
    codes = np.random.default_rng(0).integers(12, size=60)
    codes[:12] = np.arange(12)
    images, texts = torch.full((60, 4), 0.5), torch.full((12, 4), 0.5)
    _, rows = retrieval_tables(images, table(codes), names(12), texts, {0: ["cat"]})
    recalls = rows.filter(pl.col("metric") != "modality_gap")
    assert recalls.height == 18
    assert recalls["value"].to_list() == recalls["chance"].to_list()
    one = recalls.filter(classes="all", metric="text_to_image_r1")["chance"].item()
    assert one == pytest.approx(np.mean(np.bincount(codes) / 60))  # p of G items are right


def test_a_random_model_scores_chance_within_its_interval():
    make = torch.Generator().manual_seed(1)
    codes = np.arange(400) % 100
    images, texts = (normalize(torch.randn(n, 32, generator=make)) for n in (400, 100))
    _, rows = retrieval_tables(images, table(codes), names(100), texts, {0: ["cat"]})
    recalls = rows.filter(pl.col("metric") != "modality_gap", pl.col("classes") == "all")
    assert recalls.height == 6
    # queries by text share their images, so that their hits are not independent of each other
    inside = recalls.filter(pl.col("chance").is_between(pl.col("lo"), pl.col("hi")))
    assert inside.height >= 5


def hand_made():
    """Three images of three captions in one domain, and one image in another."""
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    rows = [
        ("a", "test", "real", "cat", "one"),
        ("b", "test", "real", "cat", "one"),
        ("c", "test", "real", "dog", "two"),
        ("d", "test", "sketch", "dog", "two"),
    ]
    columns = ["id", "split", "domain", "class_name", "caption"]
    samples = pl.DataFrame(rows, columns, orient="row")
    return retrieval_tables(images, samples, ["one", "two"], texts, {0: ["dog"]})


def test_ranks_of_a_gallery_by_hand():
    ranks, _ = hand_made()
    real = ranks.filter(domain="real").drop("split", "domain")
    assert real.rows() == [
        ("image_to_text", "a", "cat", 0, 2, 2, 2, 3),
        ("image_to_text", "b", "cat", 1, 2, 2, 2, 3),  # `two` scores 1, both `one` 0
        ("image_to_text", "c", "dog", 0, 1, 1, 1, 3),
        ("text_to_image", "one", "cat", 0, 1, 1, 2, 3),  # image a, of a and b
        ("text_to_image", "two", "dog", 1, 1, 1, 1, 3),  # image b scores 1, c 0.8
    ]


def test_scores_stand_per_class_set_of_the_query_and_chance_beside_them():
    _, rows = hand_made()
    found = rows.filter(domain="real", metric="image_to_text_r1")
    columns = ["classes", "value", "n", "n_classes", "chance"]
    assert found.select(columns).rows() == [
        ("held_out", 1.0, 1, 1, pytest.approx(1 / 3)),
        ("seen", 0.5, 2, 1, pytest.approx(2 / 3)),
        ("all", pytest.approx(2 / 3), 3, 2, pytest.approx(5 / 9)),
    ]


def test_ranks_as_large_as_the_gallery_have_no_row():
    _, rows = hand_made()
    assert set(rows.filter(domain="real")["metric"]) == {
        *("image_to_text_r1", "text_to_image_r1", "modality_gap"),
    }
    assert set(rows.filter(domain="sketch")["metric"]) == {"modality_gap"}


def test_a_caption_of_two_classes_counts_for_neither_of_their_sets():
    samples = table([0, 1, 2, 3, 4, 5]).with_columns(caption=pl.lit("caption 0"))
    samples = pl.concat([samples, table([1] * 3).with_columns(id="e" + pl.col("id"))])
    make = torch.Generator().manual_seed(0)
    images, texts = (normalize(torch.randn(n, 4, generator=make)) for n in (9, 2))
    ranks, rows = retrieval_tables(images, samples, names(2), texts, {0: ["cat"], 1: ["dog"]})
    queries = ranks.filter(direction="text_to_image")
    named = queries.select("query", "class_name").rows()
    assert named == [("caption 0", None), ("caption 1", "dog")]
    found = rows.filter(metric="text_to_image_r1").select("draw", "classes", "n", "n_classes")
    assert found.rows() == [
        (0, "seen", 1, 1),
        (0, "all", 2, 1),
        (1, "held_out", 1, 1),
        (1, "all", 2, 1),
    ]


def test_captions_are_right_by_their_words_in_whatever_order_they_come():
    codes = np.arange(30) % 10
    make = torch.Generator().manual_seed(0)
    images, texts = (normalize(torch.randn(n, 6, generator=make)) for n in (30, 10))
    order = np.random.default_rng(0).permutation(10)
    draws = {0: ["cat"]}
    _, straight = retrieval_tables(images, table(codes), names(10), texts, draws)
    mixed_names = [names(10)[i] for i in order]
    _, mixed = retrieval_tables(images, table(codes), mixed_names, texts[order], draws)
    assert straight.equals(mixed)
    backwards = np.arange(30)[::-1].copy()
    _, turned = retrieval_tables(
        images[backwards], table(codes)[backwards.tolist()], names(10), texts, draws
    )
    recalls = pl.col("metric") != "modality_gap"  # whose bootstrap draws other rows
    columns = ["classes", "metric", "value"]
    pairs = zip(*(t.filter(recalls)[columns].rows() for t in (straight, turned)), strict=True)
    assert all(a[:2] == b[:2] and a[2] == pytest.approx(b[2]) for a, b in pairs)


def test_scores_can_be_made_again_from_the_table_of_queries():
    codes = np.arange(40) % 13
    samples = pl.concat([table(codes[:20]), table(codes[20:], "sketch")])
    make = torch.Generator().manual_seed(0)
    images, texts = (normalize(torch.randn(n, 6, generator=make)) for n in (40, 13))
    draws = {0: ["cat"], 1: ["dog", "fox"]}
    ranks, rows = retrieval_tables(images, samples, names(13), texts, draws)
    assert retrieval_scores(ranks, draws).equals(rows.filter(pl.col("metric") != "modality_gap"))
    gaps = rows.filter(metric="modality_gap")
    assert gaps.select("draw", "domain", "classes").rows() == [
        *((0, "real", "all"), (0, "sketch", "all"), (1, "real", "all"), (1, "sketch", "all")),
    ]
    assert gaps["chance"].null_count() == 4


@pytest.mark.parametrize("alike", [1, 6])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_intervals_of_recall_cover_the_truth_as_often_as_they_say(direction, alike):
    """Captions stay, some much `alike`; images are drawn anew, around that of their caption."""
    rng, values, intervals = np.random.default_rng(0), [], []
    centres = rng.normal(size=(60 // alike, 8)).repeat(alike, axis=0)
    texts = torch.from_numpy(centres + (alike > 1) * 0.1 * rng.normal(size=(60, 8)))
    texts = normalize(texts, dim=1)
    codes = np.repeat(np.arange(60), 3)
    for _ in range(200):
        noise = torch.from_numpy(rng.normal(size=(180, 8)))
        gallery = Gallery(normalize(texts[codes] + 0.45 * noise, dim=1), texts, codes)
        found = placements(gallery, direction)
        hit = recall(found.better, found.tied, found.tied_positives, 1)
        samples = table(codes)
        ranks = pl.DataFrame(vars(found)).with_columns(
            direction=pl.lit(direction),
            split=pl.lit("test"),
            domain=pl.lit("real"),
            class_name=pl.lit("cat"),
            gallery=pl.lit(len(samples)),
        )
        row = retrieval_scores(ranks, {0: ["cat"]}).row(0, named=True)
        assert row["value"] == pytest.approx(hit.mean())
        values.append(row["value"])
        intervals.append((row["lo"], row["hi"]))
    truth = np.mean(values)
    assert 0.1 < truth < 0.8
    assert np.mean([lo <= truth <= hi for lo, hi in intervals]) >= 0.93


def test_the_modality_gap_is_the_distance_of_the_means():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]).double()
    texts = torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).double()
    gap = modality_gap(Gallery(images, texts, np.array([0, 0, 1])))
    # means (2/3, 1/3) and (-1/3, 2/3): the repeated caption counts twice
    assert gap.value == pytest.approx(np.sqrt(1 + 1 / 9))
    assert gap.lo <= gap.value <= gap.hi
    assert gap.n == 3


def test_the_interval_of_the_modality_gap_covers_the_truth():
    rng, covered = np.random.default_rng(0), []
    shift = np.array([0.3, 0.0, 0.0, 0.0])
    for seed in range(150):
        images = torch.from_numpy(shift + 0.5 * rng.normal(size=(60, 4)))
        texts = torch.zeros(1, 4, dtype=torch.float64)
        gap = modality_gap(Gallery(images, texts, np.zeros(60, dtype=np.int64)), seed)
        covered.append(gap.lo <= 0.3 <= gap.hi)
    assert np.mean(covered) >= 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(3, 2)}, "3 images for 4 samples"),
        ({"texts": torch.zeros(3, 2)}, "3 texts for 2 captions"),
        ({"captions": ["caption 0", "caption 0"]}, "captions stand twice"),
        ({"captions": ["caption 0", "caption 7"]}, "1 captions have no embedding, `caption 1`"),
        ({"images": torch.full((4, 2), torch.nan)}, "no numbers"),
    ],
)
def test_inputs_that_do_not_fit_are_errors(change, message):
    given = {"images": torch.zeros(4, 2), "texts": torch.zeros(2, 2), "captions": names(2)}
    given |= {"samples": table([0, 1, 0, 1]), "draws": {0: ["cat"]}} | change
    with pytest.raises(ValueError, match=message):
        retrieval_tables(**given)
