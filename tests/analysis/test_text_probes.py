"""What probes read off sentences: planted activations know words, or what words have in common."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from analysis.sites import pool, probed_sites, taps
from analysis.text_features import sentence_activations
from analysis.text_probes import (
    MOST_CLASSES,
    MOST_OF_DOMAINS,
    TASKS,
    TEXT_PROBES,
    cases,
    sentence_bank,
    text_probes,
    told_apart,
)
from gen.config import load_config
from gen.evaluation.prompts import Wording
from gen.models.clip import build_clip
from gen.models.clippo import build_clippo
from gen.models.rendering import Renderer
from gen.models.trained import Learner
from gen.models.vocabulary import build_vocabulary
from gen.schema import CaptionStyle

CPU = torch.device("cpu")
CLASSES = tuple(f"class {letter}" for letter in "abcdefghijkl")
GROUPS = {name: f"group {place % 3}" for place, name in enumerate(CLASSES)}
NOUNS = {
    "real": ("photo", "snapshot"),
    "sketch": ("sketch", "drawing"),
    "clipart": ("clipart", "icon"),
    "neon": ("neon", "light sign"),
}
WORDING = Wording(CaptionStyle.short, NOUNS)
NOISE, UNITS = 0.3, 150


@pytest.fixture(scope="module")
def bank():
    return sentence_bank(CLASSES, GROUPS, WORDING)


def planted(bank, *columns, seed=0):
    """A random direction for every content of each column, added up, and noise."""
    rng = np.random.default_rng(seed)
    found = NOISE * rng.standard_normal((bank.height, UNITS))
    for column in columns:
        codes = bank[column].rank("dense").to_numpy() - 1
        found += rng.standard_normal((codes.max() + 1, UNITS))[codes]
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def table(bank):
    pairs = bank.with_columns(pair=pl.col("class_name") + pl.col("noun"))
    sites = {
        "nothing": planted(bank),
        "words": planted(pairs, "pair"),
        "meaning": planted(bank, "class_name", "super_category", "domain"),
    }
    return text_probes(bank, sites)


def score(table, site, task, quantity="accuracy"):
    (row,) = table.filter(site=site, task=task, quantity=quantity).iter_rows(named=True)
    return row


def test_the_bank_says_of_every_sentence_what_it_tells(bank):
    one = bank.filter(text="a class a in this drawing").row(0, named=True)
    asked = bank.filter(class_name="class a", domain="sketch", noun="drawing")
    assert asked.height == 6
    assert asked["pattern"].to_list() == list(range(6))
    assert asked["other_word"].all()
    assert one["super_category"] == "group 0"
    assert bank.filter(domain="")["noun"].unique().sort().to_list() == ["image", "picture"]


def test_a_bank_of_many_classes_is_a_draw_of_them():
    many = sentence_bank([f"class {number}" for number in range(200)], {}, WORDING)
    assert many["class_name"].n_unique() == MOST_CLASSES
    assert many.filter(pl.col("domain") != "")["class_name"].n_unique() == MOST_OF_DOMAINS
    assert many.height == MOST_CLASSES * 12 + MOST_OF_DOMAINS * 12 * len(NOUNS)


def test_words_that_two_domains_share_tell_neither():
    wording = Wording(
        CaptionStyle.short, NOUNS | {"photos": ("photo", "still"), "art": ("image", "x")}
    )
    assert list(told_apart(wording)) == ["sketch", "clipart", "neon"]


def test_what_is_planted_is_read_and_nothing_else(table):
    assert dict(table.schema) == TEXT_PROBES
    for task in TASKS:
        for quantity in ("accuracy", "control_accuracy"):
            row = score(table, "nothing", task, quantity)
            assert row["lo"] - 0.05 <= row["chance"] <= row["hi"] + 0.05, (task, row)
        row, control = (score(table, "meaning", task, q) for q in ("accuracy", "control_accuracy"))
        assert row["value"] > 0.9
        assert row["lo"] <= row["value"] <= row["hi"]
        assert row["lo"] > control["hi"]


def test_words_known_by_heart_are_no_domain_and_no_super_category(table):
    for task in ("class", "domain"):
        true, control = (
            score(table, "words", task, q)["value"] for q in ("accuracy", "control_accuracy")
        )
        assert true > 0.8
        assert control > 0.8 * true  # the control task tells that words are enough
    for task in ("super_category", "domain_other_words"):
        row = score(table, "words", task)
        assert row["value"] < row["chance"] + 0.2


def test_chances_and_counts_are_those_of_the_tasks(table, bank):
    chances = {task: score(table, "words", task)["chance"] for task in TASKS}
    assert chances == pytest.approx(dict(zip(TASKS, (1 / 12, 1 / 3, 1 / 4, 1 / 4), strict=True)))
    assert score(table, "words", "class")["n"] == bank.filter(domain="").height
    assert score(table, "words", "domain")["n_classes"] == 12


def test_no_sentence_is_fitted_on_and_tested_by_one_probe_and_each_is_tested_once():
    rng = np.random.default_rng(0)
    parts = rng.random((2, 50)) < 0.5
    tested_times = np.zeros(50, dtype=int)
    for fitted, tested in cases(parts):
        assert not (fitted & tested).any()
        for part in parts:
            assert not set(part[fitted]) & set(part[tested])
        tested_times += tested
    assert (tested_times == 1).all()


def test_where_there_is_nothing_to_tell_apart_the_reason_stands():
    plain = sentence_bank(CLASSES, {}, Wording(CaptionStyle.short, {"real": ("photo", "snapshot")}))
    table = text_probes(plain, {"site": planted(plain, "class_name")}, "3 of 9 sentences")
    empty = table.filter(pl.col("value").is_null())
    assert set(empty["task"]) == {"super_category", "domain", "domain_other_words"}
    assert all(note.startswith("3 of 9 sentences; fewer than two") for note in empty["note"])
    few = text_probes(plain.head(1), {"site": planted(plain.head(1))})
    assert few["value"].is_null().all()


# ---------------------------------------------------------------------------- activations

TEXTS = ["image of a cat", "a dog in this picture", "photo of a cat", "a cat as sketch"]


def test_the_one_tower_is_read_at_all_its_sites_while_it_sees_text():
    model = build_clippo(load_config("models", "clippo-tiny"), 80, 0, bias=False)
    learner = Learner(model, Renderer(80, "unifont"), pixels=80)
    found = sentence_activations(learner, TEXTS, CPU)
    assert list(found) == ["stem", "block1", "block2", "block3", "block4", "pooled", "embedding"]
    expected = {}
    images = learner.texts.encode(TEXTS)[:, None].expand(-1, 3, -1, -1)
    with (
        torch.inference_mode(),
        taps(probed_sites(model), lambda site, read: expected.__setitem__(site, pool(read))),
    ):
        model.encode_image((images / 255 - 0.5) / 0.5)
    for site, values in found.items():
        assert values == pytest.approx(expected[site].numpy(), abs=1e-4)
    head = model.visual.head
    assert head(torch.from_numpy(found["pooled"])).detach().numpy() == pytest.approx(
        found["embedding"], abs=1e-4
    )


def test_a_text_tower_is_read_at_the_end_of_each_text():
    vocabulary = build_vocabulary([*TEXTS, "a much longer text than all the others of them are"])
    model = build_clip(load_config("models", "vit-tiny"), vocabulary, 32, 0)
    learner = Learner(model, vocabulary, pixels=32)
    found = sentence_activations(learner, TEXTS, CPU)
    assert next(iter(found)) == "stem"
    assert list(found)[-1] == "embedding"
    last = torch.from_numpy(found[list(found)[-2]])
    embedded = model.ln_final(last) @ model.text_projection
    assert embedded.detach().numpy() == pytest.approx(found["embedding"], abs=1e-5)
