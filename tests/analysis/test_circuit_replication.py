"""The published circuits of a few classes beside ours: sets, means, sites, pieces."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from analysis import circuit_families
from analysis.cells import CellMeans
from analysis.circuit_replication import (
    MOST_CLASSES,
    NODES,
    NOT_OURS,
    beside_ours,
    compared_sets,
    our_sharing,
    over_classes,
)
from analysis.circuit_subject import CircuitSubject
from analysis.class_sets import ClassSet, class_sets
from analysis.held_images import Images
from analysis.pieces import Pieces
from analysis.published_circuits import (
    PublishedCircuit,
    published_circuit_sharing,
    published_sites,
)
from analysis.readout import Readout
from analysis.replication import PUBLISHED
from analysis.sites import Site, list_sites, taps
from gen.config import load_config
from gen.models.clip import build_clip
from gen.models.vocabulary import Vocabulary, full_vocabulary
from gen.schema import SiteLevel

DOMAINS = ("real", "sketch", "clipart")
CLASSES = tuple("abcdefghij")
HELD_OUT = {0: CLASSES[2:], 1: CLASSES[:3], 2: ("unknown",)}
SETS = class_sets(CLASSES, HELD_OUT)
SITES = [
    Site(name, SiteLevel.residual, depth, nn.Identity(), "out")
    for depth, name in enumerate(("input", "stem.act1", "stem", "layer1.0", "embedding"))
]


@pytest.fixture(scope="module")
def resnet():
    vocabulary = Vocabulary(full_vocabulary().token_ids[:20], 5)
    return build_clip(load_config("models", "rn-tiny"), vocabulary, 32, seed=0).eval()


def circuit(unit):
    """One kept unit per site, and an edge between the last two."""
    kept = {site.name: (unit,) for site in SITES}
    return PublishedCircuit({}, kept, frozenset({(("layer1.0", unit), ("embedding", unit))}))


def circuits_of(classes):
    """Of even classes `real` and `sketch` are equal; `clipart` shares nothing."""
    return {
        (domain, c): circuit(2 if domain == "clipart" else c % 2 and d)
        for d, domain in enumerate(DOMAINS)
        for c in classes
    }


def test_held_out_classes_of_every_draw_are_compared_and_few_of_many():
    first, second, none = compared_sets(SETS)
    assert [s.name for s in (first, second, none)] == ["held_out"] * 3
    assert [s.draw for s in (first, second, none)] == [0, 1, 2]
    assert len(first.members) == MOST_CLASSES < 8
    assert set(first.members) < set(range(2, 10))
    assert list(first.members) == sorted(first.members)
    assert second.members == (0, 1, 2)
    assert none.members == ()
    assert compared_sets(SETS)[0] == first  # whatever the run


def test_means_over_classes_are_those_of_the_circuits_themselves():
    sets = compared_sets(SETS)
    by_class = {
        c: published_circuit_sharing(
            circuits_of([c]), SITES, DOMAINS, [ClassSet("held_out", None, (c,))]
        )
        for c in range(len(CLASSES))
    }
    whole = published_circuit_sharing(circuits_of(range(10)), SITES, DOMAINS, sets)
    keys = ["measure", "site", "domain_a", "domain_b", "draw"]
    found = over_classes(by_class, SITES, DOMAINS, sets)
    assert dict(found.schema) == PUBLISHED
    assert found.sort(keys).equals(whole.sort(keys))
    few = found.filter(domain_a="real", domain_b="sketch", draw=1, measure=NODES)
    assert few["value"].to_list() == [pytest.approx(2 / 3)] * len(SITES)  # classes 0 and 2 of 0..2
    gone = found.filter(draw=2)
    assert gone["value"].null_count() == gone.height > 0
    assert "" not in gone["note"].to_list()


def scores(names, units=10):
    """Class c speaks through unit 0 in `real` and `sketch`, through unit c % 5 + 1 in `clipart`."""
    fold = np.zeros((len(DOMAINS), len(CLASSES), units))
    fold[:2, :, 0] = 1
    for c in range(len(CLASSES)):
        fold[2, c, c % 5 + 1] = 1
    fold += 1e-3 * np.random.default_rng(0).random(fold.shape)
    folds = {name: np.stack([fold] * 4) for name in names}
    counts = np.ones((4, len(DOMAINS), len(CLASSES)), int)
    return CellMeans(folds, counts, DOMAINS, CLASSES)


def test_ours_stand_where_the_site_is_the_same_under_its_published_name():
    sets = compared_sets(SETS)
    names = ("stem.act1", "stem.act3", "layer1.0.act1", "layer1.0.act3")
    ours = our_sharing(scores(names), SITES, sets, 0)
    assert set(ours["site"]) == {"stem.act1", "layer1.0"}  # the stem's pooling is no site of ours
    by_class = {
        c: published_circuit_sharing(
            circuits_of([c]), SITES, DOMAINS, [ClassSet("held_out", None, (c,))]
        )
        for c in range(len(CLASSES))
    }
    table = beside_ours(over_classes(by_class, SITES, DOMAINS, sets), ours)
    assert dict(table.schema) == PUBLISHED
    pairs = table.filter(measure=NODES, site="layer1.0", draw=0)
    assert dict(zip(pairs["domain_a"] + "-" + pairs["domain_b"], pairs["ours"], strict=True)) == {
        "real-sketch": 1,
        "real-clipart": 0,
        "sketch-clipart": 0,
    }
    without = table.filter(pl.col("site").is_in(["input", "stem", "embedding", "edges"]), draw=0)
    assert without["ours"].null_count() == without.height
    assert set(without["note"]) == {NOT_OURS}


def test_a_blocks_output_is_what_leaves_its_last_activation_function(resnet):
    theirs, ours = published_sites(resnet), list_sites(resnet, SiteLevel.channel)
    read, own = {}, {}
    with torch.no_grad(), taps(theirs, read.__setitem__), taps(ours, own.__setitem__):
        resnet.encode_image(torch.randn(2, 3, 32, 32))
    same = {
        "stem.act1": "stem.act1",
        "stem.act2": "stem.act2",
        "stem.act3": "stem.act3",
        **{f"layer{stage}.0": f"layer{stage}.0.act3" for stage in (1, 2, 3, 4)},
    }
    for name, other in same.items():
        assert torch.equal(read[name], own[other]), name
    found = our_sharing(scores(own), theirs, [ClassSet("held_out", 0, (0, 1, 2))], 0)
    assert set(found["site"]) == set(same)


def subject(model, folder):
    samples = pl.DataFrame(
        [
            {"id": f"{d}{c}{i}", "domain": d, "class_name": c, "split": "test", "instance": ""}
            | {"class_id": CLASSES.index(c)}
            for d in DOMAINS
            for c in CLASSES
            for i in range(6)
        ]
    )
    return SimpleNamespace(
        learner=SimpleNamespace(model=model, mean=(0,) * 3, std=(1,) * 3, pixels=32),
        dataset=SimpleNamespace(domains=DOMAINS, classes=CLASSES, samples=samples, folder=None),
        run=SimpleNamespace(seed=0, analysis=SimpleNamespace(images=20)),
        **{"classes": list(CLASSES), "class_sets": SETS, "device": torch.device("cpu")},
        pieces=Pieces(folder, "key"),
    )


def test_a_stopped_analysis_goes_on_with_the_class_that_it_was_at(resnet, tmp_path, monkeypatch):
    shown = []

    def found(_model, inputs, labels_B, _readout, sites):
        shown.append((len(inputs), *labels_B.unique().tolist()))
        if len(shown) == 5:
            raise KeyboardInterrupt
        return PublishedCircuit({}, {site.name: (0,) for site in sites}, frozenset())

    def hold(_folder, rows, pixels, _device):
        return Images(rows, torch.zeros(rows.height, 3, pixels, pixels, dtype=torch.uint8))

    own = scores([site.name for site in list_sites(resnet, SiteLevel.channel)])
    monkeypatch.setattr(circuit_families, "published_circuit", found)
    monkeypatch.setattr(circuit_families, "hold", hold)
    monkeypatch.setattr(CircuitSubject, "readout", Readout(torch.eye(10), None, 1.0))
    monkeypatch.setattr(CircuitSubject, "scores", lambda _self, _split: own)
    with pytest.raises(KeyboardInterrupt):
        circuit_families.published_circuits(subject(resnet, tmp_path))
    assert shown == [(4, 0)] * 3 + [(4, 1)] * 2  # four images of a cell
    table = circuit_families.published_circuits(subject(resnet, tmp_path))["published_circuits"]
    assert shown[5:8] == [(4, 1)] * 3  # class 0 is not done again
    assert dict(table.schema) == PUBLISHED
    assert set(table.filter(measure=NODES, draw=0)["value"]) == {1.0}


def test_a_model_of_which_no_circuits_were_published_has_rows_that_say_so(tmp_path):
    model = SimpleNamespace(visual=nn.Identity())
    (table,) = circuit_families.published_circuits(subject(model, tmp_path)).values()
    assert table.height == 3 * 3 * 2  # pairs, draws, measures of whole graphs
    assert table["value"].null_count() == table.height
    assert set(table["note"]) == {"circuits of a Identity were not published"}
