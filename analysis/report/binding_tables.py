"""What is known of binding: results → tables.

Rows of `analysis.binding.family` become named measures; nothing is averaged but the binding
function over its splits, by `analysis.binding.complexity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from analysis.binding.complexity import curves
from analysis.report.schemas import SCORED
from analysis.report.study import StudyResults
from gen.scenes.coverage import Part

RUN = ["run", "setting", "seed", "objects"]
SEEN, NOVEL, ANY = Part.train.name, Part.unseen.name, "all"
PARTS = {SEEN: "objects that training showed", NOVEL: "unseen objects", ANY: "all scenes"}
"""parts that are shown, with words; ANY where the model's training is not known"""


class Measure(NamedTuple):
    """A score that readers see.

    Attributes:
        label: in words.
        rows: which rows of the table it is, by column.
        bound: what a bag of concepts reaches, of the columns of a row.
    """

    label: str
    rows: Mapping[str, Any]
    bound: pl.Expr = pl.col("floor")


HALF = pl.lit(0.5)
"""of balanced scenes a bag has one half at most: of a scene and its swap it knows one"""
ALL_BUT_ONE = 1 - 1 / pl.col("objects")
"""of a scene's attributes in balanced scenes: the swap exchanges two, of which one can be known"""


def _probe(kind: str, protocol: str, fitted: str, side: str) -> dict[str, Any]:
    """Rows of a probe; of objects on balanced scenes."""
    rows = {"aspect": "recognition", "protocol": protocol, "fitted": fitted, "side": side}
    of_objects = {"bank": "full", "balanced": True} if kind == "object" else {}
    return rows | {"kind": kind} | of_objects


CONCEPTS, ACROSS, WITHIN = "replaced", "swap", "attribute_images"
MEASURES: dict[str, Measure] = {
    CONCEPTS: Measure("caption with one value replaced", {"score": "replaced"}),
    ACROSS: Measure("caption with a value swapped", {"score": "swap"}),
    "mapped": Measure("swapped, after a learned map", {"aspect": "map", "mapped": True}),
    "unmapped": Measure("swapped, same scenes without it", {"aspect": "map", "mapped": False}),
    "recall": Measure("first among all captions", {"score": "R@1"}),
    "reversed": Measure("first is the swap (an error)", {"score": "reversed"}),
    "concept_images": Measure(
        "concepts, probe on images", _probe("concept", "scenes", "images", "images")
    ),
    "concept_texts": Measure(
        "concepts, probe on captions", _probe("concept", "scenes", "texts", "texts")
    ),
    "object_images": Measure(
        "objects, probe on images", _probe("object", "scenes", "images", "images"), HALF
    ),
    "object_texts": Measure(
        "objects, probe on captions", _probe("object", "scenes", "texts", "texts"), HALF
    ),
    "object_transfer": Measure(
        "objects, captions' probe on images",
        _probe("object", "transfer", "texts", "images"),
        HALF,
    ),
    WITHIN: Measure(
        "a noun's attribute, images",
        {"aspect": "attribute", "side": "images", "balanced": True},
        ALL_BUT_ONE,
    ),
    "attribute_texts": Measure(
        "a noun's attribute, captions",
        {"aspect": "attribute", "side": "texts", "balanced": True},
        ALL_BUT_ONE,
    ),
}
"""in the order in which one reads: across modalities, then within each"""
BEHAVIOUR: dict[str, Any] = {
    **{"run": pl.String, "setting": pl.String, "seed": pl.Int64, "objects": pl.Int64},
    **{"measure": pl.String, "part": pl.String},
    **{name: kind for name, kind in SCORED.items() if name != "bag_best"},
    "bag": pl.Float64,
}


def behaviour(results: StudyResults) -> pl.DataFrame:
    """The columns BEHAVIOUR: every measure of every run, number of objects and part.

    `bag` is what a bag of concepts reaches at most, `floor` where it guesses.
    """
    table = results.analyses["binding"].filter(pl.col("part").is_in(list(PARTS)))
    parts = [
        table.filter(**dict(measure.rows)).select(
            *RUN,
            pl.lit(name).alias("measure"),
            "part",
            *(column for column in SCORED if column != "bag_best"),
            pl.when(pl.col("value").is_not_null()).then(measure.bound).alias("bag"),
        )
        for name, measure in MEASURES.items()
    ]
    order = {name: place for place, name in enumerate(results.runs["run"])}
    rank = pl.col("run").replace_strict(order, default=len(order), return_dtype=pl.Int64)
    columns = [pl.col(name).cast(kind) for name, kind in BEHAVIOUR.items()]
    found = pl.concat(parts, how="vertical_relaxed").select(columns)
    return found.sort(rank, "objects", maintain_order=True)


def function_curves(results: StudyResults) -> pl.DataFrame:
    """Means over splits of what every class of functions predicts for unseen objects.

    Columns: RUN, then those of `analysis.binding.complexity.curves`.
    """
    table = results.analyses["binding_function"].filter(part=NOVEL)
    rows: list[dict[str, Any]] = []
    for key, group in table.group_by(RUN, maintain_order=True):
        names = dict(zip(RUN, key, strict=True))
        rows += [names | row for row in curves(group.drop(RUN).to_dicts())]
    return pl.DataFrame(rows, infer_schema_length=None)


def function_rows(results: StudyResults, side: str) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Rows of binding functions of one side, by run and number of objects."""
    table = results.analyses["binding_function"].filter(side=side)
    return {
        (key[0], key[1]): group.to_dicts()
        for key, group in table.group_by(["run", "objects"], maintain_order=True)
    }


def novel_part(parts: Sequence[str]) -> str:
    """The part that asks for binding: unseen objects, or all scenes where nothing is known."""
    return NOVEL if NOVEL in parts else ANY
