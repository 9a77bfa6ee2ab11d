"""What a linear probe reads off every site of a network, with all labels and with a few.

A probe is fitted on images of the test domain (is the information there?) and on photographs (does
a boundary drawn on photographs hold in the test domain?); docs/probes.md has the protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from tqdm import tqdm

from analysis.linear_probe import LinearProbe, fit_probe, fit_searched
from analysis.probe_images import most_shots, shots_part, validation_part
from gen.evaluation.metrics import balanced_accuracy

FEW_SHOT_C = 1.0
"""fixed: one chosen on more images than the shots would leak their labels"""
PROBES: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "depth": pl.Int64, "trained_on": pl.String, "domain": pl.String},
    **{"kind": pl.String, "shots": pl.Int64, "seed": pl.Int64, "c": pl.Float64},
    **{"draw": pl.Int64, "classes": pl.String, "value": pl.Float64, "lo": pl.Float64},
    **{"hi": pl.Float64, "n": pl.Int64, "n_classes": pl.Int64, "chance": pl.Float64},
}


@dataclass(frozen=True)
class Activations:
    """What a model shows of images.

    Attributes:
        samples: the images' rows (`id`, `domain`, `class_id`, `class_name`, `instance`).
        sites: by site, in the order of an image, float32 [N, U].
    """

    samples: pl.DataFrame
    sites: dict[str, np.ndarray]

    def of(self, domain: str) -> Activations:
        """Those of one domain."""
        mask = (self.samples["domain"] == domain).to_numpy()
        chosen = {site: values[mask] for site, values in self.sites.items()}
        return Activations(self.samples.filter(mask), chosen)

    @property
    def labels(self) -> np.ndarray:
        return self.samples["class_id"].to_numpy()


@dataclass(frozen=True)
class ProbePlan:
    """Which probes are fitted and where they are tested.

    Attributes:
        test_domains: of the run.
        natural: the domain of photographs.
        shots: images per class of the few-shot curve.
        seeds: draws of the curve's images.
        draws: names of the held-out classes of every draw.
        classes: number of classes of the dataset.
    """

    test_domains: Sequence[str]
    natural: str
    shots: Sequence[int]
    seeds: int
    draws: Mapping[int, Sequence[str]]
    classes: int

    @property
    def domains(self) -> list[str]:
        """Domains whose images are needed, for fitting and for testing."""
        return list(dict.fromkeys([*self.test_domains, self.natural]))

    @property
    def probes_per_site(self) -> int:
        """At most: shots that a domain lacks are left out."""
        return len(self.domains) * (1 + len(self.shots) * self.seeds)

    def tested_on(self, domain: str) -> list[str]:
        """Domains on which a probe of this domain's images is tested."""
        return self.domains if domain == self.natural else [domain]


def linear_probes(
    pool: Activations, tested: Activations, plan: ProbePlan, bar: tqdm | None = None
) -> pl.DataFrame:
    """Fit and test all probes of a model (docs/formats.md: probes.parquet).

    Args:
        pool: of `probe_images.probe_pool`, every domain of the plan.
        tested: all test images of the same domains and sites.
        plan: what to fit.
        bar: advanced by one per probe.

    Raises:
        ValueError: an image stands in both, or a domain has images of fewer than two classes.
    """
    if set(pool.samples["id"]) & set(tested.samples["id"]):
        raise ValueError("images on which probes are fitted are tested, too")
    tests = {domain: tested.of(domain) for domain in plan.domains}
    rows = []
    for trained_on in plan.domains:
        shown = pool.of(trained_on)
        validation = validation_part(shown.samples)
        for depth, site in enumerate(shown.sites):
            for key, probe in _probes(shown, site, validation, plan):
                place = {"site": site, "depth": depth, "trained_on": trained_on, **key}
                for domain in plan.tested_on(trained_on):
                    right = probe.predict(tests[domain].sites[site]) == tests[domain].labels
                    scores = _scores(right, tests[domain].samples, plan)
                    rows += [{**place, "domain": domain, "c": probe.c, **row} for row in scores]
                if bar is not None:
                    bar.update()
    return pl.DataFrame(rows, schema=PROBES)


def _probes(
    shown: Activations, site: str, validation: np.ndarray, plan: ProbePlan
) -> Iterator[tuple[dict, LinearProbe]]:
    """The probes of one site and one domain's images: that of all, and the few-shot ones."""
    features, labels = shown.sites[site], shown.labels
    full = fit_searched(features, labels, validation)
    yield {"kind": "full", "shots": None, "seed": 0}, full
    there = most_shots(shown.samples)
    for seed in range(plan.seeds):
        for shots in (k for k in plan.shots if k <= there):
            few = shots_part(shown.samples, shots, seed)
            probe = fit_probe(features[few], labels[few], FEW_SHOT_C)
            yield {"kind": "few_shot", "shots": shots, "seed": seed}, probe


def _scores(right: np.ndarray, samples: pl.DataFrame, plan: ProbePlan) -> Iterator[dict]:
    """Balanced accuracy per draw and class set, over all classes to choose from."""
    labels = samples["class_id"].to_numpy()
    for draw, held_out in sorted(plan.draws.items()):
        is_held_out = samples["class_name"].is_in(list(held_out)).to_numpy()
        everything = np.ones_like(is_held_out)
        sets = {"held_out": is_held_out, "seen": ~is_held_out, "all": everything}
        for name, mask in sets.items():
            if mask.any():
                estimate = balanced_accuracy(right[mask], labels[mask])
                yield {
                    "draw": draw,
                    "classes": name,
                    "value": estimate.value,
                    "lo": estimate.lo,
                    "hi": estimate.hi,
                    "n": estimate.n,
                    "n_classes": estimate.n_classes,
                    "chance": 1 / plan.classes,
                }
