"""Images and sentences share what is planted, where it is planted, and two towers no basis."""

from __future__ import annotations

import numpy as np
import planted_modalities as planted
import polars as pl
import pytest
import torch
from open_clip import CLIP
from planted_modalities import CLASSES, DOMAINS, C

from analysis.attribution import node_scores
from analysis.baselines import baselines
from analysis.cells import CellMeans, beside
from analysis.circuit_sharing import circuit_sharing
from analysis.class_sets import ClassSet
from analysis.domain_similarity import SIMILARITY
from analysis.modal_cells import (
    TEXT,
    modal_cells,
    rendered,
    sentence_table,
    text_tower_means,
)
from analysis.modality_family import image_readout
from analysis.modality_sharing import (
    NO_BASIS,
    UNTRAINED,
    modality_circuits,
    modality_distances,
    modality_similarity,
)
from analysis.probes import Activations
from analysis.readout import Readout
from analysis.sites import list_sites
from gen.config import load_config
from gen.evaluation.prompts import Wording
from gen.models.clippo import build_clippo
from gen.models.rendering import Renderer
from gen.models.trained import Learner
from gen.schema import CaptionStyle, SiteLevel

CPU = torch.device("cpu")
EVERY = [ClassSet("all", None, tuple(range(C)))]
INNER = ["stem", "block1", "block2", "pooled"]


@pytest.fixture(scope="module")
def cells():
    samples, pixels = planted.planted_images()
    spoken = planted.planted_sentences()
    learner = planted.planted_learner()
    return modal_cells(learner, pixels.split(50), samples, DOMAINS, CLASSES, spoken, CPU)


def of(table, measure, site, domain="real"):
    return table.filter(measure=measure, site=site, domain_a=domain).row(0, named=True)


# --- one tower


def test_one_tower_shares_from_the_block_on_where_both_codes_become_one(cells):
    found = modality_similarity(cells, EVERY, list(cells.folds), 0)
    assert found.schema == SIMILARITY
    assert list(cells.folds) == [*INNER, "embedding"]
    assert set(found["domain_b"]) == {TEXT}
    for domain in DOMAINS:
        for site in ("stem", "block1"):
            assert of(found, "s_id_nc", site, domain)["value"] == 0
            row = of(found, "cka_nc", site, domain)
            assert row["lo"] < row["chance_hi"]
        for site in ("block2", "pooled", "embedding"):
            for measure, near in (("s_id_nc", 0.05), ("cka_nc", 0.15)):
                row = of(found, measure, site, domain)
                assert row["value"] == pytest.approx(1, abs=near)
                assert row["lo"] > row["chance_hi"]


def test_sentences_that_show_what_images_show_share_as_much_as_other_images_do():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(1, 1, 40, 30))
    folds = {"block1": true + 0.5 * rng.normal(size=(4, 2, 40, 30))}
    names = tuple(f"class {number}" for number in range(40))
    alike = CellMeans(folds, np.full((4, 2, 40), 3), ("real", TEXT), names)
    sets = [ClassSet("all", None, tuple(range(40)))]
    found = modality_similarity(alike, sets, ["block1"], 0)
    corrected, plain = of(found, "s_id_nc", "block1"), of(found, "s_id", "block1")
    assert corrected["lo"] < corrected["ceiling"] == 1 < corrected["hi"]
    assert plain["value"] >= plain["ceiling"] > plain["chance_hi"]


def test_sentences_of_other_classes_share_no_more_than_shuffled_classes_do(cells):
    order = np.random.default_rng(1).permutation(C)
    folds = {site: values.copy() for site, values in cells.folds.items()}
    for values in folds.values():
        values[:, -1] = values[:, -1, order]
    moved = CellMeans(folds, cells.counts, cells.domains, cells.classes)
    found = modality_similarity(moved, EVERY, list(cells.folds), 0)
    for measure in ("cka", "s_id"):
        row = of(found, measure, "embedding")
        assert row["chance_lo"] <= row["value"] <= row["chance_hi"]
        assert row["lo"] < row["chance_hi"] < row["ceiling"]


def test_the_gap_of_a_layer_is_that_of_the_means_in_units_of_the_spread(cells):
    names = tuple(f"class {number}" for number in range(30))
    rng, spread, apart = np.random.default_rng(2), 2.0, 6.0
    folds = rng.normal(scale=spread / np.sqrt(5), size=(4, 2, 30, 25))
    folds[:, 1] += apart / 5  # of 25 units: apart in all
    counts = np.full((4, 2, 30), 5)
    far = CellMeans({"block1": folds}, counts, ("real", TEXT), names)
    table = modality_distances(far, ["block1"], far)
    relative = table.filter(quantity="distance_relative").row(0, named=True)
    assert relative["value"] == pytest.approx(apart / (spread * 5), rel=0.05)
    assert relative["lo"] < apart / (spread * 5) < relative["hi"]
    untrained = table.filter(quantity=UNTRAINED).row(0, named=True)
    assert untrained["value"] == relative["value"]
    between = modality_distances(cells, list(cells.folds))
    pairs = set(between.select("domain_a", "domain_b").rows())
    assert pairs == {("real", "sketch"), ("real", TEXT), ("sketch", TEXT)}


# --- nodes


def test_nodes_of_images_and_sentences_are_the_same_where_both_codes_are_one():
    learner, (samples, pixels) = planted.planted_learner(), planted.planted_images()
    spoken = planted.planted_sentences()
    sites = list_sites(learner.model, SiteLevel.neuron)
    common = torch.nn.functional.normalize(torch.from_numpy(planted.COMMON).float(), dim=1)
    read = Readout(common, None, 10.0)

    def scores(batches, rows, domains):
        told = rows, domains, CLASSES
        base = baselines(learner, batches(), *told, CPU, sites)
        return node_scores(learner, batches(), *told, read, base, CPU, sites)

    texts = spoken["text"].to_list()
    of_images = scores(lambda: pixels.split(50), samples, DOMAINS)
    of_texts = scores(lambda: rendered(learner.texts, texts, planted.SIDE), spoken, [TEXT])
    places = {site.name: (site.level, site.depth) for site in sites}
    found = modality_circuits(beside(of_images, of_texts), EVERY, 0, places)
    assert set(found["domain_b"]) == {TEXT}
    assert found.schema == SIMILARITY
    before, after = (of(found, "cosine", f"block{n}.neurons") for n in (1, 2))
    assert before["value"] == 0
    assert before["floor"] == 0  # other classes' sentences have no units in common with images
    assert after["value"] == pytest.approx(after["ceiling"], abs=0.1)
    row = of(found, "jaccard", "block2.neurons")
    assert row["floor"] < row["lo"]
    assert row["value"] == pytest.approx(row["ceiling"], abs=0.15)


def test_nodes_that_one_modality_uses_for_all_classes_lower_no_overlap_of_a_class():
    """Of 40 nodes, 10 are of all images, 10 of all sentences, and 2 of a class in both."""
    rng, classes = np.random.default_rng(5), 10
    true = np.zeros((2, classes, 40))
    true[0, :, :10], true[1, :, 10:20] = 2, 2
    for number in range(classes):
        true[:, number, 20 + 2 * number : 22 + 2 * number] = 2
    folds = {"block1.neurons": true + 0.1 * rng.normal(size=(4, *true.shape))}
    names = tuple(f"class {number}" for number in range(classes))
    scores = CellMeans(folds, np.full((4, 2, classes), 3), ("real", TEXT), names)
    places = {"block1.neurons": (SiteLevel.neuron, 0)}
    sets = [ClassSet("all", None, tuple(range(classes)))]
    across = of(modality_circuits(scores, sets, 0, places), "cosine", "block1.neurons")
    within = of(circuit_sharing(scores, sets, 0, places), "cosine", "block1.neurons")
    assert across["value"] == within["value"] == pytest.approx(2 / 12, abs=0.02)
    assert across["floor"] == pytest.approx(0, abs=0.01)
    assert within["floor"] == pytest.approx(10 / 12, abs=0.02)
    for measure in ("cosine_norm", "cosine_nc_norm"):
        row = of(modality_circuits(scores, sets, 0, places), measure, "block1.neurons")
        assert row["value"] == pytest.approx(2 / 12, abs=0.03)
        assert of(circuit_sharing(scores, sets, 0, places), measure, "block1.neurons")["hi"] < 0


def test_sentences_are_read_out_by_domains_and_images_of_a_cell_that_count_alike():
    at = {"real": [[2.0, 0.0]] * 3, "sketch": [[0.0, 5.0]]}
    rows = [{"domain": name, "class_id": 0} for name, found in at.items() for _ in found]
    rows.append({"domain": "real", "class_id": 1})
    embeddings = np.array([*at["real"], *at["sketch"], [0.0, -3.0]], dtype=np.float32)
    learner = planted.planted_learner()
    read = image_readout(learner, Activations(pl.DataFrame(rows), {"embedding": embeddings}), "ab")
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, -1.0]])
    assert torch.allclose(read.weights_CE, expected)
    assert read.temperature == pytest.approx(10)


# --- how sentences enter


def test_a_drawn_sentence_enters_a_clippo_as_its_text_does():
    model = build_clippo(load_config("models", "clippo-tiny"), 64, 0, bias=False).eval()
    learner = Learner(model, Renderer(64, "unifont"), pixels=64)
    texts = ["a picture of a zebra", "zebra", "an image of a fox", "fox"]
    rows = pl.DataFrame({"text": texts, "domain": TEXT, "class_id": [0, 0, 1, 1]})
    images = torch.randint(0, 255, (4, 3, 64, 64), dtype=torch.uint8)
    samples = rows.with_columns(domain=pl.lit("real"))
    found = modal_cells(learner, [images], samples, ["real"], ["zebra", "fox"], rows, CPU)
    with torch.inference_mode():
        expected = model.encode_text(learner.texts.encode(texts))
    ours = found.folds["embedding"][:, 1].transpose(1, 0, 2).reshape(4, -1)
    assert np.allclose(ours, expected.numpy(), atol=1e-5)
    assert list(found.folds)[-2:] == ["pooled", "embedding"]


def test_sentences_name_no_domain_and_are_the_same_for_all_classes():
    wording = Wording(CaptionStyle.short, {"sketch": ("sketch", "drawing")})
    table = sentence_table(["zebra", "fox"], wording)
    assert set(table["domain"]) == {TEXT}
    zebra, fox = (table.filter(class_id=n)["text"].to_list() for n in (0, 1))
    assert [text.replace("fox", "zebra") for text in fox] == zebra
    assert len(zebra) == len(set(zebra)) >= 4
    assert not any("sketch" in text or "drawing" in text for text in zebra)


# --- two towers


class Words:
    """Token ids of `3 1 5`; the largest ends a text."""

    def encode(self, texts):
        rows = [[int(word) for word in text.split()] for text in texts]
        return torch.tensor([[*row, 8, *[0] * (5 - len(row))] for row in rows])


@pytest.fixture(scope="module")
def two_towers():
    vision = {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 6, "vocab_size": 9, "width": 16, "heads": 2, "layers": 2}
    torch.manual_seed(0)
    return Learner(CLIP(24, vision, text).eval(), Words(), pixels=32)


def spoken_tokens(classes=6):
    rows = [
        {"text": f"{1 + number} {1 + other}", "domain": TEXT, "class_id": number}
        for number in range(classes)
        for other in range(2)
    ]
    return pl.DataFrame(rows)


def test_a_text_tower_is_read_at_the_token_that_the_model_takes(two_towers):
    spoken, model = spoken_tokens(), two_towers.model
    found = text_tower_means(two_towers, spoken, "abcdef", CPU)
    assert list(found.folds) == ["stem", "block1", "block2", "embedding"]
    with torch.inference_mode():
        last = torch.from_numpy(found.folds["block2"]).float()
        made = model.ln_final(last) @ model.text_projection
    assert np.allclose(made.numpy(), found.folds["embedding"], atol=1e-5)


def test_two_towers_have_a_basis_in_common_at_the_embedding_alone(two_towers):
    classes, spoken = "abcdef", spoken_tokens()
    images = torch.randint(0, 255, (12, 3, 32, 32), dtype=torch.uint8)
    samples = pl.DataFrame({"domain": "real", "class_id": [n // 2 for n in range(12)]})
    cells = modal_cells(two_towers, [images], samples, ["real"], classes, spoken, CPU)
    assert list(cells.folds) == ["stem", *(f"block{n}" for n in range(1, 5)), "embedding"]
    texts = text_tower_means(two_towers, spoken, classes, CPU)
    beside_ = ["stem", "block1", "block1", "block2", "block2"]
    for site, other in zip(cells.folds, beside_, strict=False):
        assert np.array_equal(cells.folds[site][:, 1, :, :16], texts.folds[other][:, 0])
        assert not cells.folds[site][:, 1, :, 16:].any()
    sets = [ClassSet("all", None, tuple(range(6)))]
    found = modality_similarity(cells, sets, ["embedding"], 0)
    inner, last = (
        found.filter((pl.col("site") == "embedding") == is_last) for is_last in (False, True)
    )
    same = pl.col("measure").is_in(["s_id", "s_id_nc"])
    assert set(inner.filter(same)["note"]) == {NO_BASIS}
    assert inner.filter(same).select("value", "lo", "chance", "left_out").null_count().row(0) == (
        *[inner.filter(same).height] * 4,
    )
    stem, *others = inner.filter(measure="cka").rows(named=True)
    assert stem["note"] == "all class means of text are equal"  # the same token at the same place
    assert None not in [row["value"] for row in others]
    assert NO_BASIS not in set(last["note"])
    assert last.filter(measure="s_id")["value"].null_count() == 0
    gaps = modality_distances(cells, ["embedding"])
    assert set(gaps.filter(pl.col("site") != "embedding")["note"]) == {NO_BASIS}
    assert gaps.filter(site="embedding")["value"].null_count() == 0


def test_measures_of_two_towers_do_not_see_the_units_that_are_filled_up():
    rng = np.random.default_rng(3)
    folds = rng.normal(size=(4, 2, 20, 12)) + rng.normal(size=(1, 2, 20, 12))
    names = tuple(f"class {number}" for number in range(20))
    wide = np.pad(folds, [(0, 0)] * 3 + [(0, 9)])
    tables = [
        modality_similarity(
            CellMeans({"block1": values}, np.full((4, 2, 20), 3), ("real", TEXT), names),
            [ClassSet("all", None, tuple(range(20)))],
            [],
            0,
        )
        for values in (folds, wide)
    ]
    numbers = [table["value"].drop_nulls().to_numpy() for table in tables]
    assert len(numbers[0]) == 4
    assert np.allclose(*numbers)


def test_cells_of_unequal_folds_stand_side_by_side_in_two():
    rng = np.random.default_rng(4)
    names = tuple("abcde")
    four = CellMeans({"s": rng.normal(size=(4, 1, 5, 3))}, np.full((4, 1, 5), 2), ("real",), names)
    two = CellMeans({"s": rng.normal(size=(2, 1, 5, 3))}, np.full((2, 1, 5), 1), (TEXT,), names)
    both = beside(four, two)
    assert both.domains == ("real", TEXT)
    assert np.allclose(both.folds["s"][0, 0], four.folds["s"][:2, 0].mean(axis=0))
    assert np.allclose(both.means("s")[0], four.means("s")[0])
    assert np.array_equal(both.folds["s"][:, 1], two.folds["s"][:, 0])
    assert both.counts[:, :, 0].tolist() == [[4, 1], [4, 1]]
    with pytest.raises(ValueError, match="other sites or classes"):
        beside(four, CellMeans({"t": two.folds["s"]}, two.counts, two.domains, names))
