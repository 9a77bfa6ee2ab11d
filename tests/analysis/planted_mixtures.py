"""Small mixtures with planted counts, as their files."""

import json

import numpy as np
import polars as pl

DOMAINS = ["real", "clipart", "quickdraw"]
CLASSES = ["axe", "bed", "cat & <dog>", "$x$"]
HELD_OUT = ["bed"]
HIGH = [[30, 20, 10, 40], [7, 6, 5, 4], [90, 0, 80, 70]]
LOW = [[60, 50, 40, 70], [0, 0, 0, 0], [120, 0, 110, 100]]


def manifest_of(realised, *, name="cg_high_diversity", held_out=HELD_OUT, domains=DOMAINS, **facts):
    """Content of manifest.json for test domain quickdraw; half of what it asks for is realised."""
    realised = np.array(realised)
    return {
        "setting": name,
        "rule": {"name": name, "description": "every domain", "others": 1.0, "cells": []},
        "test_domain": "quickdraw",
        "draw": 0,
        "natural": "real",
        "domains": domains,
        "classes": CLASSES,
        "held_out": held_out,
        "budget": {"rule": "published", "seed": 0, "size": 1234, "total": 0, "top_up": False},
        "caption": "caption",
        "base": None,
        "exposure": (realised > 0).astype(float).tolist(),
        "available": (4 * realised).tolist(),
        "requested": (2 * realised).tolist(),
        "realised": realised.tolist(),
        "trimmed": (realised // 10).tolist(),
        "notes": ["every cell was shrunk by 0.5"],
        "size": int(realised.sum()),
        "dataset_sha256": "d" * 64,
        "sha256": f"{int(realised.sum()):064d}",
    } | facts


def ids_of(realised):
    """As many ids per cell as it says; a smaller count is part of a larger one."""
    return pl.DataFrame(
        [
            (f"{domain}/{name}/{number}", domain, name)
            for domain, row in zip(DOMAINS, realised, strict=True)
            for name, count in zip(CLASSES, row, strict=True)
            for number in range(count)
        ],
        schema=["id", "domain", "class_name"],
        orient="row",
    )


def save(folder, manifest, ids=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if ids is not None:
        ids.write_parquet(folder / "mixture.parquet")
