"""Do the parts that carry a class in one domain carry it in another? (docs/circuits.md)

F[A → B]: nodes, or edges, that are ranked on images of domain A are kept, all others are replaced
by baselines of domain B, and the margins of B's images say how much of the model is left. Beside it
stand what any parts do, those of another class, and what is left without the nodes of A.

Legend: D domains, C classes, N parts of all places, K sizes, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from analysis.cells import CellMeans
from analysis.circuits import NODES, Parts, Rankings, batches, rank_nodes
from analysis.class_sets import ClassSet
from analysis.faithfulness_curves import SHARES, Curve, curve_rows
from analysis.held_images import Images
from analysis.interventions import Baselines
from analysis.readout import Readout

if TYPE_CHECKING:
    from gen.models.trained import Learner

FAITHFULNESS: dict[str, type[pl.DataType]] = {
    **{"parts": pl.String, "baseline": pl.String},
    **{"source": pl.String, "target": pl.String, "circuit": pl.String},
    **{"draw": pl.Int64, "classes": pl.String, "quantity": pl.String, "k": pl.Float64},
    **{"value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64},
    **{"n": pl.Int64, "n_images": pl.Int64, "note": pl.String},
}
OWN, OTHER, COMPLEMENT, RANDOM, WRONG = "own", "other", "complement", "random", "wrong_class"
REMOVED = (0.01, 0.05, 0.1, 0.2, 0.5)
"""shares of nodes that are taken away for the complement; of edges none is asked for"""
RANDOM_DRAWS = 2
"""of random parts, whose margins are averaged"""


class Trial(NamedTuple):
    """Parts that are kept while all images of a target are shown.

    Attributes:
        circuit: why these.
        source: number of the domain on whose images they were chosen.
        share: of all parts, how many were chosen.
        kept_CN: which are kept for every class, bool.
    """

    circuit: str
    source: int
    share: float
    kept_CN: torch.Tensor


class Result(NamedTuple):
    """What became of the images of one target.

    Attributes:
        curves: by circuit and source, over the classes that have images.
        classes: their positions, ascending.
        images: how many each of them has, int [C].
    """

    curves: dict[tuple[str, int], Curve]
    classes: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class Tower:
    """A model whose parts can be taken away.

    Attributes:
        learner: the model, on the device, in evaluation mode.
        readout: on the device.
        base: of the sites of the parts.
        domains: names along D of the baselines.
        parts: what is taken away.
        device: where to compute.
    """

    learner: Learner
    readout: Readout
    base: Baselines
    domains: Sequence[str]
    parts: Parts
    device: torch.device

    def margins(
        self, images: Images, kept: Sequence[torch.Tensor], ranked: Rankings, bar: tqdm | None
    ) -> np.ndarray:
        """Mean margins of the images of every class under many choices of parts.

        Args:
            images: of classes that the choices are for.
            kept: parts that are kept for every class, bool [C, N] each; C in the order of the
                images' class ids.
            ranked: tells parts of places apart.
            bar: advanced by one per image and choice.

        Returns:
            float64, [choices, C].
        """
        ids, place_N = torch.unique(images.labels, return_inverse=True)
        masks = [chosen.to(self.device) for chosen in kept]
        sums = torch.zeros(len(masks), len(ids), dtype=torch.float64, device=self.device)
        start = 0
        for batch in batches(
            self.learner, images, self.base, self.domains, self.parts.sites, self.device
        ):
            places_B = place_N[start : start + len(batch.labels_B)].to(self.device)
            start += len(places_B)
            for row, mask_CN in zip(sums, masks, strict=True):
                parts = ranked.by_site(mask_CN[places_B])
                found_B = self.parts.margins(self.learner.model, batch, parts, self.readout)
                row.index_add_(0, places_B, found_B.double())
                if bar is not None:
                    bar.update(len(found_B))
        return (sums / torch.bincount(place_N).to(self.device)).cpu().numpy()


def forwards(domains: int, kind: str = NODES) -> int:
    """How many forwards every image takes in `faithfulness`, with so many domains."""
    kept = len(SHARES) - 1
    return 2 + domains * (kept + len(_removed(kind))) + (RANDOM_DRAWS + 1) * kept


@torch.inference_mode()
def faithfulness(
    learner: Learner,
    images: Images,
    scores: CellMeans,
    base: Baselines,
    readout: Readout,
    domains: Sequence[str],
    class_sets: Sequence[ClassSet],
    parts: Parts,
    device: torch.device,
    seed: int,
    bar: tqdm | None = None,
) -> pl.DataFrame:
    """Faithfulness of every domain's parts in every domain, with controls.

    Args:
        learner: a trained model.
        images: to test on, none of which had a part in `scores`; of all classes or of some, the
            same ones in every domain.
        scores: what parts add to the margin, per cell of other images; it has these domains and
            classes among others, by name.
        base: baselines of the parts' sites, per domain and class.
        readout: of all classes.
        domains: names along D of the baselines; every one is a source and a target.
        class_sets: of class ids; of each the classes that have images count.
        parts: what is ranked and taken away: nodes or edges.
        device: where to compute.
        seed: of random parts, and of which other class is the wrong one.
        bar: advanced by one per image and forward, `forwards(len(domains), kind)` for an image.

    Returns:
        The columns FAITHFULNESS. `own`: parts chosen on images of the target itself; `other`: of
        another domain; `complement`, of nodes alone: all but the source's, of which the share k is
        taken away; `random`: parts of every place by lot, as many as `own` has; `wrong_class`: the
        target's parts of another class. n counts classes.

    Raises:
        UserError: scores lack a class or a domain, or an image's domain is none of these.
        ValueError: a cell has no image.
    """
    named = images.samples.select("class_id", "class_name").unique().sort("class_id")
    names = named["class_name"].to_list()
    cells = scores.of_domains(list(domains)).of_classes(names)
    ranked = rank_nodes(cells, parts.places)
    learner.model.to(device).eval()
    tower = Tower(learner, readout.to(device), base, domains, parts, device)
    rng = np.random.default_rng(seed)
    wrong = _another(len(names), rng)
    numbers = images.domain_numbers(domains)
    rows: list[dict[str, Any]] = []
    for target, domain in enumerate(domains):
        shown = images.of(numbers == target)
        counts = _counts(shown, named["class_id"].to_numpy(), domain)
        trials = list(_trials(ranked, target, wrong, rng, _removed(parts.kind)))
        nothing = torch.zeros_like(trials[0].kept_CN)
        kept = [nothing, ~nothing, *(trial.kept_CN for trial in trials)]
        curves = _curves(trials, tower.margins(shown, kept, ranked, bar))
        result = Result(curves, named["class_id"].to_numpy(), counts)
        key = {"parts": parts.kind, "baseline": base.kind, "target": domain}
        rows += [key | row for row in _rows(result, class_sets, domains)]
    return pl.DataFrame(rows, schema=FAITHFULNESS)


def _removed(kind: str) -> tuple[float, ...]:
    return REMOVED if kind == NODES else ()


def _another(count: int, rng: np.random.Generator) -> np.ndarray:
    """For every class another one, each the other of one class; int [C]."""
    order = rng.permutation(count)
    other = np.empty(count, dtype=np.int64)
    other[order] = np.roll(order, 1)
    return other


def _counts(images: Images, ids: np.ndarray, domain: str) -> np.ndarray:
    """Images of every class, int [C].

    Raises:
        ValueError: a class has none.
    """
    labels = images.labels.numpy()
    counts = (labels[:, None] == ids).sum(axis=0)
    if not counts.all():
        missing = ids[counts == 0].tolist()
        raise ValueError(f"no image of the classes {missing} in {domain}, but in other domains")
    return counts


def _trials(
    ranked: Rankings,
    target: int,
    wrong: np.ndarray,
    rng: np.random.Generator,
    removed: Sequence[float],
) -> Iterator[Trial]:
    """All choices of parts that a target's images are shown with."""
    kept_shares = SHARES[:-1]  # the last is the whole network
    for source in range(len(ranked.places_DCN)):
        for share in kept_shares:
            circuit = OWN if source == target else OTHER
            yield Trial(circuit, source, share, ranked.kept(source, share))
        for share in removed:
            yield Trial(COMPLEMENT, source, share, ~ranked.kept(source, share))
    shape = ranked.places_DCN.shape[1:]
    lots = [torch.from_numpy(rng.random(shape)) for _ in range(RANDOM_DRAWS)]
    for share in kept_shares:
        own_CN = ranked.kept(target, share)
        if len(own_CN) > 1:
            yield Trial(WRONG, target, share, own_CN[wrong])
        for lots_CN in lots:
            yield Trial(RANDOM, target, share, ranked.at_random(own_CN, lots_CN))


def _curves(trials: Sequence[Trial], margins: np.ndarray) -> dict[tuple[str, int], Curve]:
    """Curves by circuit and source; those of kept parts end with the whole network.

    Args:
        trials: several of one circuit, source and share are draws, whose margins are averaged.
        margins: [2 + trials, C]; the first two are those without any part and with all.
    """
    empty_C, full_C = margins[:2]
    draws: dict[tuple[str, int], dict[float, list[np.ndarray]]] = {}
    for trial, found_C in zip(trials, margins[2:], strict=True):
        curve = draws.setdefault((trial.circuit, trial.source), {})
        curve.setdefault(trial.share, []).append(found_C)
    curves = {}
    for key, by_share in draws.items():
        means = {share: np.mean(found, axis=0) for share, found in by_share.items()}
        if key[0] != COMPLEMENT:
            means[SHARES[-1]] = full_C
        curves[key] = Curve(tuple(means), np.stack(list(means.values())), empty_C, full_C)
    return curves


def _rows(
    result: Result, class_sets: Sequence[ClassSet], domains: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Rows of one target, for every set of classes, circuit and source."""
    for chosen in class_sets:
        places = np.flatnonzero(np.isin(result.classes, chosen.members))
        counted = {"n": len(places), "n_images": int(result.images[places].sum())}
        for (circuit, source), curve in result.curves.items():
            key = {"source": domains[source], "circuit": circuit, "draw": chosen.draw}
            key |= {"classes": chosen.name, **counted}
            yield from (key | row for row in curve_rows(curve.of_classes(places)))
