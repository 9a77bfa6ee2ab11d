"""The best nodes are kept, every image's own, and all others are replaced by its baselines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted_circuits import (
    CLASSES,
    DISTRACTORS,
    DOMAINS,
    SITES,
    circuits,
    planted_images,
    planted_learner,
    planted_readout,
)

from analysis import circuits as module
from analysis.cells import CellMeans
from analysis.circuits import batches, chosen_classes, masked_margins, rank_nodes
from analysis.class_sets import class_sets
from analysis.held_images import Images
from analysis.interventions import Baselines
from analysis.sites import list_sites
from gen.schema import SiteLevel

CPU = torch.device("cpu")


def scores_of(values: dict[str, np.ndarray]) -> CellMeans:
    """Scores [D, C, N] of every site, the same in both folds."""
    folds = {site: np.stack([found, found]) for site, found in values.items()}
    shape = next(iter(folds.values())).shape[:3]
    domains, classes = (tuple(f"{n}" for n in range(count)) for count in shape[1:])
    return CellMeans(folds, np.ones(shape, dtype=int), domains, classes)


def ranked_numbers(nodes=(5, 3, 40), domains=2, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    values = {f"site{i}": rng.normal(size=(domains, classes, n)) for i, n in enumerate(nodes)}
    return values, rank_nodes(scores_of(values), list(values))


def test_nodes_of_all_sites_are_ranked_together_by_what_they_add():
    ranked = rank_nodes(
        scores_of({"a": np.array([[[0.1, -9.0, 0.3]]]), "b": np.array([[[0.2, 0.0]]])}), ["b", "a"]
    )
    assert ranked.places_DCN.tolist() == [[[1, 3, 2, 4, 0]]]
    assert ranked.nodes == {"b": 2, "a": 3}


def test_of_equal_nodes_the_first_are_kept():
    ranked = rank_nodes(scores_of({"a": np.array([[[0.0, 1.0, 0.0, 1.0]]])}), ["a"])
    assert ranked.kept(0, 0.75).tolist() == [[True, True, False, True]]
    ranked = rank_nodes(scores_of({"a": np.tile([0.0, 1.0], (1, 1, 500))}), ["a"])
    assert ranked.kept(0, 0.3)[0].nonzero()[:, 0].tolist() == list(range(1, 600, 2))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.1, 0.29, 0.5, 1.0])
def test_the_whole_part_of_the_share_is_kept_and_no_node_before_a_better_one(share):
    values, ranked = ranked_numbers(nodes=(50, 20, 30))
    together = np.concatenate(list(values.values()), axis=-1)
    for domain, scores in enumerate(together):
        kept = ranked.kept(domain, share).numpy()
        assert (kept.sum(axis=1) == round(100 * share - 0.01)).all()
        for row, mask in zip(scores, kept, strict=True):
            if mask.any() and not mask.all():
                assert row[mask].min() > row[~mask].max()


def test_nodes_go_back_to_their_sites():
    values, ranked = ranked_numbers()
    together = torch.from_numpy(np.concatenate(list(values.values()), axis=-1))
    for site, part in ranked.by_site(together).items():
        assert np.array_equal(part.numpy(), values[site])


def test_random_nodes_are_as_many_at_every_site_and_contain_those_of_smaller_sizes():
    _, ranked = ranked_numbers(nodes=(30, 20, 50))
    lots = torch.from_numpy(np.random.default_rng(1).random(ranked.places_DCN.shape[1:]))
    before = torch.zeros_like(lots).bool()
    for share in (0.05, 0.1, 0.5, 1.0):
        own = ranked.kept(0, share)
        found = ranked.at_random(own, lots)
        for ours, theirs in zip(
            ranked.by_site(own).values(), ranked.by_site(found).values(), strict=True
        ):
            assert torch.equal(ours.sum(dim=1), theirs.sum(dim=1))
        assert (found | before).equal(found)
        before = found
    assert not torch.equal(ranked.at_random(ranked.kept(0, 0.1), lots), ranked.kept(0, 0.1))


# --- what is left of a network --------------------------------------------------------------------


@pytest.fixture(scope="module")
def images() -> Images:
    return Images(*planted_images(per_cell=2, seed=3))


@pytest.fixture(scope="module")
def base() -> Baselines:
    """Random ones: another for every cell."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(DOMAINS), len(CLASSES), 1)
    return Baselines(
        "random",
        {s: torch.rand((*shape, circuits(s).shape[-1]), generator=generator) for s in SITES},
    )


@torch.inference_mode()
def margins(images, kept, base, sites=SITES):
    """Of all images; `kept` [N images, nodes of all sites]."""
    learner = planted_learner()
    chosen = [s for s in list_sites(learner.model, SiteLevel.neuron) if s.name in sites]
    counts = [circuits(site.name).shape[-1] for site in chosen]
    found, start = [], 0
    for batch in batches(learner, images, base, DOMAINS, chosen, CPU):
        part = kept[start : start + len(batch.labels_B)].split(counts, dim=1)
        start += len(batch.labels_B)
        by_site = {site.name: mask for site, mask in zip(chosen, part, strict=True)}
        found.append(masked_margins(learner.model, batch, by_site, planted_readout(), chosen))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in learner.model.modules())
    return torch.cat(found)


def random_masks(images, seed=0):
    nodes = sum(circuits(site).shape[-1] for site in SITES)
    return torch.rand((len(images), nodes), generator=torch.Generator().manual_seed(seed)) < 0.5


def test_every_image_has_a_mask_and_baselines_of_its_own(images, base):
    masks = random_masks(images)
    together = margins(images, masks, base)
    one_by_one = [
        margins(images.of(torch.arange(len(images)) == i), masks[i : i + 1], base)
        for i in range(len(images))
    ]
    assert torch.allclose(together, torch.cat(one_by_one), atol=1e-5)
    assert not torch.allclose(together, margins(images, masks.roll(1, dims=0), base), atol=1e-2)


def test_margins_do_not_depend_on_the_size_of_a_batch(images, base, monkeypatch):
    masks = random_masks(images)
    whole = margins(images, masks, base)
    monkeypatch.setattr(module, "batch_size", lambda _pixels: 5)
    assert torch.allclose(margins(images, masks, base), whole, atol=1e-5)


def test_a_network_that_keeps_all_is_itself_and_one_that_keeps_nothing_sees_no_image(images, base):
    everything = torch.ones_like(random_masks(images))
    with torch.inference_mode():
        clean = planted_readout().margins(
            planted_learner().model.encode_image(images.pixels_NCHW / 255), images.labels
        )
    assert torch.equal(margins(images, everything, base), clean)
    empty = margins(images, ~everything, base)
    cells = images.domain_numbers(DOMAINS) * len(CLASSES) + images.labels
    for cell in cells.unique():
        assert empty[cells == cell].std() < 1e-6
    assert empty.std() > 0.01  # baselines are those of the cell


def test_distractors_change_no_margin_and_a_circuit_is_enough(images, base):
    members = [circuits(site)[images.domain_numbers(DOMAINS), images.labels] for site in SITES]
    kept = torch.from_numpy(np.concatenate(members, axis=-1))
    zero = Baselines("zero", {site: torch.zeros_like(base.values[site]) for site in SITES})
    clean = margins(images, torch.ones_like(kept), base)
    assert torch.allclose(margins(images, kept, zero), clean, atol=1e-5)
    without = torch.ones_like(kept)
    for part in without.split([c.shape[-1] for c in members], dim=1):
        part[:, -DISTRACTORS:] = False
    assert torch.allclose(margins(images, without, zero), clean, atol=1e-5)


# --- which classes --------------------------------------------------------------------------------


def test_a_few_classes_are_some_of_every_set_and_the_same_again():
    names = [f"class {i}" for i in range(75)]
    draws = {0: names[:15], 1: names[10:25], 2: names[60:]}
    sets = class_sets(names, draws)
    chosen = chosen_classes(sets, 24, seed=1)
    assert len(set(chosen)) == 24
    assert chosen == sorted(chosen) == chosen_classes(sets, 24, seed=1)
    assert chosen != chosen_classes(sets, 24, seed=2)
    for found in sets[1:]:
        assert len(set(found.members) & set(chosen)) >= 4


def test_few_classes_are_all_chosen_and_without_draws_any():
    names = [f"class {i}" for i in range(10)]
    assert chosen_classes(class_sets(names, {0: names[:2]}), 10, seed=0) == list(range(10))
    assert len(chosen_classes(class_sets(names, {}), 4, seed=0)) == 4
    assert len(chosen_classes(class_sets(names, {0: []}), 4, seed=0)) == 4
