"""The report's section on the features of sparse autoencoders; where a run has their tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from analysis.feature_images import notable_features
from analysis.report import sae_tables
from analysis.report.domain_matrices import pair_matrix
from analysis.report.sae_figures import entropy_figure, image_figure
from analysis.report.section import Chart, Table, Text
from analysis.report.sharing_heat import heat_figure, some_settings, some_sites
from analysis.report.sharing_tables import KEYS
from analysis.report.study import StudyResults
from analysis.report.summary import setting_label
from analysis.sae_features import DOMAIN, SHARED
from gen.datasets.decoding import decode

Parts = list[Text | Chart | Table]
MEASURE = "jaccard"
TITLES = {"Classes in many domains": SHARED, "Few domains, any class": DOMAIN}
"""kinds of features that are shown by their images"""
KEPT = [
    *("rate", "domain_entropy", "domain_entropy_chance", "class_entropy"),
    *("class_entropy_chance", "p_domain", "p_class", "kind", "top_domain", "top_class", "name"),
    *("name_cosine", "note"),
]
INTRODUCTION = (
    "A sparse autoencoder writes the activations of a layer as sums of a few of many features. "
    "It learns from all domains and classes alike, in three trainings that differ in their seed "
    "alone. A feature that fires for few classes, but in many domains, is a class feature that "
    "domains share; one that fires in few domains for any class is about the domain. What an "
    "autoencoder cannot reconstruct is in no feature: a domain with a low R² may share more than "
    "its features tell. Shared features are no evidence that the network uses them."
)
ENTROPY_NOTE = (
    "How to read it: a marker per feature, larger where it fires more often; rows are settings, "
    "columns are layers. Right: fires alike in all domains; up: alike for all classes. Lower "
    "right, green: classes in many domains; upper left: domains; lower left: single combinations. "
    "Fine dots: the same features with shuffled labels; a feature that fires on few images lies to "
    "the lower left by chance alone, and is called selective only where shuffling seldom is "
    "(Benjamini and Hochberg, 5 %). One autoencoder of one run per setting."
)
HEAT_NOTE = (
    "How to read it: Jaccard index of the strongest 5, 10, 15 and 20 features of a class in two "
    "domains (their mean), mean over classes; the diagonal is the ceiling, two halves of a "
    "domain's own images. A dot in the corner: the 95 % interval over classes reaches what "
    "different classes have in common. One autoencoder of one run per setting."
)
IMAGE_NOTE = (
    "How to read it: a row per feature, the test images with its largest codes from left to right. "
    "The largest codes alone: images in the middle of a feature's range may look otherwise."
)


def sae_parts(results: StudyResults) -> Parts:
    """What features fire for, which domains share them, and how far seeds agree."""
    features = sae_tables.features_by_target(results)
    if features.is_empty():
        return []
    sharing = sae_tables.sharing_by_target(results)
    parts: Parts = [Text(INTRODUCTION)]
    drawn, images = [], results.analyses["sae_images"]
    for test_domain in results.plan.test_domains:
        here = first_autoencoders(features.filter(test_domain=test_domain))
        if here:
            drawn += [
                rows.select(*KEYS, "level", "site", "depth", "sae_seed", "feature", *KEPT)
                for rows in here.values()
            ]
            parts += _charts(results, test_domain, here, sharing)
            parts += _image_charts(test_domain, here, images)
    shares, stable = sae_tables.kind_shares(features), sae_tables.stability(results)
    paired = sae_tables.sharing_with_test(sharing)
    return [
        *parts,
        Table("sae_kinds", shares, sae_tables.kinds_view(shares, stable)),
        Table("sae_sharing", sharing),
        Table("sae_sharing_test", paired, sae_tables.sharing_view(paired)),
        Table("sae_stability", stable),
        Table("sae_naming", sae_tables.naming(features)),
        Table("sae_features", pl.concat(drawn)),
    ]


def first_autoencoders(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """By setting the rows of its first run, and there of the first autoencoder of every site."""
    found = {}
    for (setting,), of_setting in rows.group_by("setting", maintain_order=True):
        first = of_setting.row(0, named=True)
        one = of_setting.filter(run=first["run"], sae_seed=of_setting["sae_seed"].min())
        found[str(setting)] = one
    return found


def _charts(
    results: StudyResults,
    test_domain: str,
    here: Mapping[str, pl.DataFrame],
    sharing: pl.DataFrame,
) -> Parts:
    sites = some_sites(here[some_settings(here)[0]])
    pairs = first_autoencoders(
        sharing.filter(pl.col("classes") == "all", test_domain=test_domain, measure=MEASURE)
    )
    domains = results.plan.domains
    label = f"Features by the domains and classes that they fire for, test domain {test_domain}"
    shared = f"Features that domains share, test domain {test_domain}"
    heat = heat_figure(pairs, sites, domains, pair_matrix(domains, "floor"), "Jaccard index")
    return [
        Chart(
            f"sae-features-{test_domain}",
            entropy_figure(here, sites),
            "sae_features",
            label,
            ENTROPY_NOTE + _drawn(here),
        ),
        Chart(f"sae-sharing-{test_domain}", heat, "sae_sharing", shared, HEAT_NOTE + _drawn(pairs)),
    ]


def _drawn(panels: Mapping[str, pl.DataFrame]) -> str:
    """Which settings are drawn, where there are too many for a figure."""
    names = some_settings(panels)
    if len(names) == len(panels):
        return ""
    named = "; ".join(setting_label(name) for name in names)
    return f" {len(names)} of {len(panels)} settings are drawn ({named}); all are in the CSV."


def _image_charts(
    test_domain: str, here: Mapping[str, pl.DataFrame], images: pl.DataFrame
) -> Parts:
    """The features of the last setting that is drawn, at its last site, by their images."""
    setting = some_settings(here)[-1]
    rows = here[setting]
    last = rows.filter(pl.col("depth") == pl.col("depth").max())
    groups = {
        title: [
            (_described(row), _images_of(row, images))
            for row in notable_features(last, kind).iter_rows(named=True)
        ]
        for title, kind in TITLES.items()
    }
    label = (
        f"Images of features at the last layer, {setting_label(setting)}, test domain {test_domain}"
    )
    shown = {title: features for title, features in groups.items() if features}
    figure = image_figure(shown) if shown else None
    return [Chart(f"sae-images-{test_domain}", figure, "sae_features", label, IMAGE_NOTE)]


def _images_of(row: Mapping, images: pl.DataFrame) -> list[np.ndarray]:
    """The images of a feature, largest code first; a run's tables have them all."""
    of_run = images.filter(pl.col("id").is_in(row["top_images"]), run=row["run"])
    known = dict(of_run.select("id", "png").iter_rows())
    return [decode(known[name]) for name in row["top_images"] if name in known]


def _described(row: Mapping) -> str:
    named = f", nearest text “{row['name']}”" if row["name"] else ""
    mostly = row["top_class"] if row["kind"] == SHARED else row["top_domain"]
    return (
        f"Feature {row['feature']}: mostly {mostly}{named}; entropy over domains "
        f"{row['domain_entropy']:.2f}, over classes {row['class_entropy']:.2f}"
    )
