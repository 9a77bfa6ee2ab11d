"""An autoencoder keeps the codes that it should, finds what is planted, and wakes its dead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from analysis.sae import (
    BATCH,
    DEAD_AFTER,
    BatchTopK,
    Fitter,
    auxiliary_loss,
    balanced_batches,
    batch_top_k,
    fit,
    started,
)

UNITS, PLANTED, ACTIVE, IMAGES = 24, 32, 2, 3000
CPU = torch.device("cpu")


def planted(seed=0, images=IMAGES):
    """Sums of ACTIVE of PLANTED directions, and the directions."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(9).normal(size=(PLANTED, UNITS))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = np.zeros((images, PLANTED))
    chosen = rng.permuted(np.tile(np.arange(PLANTED), (images, 1)), axis=1)[:, :ACTIVE]
    np.put_along_axis(codes, chosen, rng.uniform(1, 2, size=chosen.shape), axis=1)
    noise = 0.02 * rng.normal(size=(images, UNITS))
    return (3 + codes @ directions + noise).astype(np.float32), directions


def cells(images=IMAGES):
    return np.arange(images) % 6


def autoencoder(seed, **changes):
    config = {"k": ACTIVE, "features": 48, "steps": 500, "seed": seed, "device": CPU}
    return fit(planted()[0], cells(), **(config | changes))


@pytest.fixture(scope="module")
def fitted():
    return autoencoder(0)


def fresh(features=48):
    return started(planted()[0], cells(), ACTIVE, features, torch.Generator().manual_seed(1))


def test_a_batch_keeps_k_codes_per_image_and_they_are_the_largest():
    z = torch.rand((50, 20), generator=torch.Generator().manual_seed(0))
    f = batch_top_k(z, 3)
    kept = f > 0
    assert int(kept.sum()) == 3 * 50
    assert torch.equal(f[kept], z[kept])
    assert z[kept].min() > z[~kept].max()
    assert len(set(kept.sum(dim=1).tolist())) > 1  # some images get more than others


def test_codes_and_reconstruction_are_those_of_the_formulas():
    sae = fresh()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        sae.encoder.copy_(torch.randn(sae.encoder.shape, generator=generator))
        sae.offset.copy_(torch.randn(sae.offset.shape, generator=generator))
        sae.threshold.fill_(0.7)
    e, c, w, b, s = (
        x.detach().double().numpy()
        for x in (sae.encoder, sae.offset, sae.decoder, sae.bias, sae.scale)
    )
    x = planted()[0][:40].astype(float)
    z = np.maximum((x / s - b) @ e.T + c, 0)
    f = np.where(z > 0.7, z, 0)
    assert 0 < (f > 0).mean() < (z > 0).mean()
    inputs = torch.from_numpy(x).float()
    np.testing.assert_allclose(sae.encode(inputs).detach(), f, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sae(inputs).detach(), (f @ w + b) * s, rtol=1e-4, atol=1e-4)


def test_the_auxiliary_loss_is_what_the_best_dead_features_leave():
    generator = torch.Generator().manual_seed(3)
    residual = torch.randn((5, 4), generator=generator)
    z, decoder = torch.rand((5, 9), generator=generator), torch.randn((9, 4), generator=generator)
    dead = torch.tensor([True, False, True, True, False, True, False, False, True])
    target, expected = residual.numpy(), 0.0
    for image in range(5):
        best = sorted(np.flatnonzero(dead), key=lambda j: -float(z[image, j]))[:2]  # U / 2
        made = sum(float(z[image, j]) * decoder[j].numpy() for j in best)
        expected += ((target[image] - made) ** 2).sum()
    found = auxiliary_loss(residual, z, dead, decoder)
    assert float(found) == pytest.approx(expected / (target**2).sum(), rel=1e-5)


def test_an_autoencoder_starts_at_the_mean_of_all_cells_with_inputs_of_size_1():
    x = planted()[0]
    lot = np.where(np.arange(IMAGES) < IMAGES - 30, 0, 1)  # a large cell and a small one
    x[lot == 1] += 5
    sae = started(x, lot, ACTIVE, 48, torch.Generator().manual_seed(0))
    mean = (x[lot == 0].mean(axis=0) + x[lot == 1].mean(axis=0)) / 2
    np.testing.assert_allclose((sae.bias * sae.scale).detach(), mean, rtol=1e-4)
    squares = [np.mean((x[lot == cell] - mean) ** 2) for cell in (0, 1)]
    assert float(sae.scale) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-4)
    np.testing.assert_allclose(sae.decoder.detach().norm(dim=1), 1, rtol=1e-5)


def test_a_planted_dictionary_is_found(fitted):
    cosines = planted()[1] @ fitted.decoder.numpy().T
    assert cosines.max(axis=1).mean() > 0.95
    x = torch.from_numpy(planted(seed=5)[0])
    left = (x - fitted(x)).square().sum() / (x - x.mean(dim=0)).square().sum()
    assert float(left) < 0.1
    np.testing.assert_allclose(fitted.decoder.norm(dim=1), 1, rtol=1e-5)


def test_the_threshold_keeps_about_k_codes_of_new_images_each_by_itself(fitted):
    x = torch.from_numpy(planted(seed=5)[0])
    codes = fitted.encode(x)
    assert 0.8 * ACTIVE < float((codes > 0).sum(dim=1).float().mean()) < 1.25 * ACTIVE
    torch.testing.assert_close(fitted.encode(x[:1])[0], codes[0])


def test_weights_scale_and_threshold_survive_a_round_trip(fitted):
    copy = BatchTopK(UNITS, 48, ACTIVE)
    copy.load_state_dict(fitted.state_dict())
    assert float(copy.threshold) == float(fitted.threshold) > 0
    assert float(copy.scale) == float(fitted.scale) != 1
    x = torch.from_numpy(planted()[0][:100])
    assert torch.equal(copy(x).detach(), fitted(x))


def test_equal_seeds_give_equal_autoencoders_and_touch_no_other_randomness():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, again, other = (autoencoder(seed, steps=20) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not torch.equal(one.decoder, other.decoder)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def killed(offset):
    """A fitter with as many features as are needed, of which ten cannot fire any more."""
    sae = autoencoder(0, features=PLANTED).requires_grad_(True)
    fitter = Fitter(sae, 4000, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        noise = normalize(torch.randn((10, UNITS), generator=generator), dim=1)
        sae.decoder[:10] = noise
        sae.encoder[:10] = 0.2 * noise  # too small to be among the largest
        sae.offset[:10] = offset
    return fitter


def still_dead(fitter, steps=300):
    """How many of the ten do not fire in the end."""
    x, fired = torch.from_numpy(planted()[0]), torch.zeros(10, dtype=torch.bool)
    for step, rows in enumerate(balanced_batches(cells(), steps, np.random.default_rng(0))):
        fitter.update(x[torch.from_numpy(rows)])
        if step >= steps - DEAD_AFTER // BATCH:
            fired |= fitter.idle[:10] == 0
    return int((~fired).sum())


@pytest.mark.parametrize("offset", [0.0, -100.0])
def test_features_that_are_killed_come_back(offset):
    assert still_dead(killed(offset)) == 0


def test_without_a_new_start_what_no_gradient_reaches_stays_dead(monkeypatch):
    monkeypatch.setattr(Fitter, "_start_anew", lambda *_: None)
    assert still_dead(killed(-100.0)) == 10


def test_the_auxiliary_loss_alone_wakes_what_a_gradient_reaches(monkeypatch):
    monkeypatch.setattr(Fitter, "_start_anew", lambda *_: None)
    with_it = still_dead(killed(0.0))
    monkeypatch.setattr("analysis.sae.AUX_WEIGHT", 0.0)
    assert with_it < 3 < 7 < still_dead(killed(0.0))


def test_cells_are_drawn_alike_however_many_images_they_have():
    lot = np.repeat([4, 7, 9], [1000, 10, 1])
    rows = np.concatenate(list(balanced_batches(lot, 200, np.random.default_rng(0))))
    assert rows.shape == (200 * BATCH,)
    shares = [(lot[rows] == cell).mean() for cell in (4, 7, 9)]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.01)
    of_large = rows[lot[rows] == 4]
    assert np.bincount(of_large, minlength=1000).min() > 0
    first = next(balanced_batches(lot, 1, np.random.default_rng(0)))
    assert (first == rows[:BATCH]).all()


def test_constant_activations_are_reconstructed():
    x = np.full((60, UNITS), 2.5, dtype=np.float32)
    sae = fit(x, cells(60), k=2, features=48, steps=5, seed=0, device=CPU)
    np.testing.assert_allclose(sae(torch.from_numpy(x)), x, rtol=1e-3)
