"""The tables of a run that a report reads: their columns, and how they are made again."""

from __future__ import annotations

from typing import Any

import polars as pl

Schema = dict[str, Any]
RUN_COLUMNS: Schema = {"run": pl.String, "setting": pl.String, "seed": pl.Int64}
"""the columns that name the run, in front of those of its tables"""
STORED = {"probe_seed": "seed", "sae_seed": "seed"}
"""columns that have another name in the file: no seed of these is that of the run"""

PREDICTIONS: Schema = {
    "id": pl.String,
    "split": pl.String,
    "domain": pl.String,
    "class_name": pl.String,
    "label": pl.Int64,
    "correct": pl.Boolean,
    "confidence": pl.Float32,
    "checkpoint": pl.Categorical,  # 64 letters, the same in every row of a run
}
CELLS: Schema = {
    "split": pl.String,
    "domain": pl.String,
    "class_name": pl.String,
    "label": pl.Int64,
    "n": pl.Int64,
    "correct": pl.Int64,
    "value": pl.Float64,
    "lo": pl.Float64,
    "hi": pl.Float64,
    "mistaken_for": pl.String,
    "mistaken": pl.Int64,
}
PROBES: Schema = {
    "site": pl.String,
    "depth": pl.Int64,
    "trained_on": pl.String,
    "domain": pl.String,
    "kind": pl.String,
    "shots": pl.Int64,
    "probe_seed": pl.Int64,
    "c": pl.Float64,
    "draw": pl.Int64,
    "classes": pl.String,
    "value": pl.Float64,
    "lo": pl.Float64,
    "hi": pl.Float64,
    "n": pl.Int64,
    "n_classes": pl.Int64,
    "chance": pl.Float64,
}
TEXT_ROBUSTNESS: Schema = {
    **{"disturbance": pl.String, "strength": pl.Int64, "text_draw": pl.Int64},
    **{"split": pl.String, "domain": pl.String, "draw": pl.Int64, "classes": pl.String},
    **dict.fromkeys(["value", "lo", "hi"], pl.Float64),
    **{"n": pl.Int64, "n_classes": pl.Int64, "chance": pl.Float64},
    **dict.fromkeys(["difference", "difference_lo", "difference_hi"], pl.Float64),
    **{"unreadable": pl.Float64, "note": pl.String},
}
TEXT_PROBES: Schema = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "task": pl.String},
    **{"quantity": pl.String, "value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64},
    **{"n": pl.Int64, "n_classes": pl.Int64, "chance": pl.Float64, "note": pl.String},
}
METRICS: Schema = {
    "step": pl.Int64,
    "samples_seen": pl.Int64,
    "loss": pl.Float64,
    "loss_floor": pl.Float64,
}
_SITE: Schema = {"site": pl.String, "level": pl.String, "depth": pl.Int64}
_PAIR: Schema = {"domain_a": pl.String, "domain_b": pl.String}
_SET: Schema = {"draw": pl.Int64, "classes": pl.String}
_ESTIMATE: Schema = {"value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64}
_BAND: Schema = dict.fromkeys(["chance", "chance_lo", "chance_hi"], pl.Float64)
_NOTE: Schema = {"note": pl.String}

SIMILARITY: Schema = {
    **{"samples_seen": pl.Int64, "final": pl.Boolean},
    **_SITE,
    **_PAIR,
    **{"measure": pl.String},
    **_SET,
    **_ESTIMATE,
    **_BAND,
    **dict.fromkeys(["ceiling", "floor"], pl.Float64),
    **_NOTE,
    **{"left_out": pl.List(pl.Float32)},
}
FACTORIZATION: Schema = {
    **_SITE,
    **{"test_domain": pl.String, "draw": pl.Int64, "quantity": pl.String},
    **_ESTIMATE,
    **{"chance": pl.Float64},
    **_NOTE,
}
TRANSFER: Schema = {
    **_SITE,
    **{"trained_on": pl.String, "domain": pl.String},
    **_SET,
    **_ESTIMATE,
    **{"n_classes": pl.Int64, "chance": pl.Float64, "within": pl.Float64},
    **_NOTE,
}
DECODABILITY: Schema = {**_SITE, **{"quantity": pl.String}, **_ESTIMATE, **_BAND, **_NOTE}
LENS: Schema = {
    **_SITE,
    **{"lens": pl.String, "test_domain": pl.String, "domain": pl.String},
    **_SET,
    **_ESTIMATE,
    **{"n_classes": pl.Int64},
    **dict.fromkeys(["chance", "own", "kept", "kept_lo", "kept_hi"], pl.Float64),
    **_NOTE,
}
SAE: Schema = {
    **_SITE,
    **{"sae_seed": pl.Int64, "feature": pl.Int64, "rate": pl.Float64},
    **dict.fromkeys(["domain_entropy", "domain_entropy_chance"], pl.Float64),
    **dict.fromkeys(["class_entropy", "class_entropy_chance"], pl.Float64),
    **dict.fromkeys(["p_domain", "p_class"], pl.Float64),
    **dict.fromkeys(["kind", "top_domain", "top_class", "name"], pl.String),
    **{"name_cosine": pl.Float64, "top_images": pl.List(pl.String)},
    **_NOTE,
}
SAE_SHARING: Schema = {
    **_SITE,
    **{"sae_seed": pl.Int64},
    **_PAIR,
    **_SET,
    **{"measure": pl.String, "k": pl.Int64},
    **_ESTIMATE,
    **dict.fromkeys(["chance", "ceiling", "floor", "r2_a", "r2_b"], pl.Float64),
    **_NOTE,
}
SAE_IMAGES: Schema = {"id": pl.String, "png": pl.Binary}
MAPS: Schema = {
    **_SITE,
    **dict.fromkeys(["method", "id", "domain", "class_name"], pl.String),
    **dict.fromkeys(["x", "y", "explained"], pl.Float64),
}
MAP_DISTANCES: Schema = {**_SITE, **{"quantity": pl.String}, **_PAIR, **_ESTIMATE, **_NOTE}
PUBLISHED: Schema = {
    **{"measure": pl.String},
    **_SITE,
    **_PAIR,
    **_SET,
    **dict.fromkeys(["value", "ours", "ours_lo", "ours_hi"], pl.Float64),
    **{"n": pl.Int64},
    **_NOTE,
}
CIRCUIT_SHARING: Schema = {
    name: kind for name, kind in SIMILARITY.items() if name not in ("samples_seen", "final")
}
MODALITY_MEASURES = ("cka_nc", "cka", "s_id_nc", "s_id", "jaccard_norm", "jaccard")
"""of `modality_sharing` that a report reads: without one basis, in one, of nodes"""
CIRCUIT_MEASURES = ("jaccard_norm", "jaccard", "spearman", "cosine_nc", "css")
"""of `circuit_sharing` that a report reads, its primary one and the raw one first"""
ATTRIBUTION_QUALITY: Schema = {
    **_SITE,
    **dict.fromkeys(["score", "baseline"], pl.String),
    **dict.fromkeys(["spearman", "spearman_lo", "spearman_hi", "jaccard"], pl.Float64),
    **dict.fromkeys(["n", "n_images"], pl.Int64),
    **_NOTE,
}
FAITHFULNESS: Schema = {
    **dict.fromkeys(["parts", "baseline", "source", "target", "circuit"], pl.String),
    **_SET,
    **{"quantity": pl.String, "k": pl.Float64},
    **_ESTIMATE,
    **{"n_images": pl.Int64},
    **_NOTE,
}
CIRCUIT_PARTS: Schema = {
    **dict.fromkeys(["class_name", "domain", "kind", "source", "target"], pl.String),
    **{"node": pl.Int64, "value": pl.Float64},
}
CAUSE_QUANTITIES = (
    *("interchange_accuracy", "kept_accuracy", "steered_accuracy", "shifted_accuracy"),
    *("accuracy", "margin_loss", "shared_minus_private", "nodes"),
)
"""of `causes` that a report reads, by class set"""
CAUSE_DEPARTURES = ("knn_distance", "steered_knn_distance")
"""how far patched states are from real ones, of which a report reads those without control"""
CAUSES: Schema = {
    **{"test": pl.String},
    **_SITE,
    **dict.fromkeys(["source", "target"], pl.String),
    **_SET,
    **{"dose": pl.Float64},
    **dict.fromkeys(["control", "quantity"], pl.String),
    **_ESTIMATE,
    **{"n_classes": pl.Int64, "chance": pl.Float64},
    **_NOTE,
}
SCORED: Schema = {
    **dict.fromkeys(["value", "lo", "hi"], pl.Float64),
    **{"n": pl.Int64, "floor": pl.Float64, "chance": pl.Float64, "bag_best": pl.Float64},
    **{"clusters": pl.Int64, "reason": pl.String},
}
"""fields of `analysis.binding.shares.Share`, and what a bag of concepts reaches at most"""
BINDING: Schema = {
    **{"objects": pl.Int64, "aspect": pl.String, "score": pl.String, "part": pl.String},
    **dict.fromkeys(["protocol", "fitted", "side", "kind", "bank"], pl.String),
    **{"balanced": pl.Boolean, "negatives": pl.Int64, "mapped": pl.Boolean},
    **{"estimator": pl.String, "level": pl.Int64, "edit": pl.String},
    **{"removed": pl.String, "permuted": pl.Boolean},
    **SCORED,
}
"""columns of `binding`; those that a row's aspect does not know are null"""
BINDING_FUNCTION: Schema = {
    **{"objects": pl.Int64, "side": pl.String, "class": pl.String, "width": pl.Int64},
    **{"fraction": pl.Float64, "split_seed": pl.Int64, "part": pl.String, "bank": pl.String},
    **{"kind": pl.String, **SCORED, "known": pl.Float64},
    **dict.fromkeys(("ceiling", "ceiling_lo", "ceiling_hi"), pl.Float64),
}
BINDING_MODELS: Schema = {
    **{"run": pl.String, "model": pl.String, "group": pl.String},
    **{"objects": pl.Int64, "part": pl.String},
    **{
        f"{measure}{end}": pl.Int64 if end == "_n" else pl.Float64
        for measure in ("replaced", "swap", "attribute_images", "held", "carried")
        for end in ("", "_n", "_lo", "_hi", "_bag")
    },
    "carrier": pl.String,
    **{"simplest": pl.String, "fraction": pl.Float64, "why": pl.String},
}
"""a model in words, the group that shares its colour; what it makes of scenes of the fewest objects
(`binding_tables.MEASURES`, with what a bag reaches); objects that probes find in embeddings of
images (held), and in what the best class of functions, the carrier, predicts of objects that it was
not fitted on (carried, `complexity.best_carried`); the simplest class of functions that carries the
objects, the share of fitted ones, or why there is none"""
ANALYSES: dict[str, Schema] = {
    "similarity": SIMILARITY,
    "factorization": FACTORIZATION,
    "transfer": TRANSFER,
    "decodability": DECODABILITY,
    "lens": LENS,
    "sae": SAE,
    "sae_sharing": SAE_SHARING,
    "sae_images": SAE_IMAGES,
    "maps": MAPS,
    "map_distances": MAP_DISTANCES,
    "published": PUBLISHED,
    "published_circuits": PUBLISHED,
    "circuit_sharing": CIRCUIT_SHARING,
    "modality_sharing": CIRCUIT_SHARING,
    "modality_gaps": MAP_DISTANCES,
    "binding": BINDING,
    "binding_function": BINDING_FUNCTION,
    "attribution_quality": ATTRIBUTION_QUALITY,
    "faithfulness": FAITHFULNESS,
    "circuit_parts": CIRCUIT_PARTS,
    "causes": CAUSES,
}
"""by name of the table in a run's folder `analysis/`"""

EVALUATED = "`clipgen evaluate STUDY --run …` makes it again"
ANALYZED = "`clipgen analyze STUDY --run …` makes it again"
REMEDIES = {
    "predictions.parquet": EVALUATED,
    "evaluation.parquet": EVALUATED,
    "cells.parquet": EVALUATED,
    "text_robustness.parquet": EVALUATED,
    "analysis/probes.parquet": ANALYZED,
    "analysis/text_probes.parquet": ANALYZED,
    **{f"analysis/{name}.parquet": ANALYZED for name in ANALYSES},
    "metrics.jsonl": "it was written while training and cannot be made again",
}
"""every table of a run that a report reads, and how it is made again"""
