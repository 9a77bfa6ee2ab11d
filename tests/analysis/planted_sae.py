"""The tables of autoencoders of a planted run: real measures of planted codes."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
from planted_sharing import DIVERSE
from planted_tables import CLASSES, DOMAINS, SITES, planted_setting
from scipy.sparse import csr_array

from analysis.autoencoders import FEATURES, SHARING, early_middle_last
from analysis.class_sets import class_sets
from analysis.feature_images import SAE_IMAGES
from analysis.report.study_plan import PlannedRun, StudyPlan
from analysis.sae_codes import Coded, Places
from analysis.sae_features import feature_rows, top_images
from analysis.sae_sharing import sharing_rows, stability_rows
from gen.datasets.shards import encode_png

PER_CELL, PER_CLASS, SEEDS, UNITS = 6, 6, (0, 1), 20
D, C = len(DOMAINS), len(CLASSES)


def sae_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/sae.parquet: features of classes, of domains, of both and of nothing."""
    return _tables(_is_diverse(run), plan.draws)[0]


def sae_sharing_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/sae_sharing.parquet: diverse settings share more, quickdraw less than others."""
    return _tables(_is_diverse(run), plan.draws)[1]


def sae_images_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/sae_images.parquet: a grey square for every image."""
    shades = (np.full((16, 16, 3), i % 256, dtype=np.uint8) for i in range(len(image_ids())))
    return pl.DataFrame({"id": image_ids(), "png": map(encode_png, shades)}, schema=SAE_IMAGES)


PLANTERS = {"sae": sae_of, "sae_sharing": sae_sharing_of, "sae_images": sae_images_of}


def _is_diverse(run: PlannedRun) -> bool:
    return planted_setting(run.setting) in DIVERSE


def image_ids() -> list[str]:
    return [f"image-{i}" for i in range(D * C * PER_CELL)]


def places() -> Places:
    cell = np.repeat(np.arange(D * C), PER_CELL)
    return Places(cell // C, cell % C, D, C)


def codes(shared: float, seed: int) -> csr_array:
    """Of the features of a class in a domain, `shared` are the same in every domain."""
    rng, where = np.random.default_rng(seed), places()
    of_class = rng.random((len(where.cell_N), C, PER_CLASS)) < 0.6
    of_cell = rng.random((len(where.cell_N), D * C, PER_CLASS)) < 0.6
    of_class &= (where.class_N[:, None] == np.arange(C))[:, :, None]
    of_cell &= (where.cell_N[:, None] == np.arange(D * C))[:, :, None]
    of_class &= np.arange(PER_CLASS) < shared * PER_CLASS
    of_cell &= np.arange(PER_CLASS) >= shared * PER_CLASS
    of_domain = where.domain_N[:, None] == np.arange(D)
    rare = rng.random((len(where.cell_N), 20)) < 0.01
    dense = rng.random((len(where.cell_N), 4)) < 0.5
    silent = np.zeros((len(where.cell_N), 3), dtype=bool)
    parts = [x.reshape(len(x), -1) for x in (of_class, of_cell, of_domain, rare, dense, silent)]
    fires = np.concatenate(parts, axis=1)
    return csr_array((fires * rng.uniform(1, 2, fires.shape)).astype(np.float32))


@cache
def _tables(diverse: bool, draws: tuple) -> tuple[pl.DataFrame, pl.DataFrame]:
    features, sharing = [], []
    sets = class_sets(CLASSES, dict(enumerate(draws)))
    for site in early_middle_last(SITES):
        where = {"site": site, "level": "residual", "depth": SITES.index(site)}
        shared = 0.2 + 0.3 * where["depth"] / (len(SITES) - 1) + 0.3 * diverse
        for seed in SEEDS:
            values = codes(shared, seed)
            rng = np.random.default_rng(seed)
            table = feature_rows(values, places(), DOMAINS, CLASSES, rng)
            named = pl.col("top_class") if site == SITES[-1] else pl.lit(None, dtype=pl.String)
            table = table.with_columns(
                pl.Series("top_images", top_images(values, image_ids())),
                *(pl.lit(value).alias(key) for key, value in (where | {"seed": seed}).items()),
                name=named,
                name_cosine=pl.when(named.is_not_null()).then(0.5),
            )
            features.append(table.select(list(FEATURES)).cast(FEATURES))
            coded = Coded(values, *_moments())
            rows = sharing_rows(coded, places(), DOMAINS, sets)
            sharing += [where | {"seed": seed} | row for row in rows]
        rng = np.random.default_rng(0)
        decoders = {seed: np.linalg.qr(rng.normal(size=(UNITS, UNITS)))[0] for seed in SEEDS}
        sharing += [where | row for row in stability_rows(decoders, rng)]
    return pl.concat(features), pl.DataFrame(sharing, schema=SHARING)


def _moments() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R² of 0.7 in the first domain, 0.1 less in every next one."""
    error = np.repeat(0.3 + 0.1 * np.arange(D)[:, None], C, axis=1)
    return error, np.ones((D, C)), np.zeros((D, C, UNITS))
