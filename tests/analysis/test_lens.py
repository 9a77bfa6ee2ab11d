"""A lens reads what a linear map could; it fails by as much as a domain has another map."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from planted_activations import DOMAINS, planted
from torch import nn

from analysis.class_sets import class_sets
from analysis.lens import LENS, STRENGTHS, logit_lens, moments, readout, ridge_map, tuned_lens
from analysis.probes import Activations
from gen.models.trained import Learner
from splits.errors import UserError

C, E, U = 8, 6, 14
NAMES = tuple(f"class {number}" for number in range(C))
SETS = class_sets(NAMES, {0: NAMES[:2]})
RNG = np.random.default_rng(0)
TEXTS = np.linalg.svd(RNG.normal(size=(C, C)))[0][:, :E].astype(np.float32)
TEXTS /= np.linalg.norm(TEXTS, axis=1, keepdims=True)
EMBEDDINGS = np.stack([TEXTS] * 3) * np.array([3, 1, 2])[:, None, None]
"""of other lengths in every domain: only directions count"""
UP = RNG.normal(size=(E, U))
LINEAR = EMBEDDINGS @ UP
OTHER = LINEAR.copy()
OTHER[1, :6] = LINEAR[1, [1, 2, 3, 4, 5, 0]]
"""in the second domain six classes of eight stand where another one would"""
TRUE = {"linear": LINEAR, "other": OTHER, "still": np.ones((3, C, U)), "embedding": EMBEDDINGS}
POOL, TESTED = planted(TRUE, "train", 10, 0.01), planted(TRUE, "test", 5, 0.01)


@pytest.fixture(scope="module")
def table():
    return tuned_lens(POOL, TESTED, ["sketch", "real"], SETS, TEXTS)


def accuracy(table, site, domain, test_domain="sketch", classes="all"):
    key = {"site": site, "domain": domain, "test_domain": test_domain, "classes": classes}
    return table.filter(**key)["value"].item()


def test_every_left_out_domain_has_a_row_per_site_domain_and_class_set(table):
    assert dict(table.schema) == LENS
    keys = ["site", "test_domain", "domain", "draw", "classes"]
    assert not table.select(keys).is_duplicated().any()
    assert table.height == 4 * 2 * 3 * len(SETS)
    assert set(table["lens"]) == {"tuned"}
    assert set(table["chance"]) == {1 / C}
    sizes = table.filter(site="linear", domain="real", test_domain="sketch")
    assert sizes.select("classes", "n", "n_classes").rows() == [
        *(("all", 40, 8), ("seen", 30, 6), ("held_out", 10, 2)),
    ]


def test_a_planted_linear_map_is_recovered_in_the_domain_that_it_never_saw(table):
    for domain in DOMAINS:
        assert accuracy(table, "linear", domain) == 1


def test_a_domain_with_another_map_is_read_wrong_by_as_much_as_is_other(table):
    assert accuracy(table, "other", "sketch") == pytest.approx(2 / 8)
    assert accuracy(table, "other", "real") == accuracy(table, "other", "clipart") == 1
    assert accuracy(table, "other", "sketch", classes="held_out") == 0


def test_a_lens_keeps_of_the_own_accuracy_what_it_reads_of_a_domain_left_out(table):
    rows = table.filter(classes="all", test_domain="sketch").drop_nulls("kept")
    assert set(rows["domain"]) == {"sketch"}
    assert set(rows["site"]) == {"linear", "other", "still"}
    found = {row["site"]: row for row in rows.iter_rows(named=True)}
    assert found["linear"]["kept"] == 1
    assert found["linear"]["kept_lo"] < 1 < found["linear"]["kept_hi"]
    assert found["other"]["kept"] == pytest.approx(2 / 8)
    assert found["still"]["kept"] == pytest.approx(1 / C)
    assert set(table["own"]) == {1.0}


def test_of_a_model_that_guesses_a_lens_keeps_no_share():
    """Sketches of every class stand where those of the next would: the model is always wrong."""
    wrong = EMBEDDINGS.copy()
    wrong[1] = np.roll(wrong[1], 1, axis=0)
    true = {"linear": wrong @ UP, "embedding": wrong}
    sides = planted(true, "train", 10, 0.01), planted(true, "test", 5, 0.01)
    table = tuned_lens(*sides, DOMAINS, SETS, TEXTS).filter(classes="all", site="linear")
    own = table.filter(pl.col("domain") == pl.col("test_domain"))
    found = {row["domain"]: row for row in own.iter_rows(named=True)}
    assert found["sketch"]["kept"] is None
    assert found["sketch"]["value"] == found["sketch"]["own"] == 0
    assert found["sketch"]["note"] == (
        "no share is kept: the model's own accuracy, 0.0%, is not clearly above chance"
    )
    assert found["real"]["kept"] == found["clipart"]["kept"] == 1


def test_moments_of_parts_add_up_to_those_of_the_whole():
    rng = np.random.default_rng(0)
    x, y = 1 + rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    whole, parts = (
        ridge_map(moments(x, y)),
        ridge_map(moments(x[:9], y[:9]) + moments(x[9:], y[9:])),
    )
    assert np.allclose(whole(x), parts(x))


def test_the_map_depends_on_no_image_of_the_test_domain(table):
    changed = {site: values.copy() for site, values in POOL.sites.items()}
    rows = (POOL.samples["domain"] == "sketch").to_numpy()
    changed["linear"][rows] *= -3
    pool = Activations(POOL.samples, changed)
    again = tuned_lens(pool, TESTED, ["sketch", "real"], SETS, TEXTS)
    same, other = (pl.col("test_domain") == name for name in ("sketch", "real"))
    assert again.filter(same).equals(table.filter(same))
    assert not again.filter(other).equals(table.filter(other))


def test_the_last_site_has_the_models_own_answers_and_a_still_one_guesses(table):
    assert accuracy(table, "embedding", "sketch") == 1
    assert accuracy(table, "still", "sketch") == pytest.approx(1 / C)


@pytest.mark.parametrize(("images", "units"), [(40, 6), (12, 30)])
def test_the_strength_is_that_of_generalised_cross_validation(images, units):
    rng = np.random.default_rng(images)
    x = rng.normal(size=(images, units)) * np.linspace(0.1, 2, units)
    y = x[:, :3] + rng.normal(size=(images, 3))
    found = ridge_map(moments(x, y))
    centred = x - x.mean(axis=0)
    scale = np.trace(centred.T @ centred) / np.linalg.matrix_rank(centred)
    scores = []
    for share in STRENGTHS:
        inner = np.linalg.inv(centred.T @ centred + share * scale * np.eye(units))
        rest = np.eye(images) - 1 / images - centred @ inner @ centred.T
        scores.append(((rest @ y) ** 2).sum() / np.trace(rest) ** 2)
    assert found.strength == pytest.approx(STRENGTHS[int(np.argmin(scores))])
    best = np.linalg.inv(centred.T @ centred + found.strength * scale * np.eye(units))
    expected = y.mean(axis=0) + centred @ best @ centred.T @ (y - y.mean(axis=0))
    assert np.allclose(found(x), expected)


def test_noise_asks_for_a_stronger_ridge():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 20))
    y = x @ rng.normal(size=(20, 4))
    quiet, loud = (
        ridge_map(moments(x, y + noise * rng.normal(size=y.shape))) for noise in (0.01, 30)
    )
    assert quiet.strength < 1e-4 < 0.01 < loud.strength


def test_images_that_are_tested_or_of_the_only_domain_are_not_fitted_on():
    with pytest.raises(ValueError, match="tested, too"):
        tuned_lens(TESTED, TESTED, ["sketch"], SETS, TEXTS)
    with pytest.raises(ValueError, match="only domain"):
        tuned_lens(POOL.of("real"), TESTED, ["real"], SETS, TEXTS)


class Tower(nn.Module):
    """As little of open_clip's vision transformer as matters here: tokens, blocks, a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.ln_pre = nn.Linear(3, U)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(nn.Linear(U, U) for _ in range(3))
        self.ln_post = nn.LayerNorm(U)
        self.proj = nn.Parameter(torch.randn(U, E))

    def _pool(self, tokens):
        tokens = self.ln_post(tokens)
        return tokens[:, 0], tokens[:, 1:]

    def forward(self, images):
        tokens = self.ln_pre(images.flatten(2).transpose(1, 2))
        for block in self.transformer.resblocks:
            tokens = block(tokens)
        return self._pool(tokens)[0] @ self.proj


def learner(tower):
    model = SimpleNamespace(visual=tower)
    model.encode_image = tower
    model.to = lambda _device: model
    model.eval = lambda: tower.eval() and model
    return Learner(model, None)


def test_the_logit_lens_at_the_last_block_has_the_models_own_answers():
    tower = Tower()
    images = torch.randint(256, (60, 3, 2, 2), dtype=torch.uint8)
    with torch.inference_mode():
        answers = (tower((images.float() / 255 - 0.5) / 0.5) @ torch.from_numpy(TEXTS).T).argmax(1)
    own = {"domain": ["real", "sketch"] * 30, "class_id": answers.numpy()}
    assert answers.unique().numel() > 1
    batches, cpu = images.split(8), torch.device("cpu")
    table = logit_lens(
        learner(tower), batches, pl.DataFrame(own), ["sketch"], SETS, TEXTS, cpu
    ).filter(classes="all")
    assert dict(table.schema) == LENS
    assert set(table["test_domain"]) == {"sketch"}
    assert table["site"].unique(maintain_order=True).to_list() == [
        *("stem", "block1", "block2", "block3", "embedding"),
    ]
    for site, right in (("block1", False), ("block3", True), ("embedding", True)):
        assert (table.filter(site=site)["value"] == 1).all() == right


def test_a_tower_without_tokens_has_no_logit_lens():
    resnet = nn.Module()
    resnet.attnpool = nn.Identity()
    assert readout(resnet) is None
    with pytest.raises(UserError, match="has no logit lens"):
        logit_lens(learner(resnet), [], POOL.samples, ["sketch"], SETS, TEXTS, torch.device("cpu"))
