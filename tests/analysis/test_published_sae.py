"""The published autoencoder: its formulas, its training, and what it finds of planted codes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn.functional import normalize

from analysis.class_sets import ClassSet
from analysis.published_sae import (
    BATCH,
    FACTOR,
    PENALTY,
    PublishedSae,
    fit_published,
    published_codes,
    shuffled_batches,
)
from analysis.replication import NOT_ASKED, published_sae_sharing

UNITS, CLASSES, DOMAINS, PER_CELL = 16, 6, 3, 30
CPU = torch.device("cpu")
DOMAIN_NAMES = ("real", "sketch", "quickdraw")


def planted(seed=0):
    """Embeddings of CLASSES × DOMAINS cells; of a class the first two domains have one direction.

    Lengths vary, which must not matter.
    """
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(np.random.default_rng(9).normal(size=(UNITS, UNITS)))[0]
    domain, label = np.divmod(np.repeat(np.arange(DOMAINS * CLASSES), PER_CELL), CLASSES)
    x = directions[np.where(domain < 2, label, CLASSES + label)]
    x = x + 0.02 * rng.normal(size=x.shape)
    lengths = rng.uniform(0.5, 20, size=(len(x), 1))
    names = [DOMAIN_NAMES[d] for d in domain]
    samples = pl.DataFrame({"domain": names, "class_id": label})
    return (lengths * x).astype(np.float32), samples


def autoencoder(seed=0, steps=150):
    return fit_published(planted()[0], seed, CPU, steps)


@pytest.fixture(scope="module")
def fitted():
    return autoencoder()


def test_codes_reconstruction_and_loss_are_those_of_the_formulas():
    generator = torch.Generator().manual_seed(0)
    e, w = (torch.randn((10, 4), generator=generator) for _ in range(2))
    c, b = torch.randn(10, generator=generator), torch.randn(4, generator=generator)
    sae = PublishedSae(w, b)
    with torch.no_grad():
        sae.encoder.copy_(e)
        sae.offset.copy_(c)
    x = torch.randn((7, 4), generator=generator)
    f = np.maximum((x - b).numpy() @ e.numpy().T + c.numpy(), 0)
    back = f @ w.numpy() + b.numpy()
    np.testing.assert_allclose(sae.encode(x).detach(), f, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sae.decode(torch.from_numpy(f)).detach(), back, rtol=1e-4, atol=1e-5)
    expected = np.mean((x.numpy() - back) ** 2) + PENALTY * np.mean(np.abs(f).sum(axis=1))
    assert float(sae.loss(x).detach()) == pytest.approx(expected, rel=1e-5)


def test_training_lowers_the_loss_on_images_that_it_did_not_see(fitted):
    unseen = normalize(torch.from_numpy(planted(seed=1)[0]), dim=1)
    losses = [float(sae.loss(unseen)) for sae in (autoencoder(steps=0), fitted)]
    assert losses[1] < 0.2 * losses[0]


def test_features_have_length_1_and_there_are_four_per_unit(fitted):
    assert fitted.decoder.shape == (FACTOR * UNITS, UNITS)
    assert torch.allclose(fitted.decoder.norm(dim=1), torch.ones(FACTOR * UNITS), atol=1e-5)
    start = autoencoder(steps=0).decoder
    assert not torch.allclose(fitted.decoder, start, atol=0.01)  # they have moved, all the same


def test_equal_seeds_give_the_same_autoencoder_and_others_another_one(fitted):
    assert torch.equal(fitted.encoder, autoencoder().encoder)
    assert not torch.equal(fitted.encoder, autoencoder(seed=1).encoder)
    starts = [autoencoder(seed, steps=0).decoder for seed in (0, 1)]
    assert not torch.equal(*starts)


def test_the_length_of_an_embedding_does_not_matter():
    x, _ = planted()
    codes = [published_codes(x, factor * x[:9], 0, CPU) for factor in (1, 7)]
    np.testing.assert_allclose(*codes, atol=1e-5)


def test_every_image_is_shown_once_before_any_is_shown_again():
    batches = list(shuffled_batches(2 * BATCH, 4, np.random.default_rng(0)))
    assert sorted(np.concatenate(batches[:2])) == list(range(2 * BATCH))
    assert sorted(np.concatenate(batches[2:])) == list(range(2 * BATCH))
    assert not np.array_equal(batches[0], batches[2])
    assert [len(rows) for rows in shuffled_batches(5, 3, np.random.default_rng(0))] == [5, 5, 5]


def test_domains_that_share_their_directions_share_their_features():
    shown, _ = planted()
    tested, samples = planted(seed=1)
    codes = published_codes(shown, tested, 0, CPU)
    sets = [ClassSet("all", None, tuple(range(CLASSES)))]
    table = published_sae_sharing(codes, samples, DOMAIN_NAMES, sets, None, "embedding", 5)
    values = {(a, b): v for a, b, v in table.select("domain_a", "domain_b", "value").iter_rows()}
    assert values["real", "sketch"] > values["real", "quickdraw"] + 0.3
    assert values["real", "sketch"] > values["sketch", "quickdraw"] + 0.3
    assert table["ours"].is_null().all()
    assert set(table["note"]) == {NOT_ASKED}
