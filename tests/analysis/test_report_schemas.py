"""The report reads what the analyses write."""

import polars as pl
import pytest

from analysis import (
    attribution_quality,
    autoencoders,
    decodability,
    domain_distances,
    domain_similarity,
    effects,
    embedding_maps,
    factorization,
    faithfulness,
    lens,
    replication,
    transfer,
)
from analysis.report.schemas import ANALYSES, REMEDIES, STORED
from gen.runs import ANALYSES as TABLES_OF_KIND

WRITTEN = {
    "similarity": domain_similarity.SIMILARITY | {"samples_seen": pl.Int64, "final": pl.Boolean},
    "factorization": factorization.FACTORIZATION,
    "transfer": transfer.TRANSFER,
    "decodability": decodability.DECODABILITY,
    "lens": lens.LENS,
    "sae": autoencoders.FEATURES,
    "sae_sharing": autoencoders.SHARING,
    "maps": embedding_maps.MAPS,
    "map_distances": domain_distances.MAP_DISTANCES,
    "published": replication.PUBLISHED,
    "published_circuits": replication.PUBLISHED,
    "circuit_sharing": domain_similarity.SIMILARITY,
    "modality_sharing": domain_similarity.SIMILARITY,
    "modality_gaps": domain_distances.MAP_DISTANCES,
    "attribution_quality": attribution_quality.ATTRIBUTION_QUALITY,
    "faithfulness": faithfulness.FAITHFULNESS,
    "causes": effects.CAUSES,
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_table_is_read_with_the_columns_and_types_that_are_written(name):
    read = {STORED.get(column, column): kind for column, kind in ANALYSES[name].items()}
    assert read == WRITTEN[name]


def test_every_table_of_every_family_is_read_and_has_a_remedy():
    tables = {name for names in TABLES_OF_KIND.values() for name in names}
    assert tables == set(ANALYSES)
    assert {f"analysis/{name}.parquet" for name in tables} < set(REMEDIES)
