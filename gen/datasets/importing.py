"""Import a dataset: pack any listing of images that are there already into shards and tables.

A lister (`gen.datasets.folder`, `gen.datasets.captioned`) says which images there are;
`gen.datasets.chunks` decodes and packs them, a thousand at a time; this file puts the dataset
together. What is bad is left out, listed with its reason, and stops the import above a threshold.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from gen.config import CONFIGS, load_config, make_config, resolved
from gen.datasets.captions import CAPTIONS_FILE, domain_nouns
from gen.datasets.chunks import (
    Packing,
    chunks_of,
    forget_mended,
    pack_chunk,
    rejected_of,
    write_chunks,
)
from gen.datasets.listing import LISTING, SPLITS
from gen.datasets.packing import ROWS_PER_GROUP, WHOLE, build, join_parts, run_jobs
from gen.datasets.samples import SCHEMA_VERSION
from gen.schema import DatasetKind, ImportConfig
from splits.errors import UserError, unknown
from splits.files import replacing, write_json
from splits.settings import World

IMPORTER_VERSION = 1
"""raised whenever the same images give other bytes or captions"""

MIN_PIXELS = 8
NEEDED = ("natural", "pixels")
"""keys that a new dataset must have on the command line"""
SHOWN = 5
"""rejected samples or empty cells that a message names"""
REJECTED_FILE = "rejected.parquet"


def import_listing(
    config: ImportConfig,
    listing: pl.DataFrame,
    rejected: pl.DataFrame,
    source: dict[str, Any],
    data: Path,
    *,
    workers: int,
) -> Path:
    """Pack the images of a listing as the dataset `data/NAME`; do nothing where it stands.

    Args:
        config: the dataset's configuration.
        listing: the images, columns `LISTING`, in any order.
        rejected: what the lister had to refuse already, columns `REJECTED`.
        source: facts about the source for the manifest (JSON).
        data: folder of all datasets.
        workers: processes that decode.

    Returns:
        The dataset's folder.

    Raises:
        UserError: more than `max_rejected` images are bad, or another dataset has the name.
    """
    check_config(config)
    plan = _plan(config, listing)
    listing = _canonical(listing, plan["domains"])
    plan["listing_sha256"] = _listing_sha256(listing)
    fill = partial(
        _fill,
        config=config,
        listing=listing,
        rejected=rejected,
        manifest=plan | {"source": source},
        workers=workers,
    )
    return build(data / config.name, plan, fill, workers=workers)


def import_config(name: str, overrides: Sequence[str]) -> ImportConfig:
    """The configuration NAME; where there is none, that of a new dataset of kind `folder`.

    Raises:
        UserError: it is none of an import, or a new one lacks what it needs.
    """
    known = sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))
    if name in known or name.endswith((".yaml", ".yml")):
        config = load_config("datasets", name, overrides)
    else:
        given = {override.split("=")[0] for override in overrides}
        if missing := [key for key in NEEDED if key not in given]:
            raise UserError(
                f"{unknown('dataset', name, known).found}, and a new one has no {missing[0]}",
                expected=f"one of {', '.join(known)}, or {' and '.join(NEEDED)} of a new one",
                where=str(CONFIGS / "datasets"),
                fix=f"clipgen dataset import {name} --from DIR natural=DOMAIN pixels=224",
            )
        content = {"kind": DatasetKind.folder.name, "name": name}
        config = make_config("datasets", content, overrides, where="the command line")
    if not isinstance(config, ImportConfig):
        raise UserError(
            f"dataset `{name}` is rendered here, not imported", fix=f"clipgen dataset build {name}"
        )
    return config


def check_config(config: ImportConfig) -> None:
    """Refuse numbers and names that make no sense."""
    wrong = {
        "name": (Path(config.name).name != config.name or config.name[:1] in ("", "."), "a name"),
        "pixels": (config.pixels < MIN_PIXELS, f"at least {MIN_PIXELS}"),
        "short_side": (
            0 != config.short_side < config.pixels,
            f"0 (as it is) or at least `pixels`, which is {config.pixels}",
        ),
        "max_rejected": (config.max_rejected < 0, "at least 0"),
    }
    for key, (is_wrong, expected) in wrong.items():
        if is_wrong:
            raise UserError(
                f"key `{key}` is {getattr(config, key)}",
                expected=expected,
                where=f"dataset {config.name}",
            )


def _plan(config: ImportConfig, listing: pl.DataFrame) -> dict[str, Any]:
    """What decides the bytes of a dataset, but for the listing's hash."""
    found = listing["domain"].unique().sort().to_list()
    domains = list(config.domains) or found
    classes = listing["class_name"].unique().sort().to_list()
    plan: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "importer_version": IMPORTER_VERSION}
    settings = resolved(config)
    for key in ("max_rejected", "downloads"):  # they change no image
        del settings[key]
    plan["config"] = settings
    if config.kind is not DatasetKind.folder:
        return plan | {"domains": domains, "classes": [], "natural": "", "super_categories": {}}
    if missing := sorted(set(domains) - set(found)):
        raise UserError(f"domain `{missing[0]}` has no image", where=f"dataset {config.name}")
    trim_order = tuple(name for name in config.trim_order if name in domains)
    World(tuple(domains), tuple(classes), config.natural, trim_order)  # refuses
    for domain in domains:
        domain_nouns(domain, config.captions, config.nouns)  # refuses
    return plan | {
        "domains": domains,
        "classes": classes,
        "natural": config.natural,
        "super_categories": super_categories(config.super_categories, classes),
        "captions_sha256": hashlib.sha256(CAPTIONS_FILE.read_bytes()).hexdigest(),
    }


def super_categories(path: str, classes: Sequence[str]) -> dict[str, str]:
    """Super-category of every class, from a CSV file (class_name,super_category); "" without one.

    Raises:
        UserError: the file is missing or broken, or a class is not in it, or twice.
    """
    if not path:
        return dict.fromkeys(classes, "")
    columns = ["class_name", "super_category"]
    try:
        table = pl.read_csv(path, infer_schema=False).select(columns)
    except (OSError, pl.exceptions.PolarsError) as error:
        message = str(error).splitlines()[0]
        raise UserError(
            f"cannot read the super-categories: {message}",
            expected=f"a CSV file with the columns {', '.join(columns)}",
            where=path,
        ) from None
    named = Counter(table["class_name"])
    for name in classes:
        if named[name] != 1:
            raise UserError(
                f"class `{name}` stands {named[name]} times in the super-categories",
                expected="every class once",
                where=path,
            )
    known = dict(table.fill_null("").iter_rows())
    return {name: known[name] for name in classes}


def _canonical(listing: pl.DataFrame, domains: Sequence[str]) -> pl.DataFrame:
    """The listing in the order of split, domain, class, position."""
    listing = listing.select(list(LISTING)).sort(
        pl.col("split").cast(pl.Enum(SPLITS)),
        pl.col("domain").cast(pl.Enum(domains)),
        *("class_name", "position", "id"),
    )
    twice = listing["id"].filter(listing["id"].is_duplicated())
    if len(twice):
        raise UserError(f"id `{twice[0]}` stands more than once", expected="unique ids")
    return listing


def _listing_sha256(listing: pl.DataFrame) -> str:
    """Hash of a listing wherever its files are."""
    digest = hashlib.sha256()
    text = pl.concat_str(pl.exclude("path").cast(pl.String).fill_null("\0"), separator="\t")
    for part in listing.iter_slices(ROWS_PER_GROUP):
        digest.update("\n".join([*part.select(text).to_series(), ""]).encode())
    return digest.hexdigest()


def _fill(
    building: Path,
    config: ImportConfig,
    listing: pl.DataFrame,
    rejected: pl.DataFrame,
    manifest: dict[str, Any],
    workers: int,
) -> None:
    """Pack all chunks, then write the tables and the manifest."""
    _write_rejected(building, rejected, config)  # before hours of decoding
    write_chunks(building, listing)
    chunks = chunks_of(listing.height)
    forget_mended(building, chunks)
    packing = Packing(config, tuple(manifest["classes"]), manifest["super_categories"])
    run_jobs(building, partial(pack_chunk, packing), chunks, workers)
    rejected = pl.concat([rejected, *(rejected_of(building, chunk) for chunk in chunks)])
    _write_rejected(building, rejected, config)
    os.replace(building / REJECTED_FILE, building / WHOLE / REJECTED_FILE)
    manifest = manifest | {"rejected": _reasons(rejected)} | join_parts(building, chunks)
    manifest["empty_cells"] = _empty_cells(building / WHOLE / "samples.parquet", manifest)
    write_json(building / WHOLE / "manifest.json", manifest)


def _write_rejected(building: Path, rejected: pl.DataFrame, config: ImportConfig) -> None:
    """Write the list of what is left out, and stop where it is too long."""
    path = building / REJECTED_FILE
    with replacing(path) as temporary:
        rejected.write_parquet(temporary)
    if rejected.height > config.max_rejected:
        rows = rejected.head(SHOWN).iter_rows()
        raise UserError(
            f"{rejected.height} bad images, first:"
            + "".join(f"\n    {name}: {reason}" for name, _, reason in rows),
            expected=f"at most {config.max_rejected} (`max_rejected`)",
            where=f"{path} lists all of them",
            fix=f"mend or remove them, or leave them out with max_rejected={rejected.height}; "
            "the same command goes on from here",
        )


def _reasons(rejected: pl.DataFrame) -> dict[str, int]:
    """Number of rejected samples by the kind of reason, without places and numbers."""
    place = re.compile(r"listed in .*?:\d+,")
    kinds = Counter(place.sub("listed,", text).split(": ")[0] for text in rejected["reason"])
    return dict(sorted(kinds.items()))


def _empty_cells(samples: Path, manifest: dict[str, Any]) -> dict[str, list[str]]:
    """`DOMAIN/CLASS` of the cells without a sample, for both splits."""
    full = pl.scan_parquet(samples).select("split", "domain", "class_name").unique().collect()
    cells = set(full.iter_rows())
    return {
        split: [
            f"{domain}/{name}"
            for domain in manifest["domains"]
            for name in manifest["classes"]
            if (split, domain, name) not in cells
        ]
        for split in SPLITS
    }


def summary(folder: Path) -> list[str]:
    """What an import made, in a few lines for people."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    domains, classes = len(manifest["domains"]), len(manifest["classes"])
    splits = ", ".join(f"{n} {split}" for split, n in manifest["samples_per_split"].items())
    lines = [
        f"{folder}: {manifest['samples']} samples ({splits}), {domains} domains × "
        f"{classes} classes, sha256 {manifest['sha256'][:12]}"
    ]
    for split, cells in manifest["empty_cells"].items():
        if cells:
            shown = ", ".join(cells[:SHOWN]) + ", …" * (len(cells) > SHOWN)
            lines.append(f"cells without an image in {split}: {len(cells)} ({shown})")
    if reasons := manifest["rejected"]:
        text = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
        lines.append(f"left out: {text}; listed in {folder / REJECTED_FILE}")
    if unlisted := manifest["source"].get("unlisted"):
        lines.append(f"in no list, therefore not in the dataset: {unlisted} files")
    if ignored := manifest["source"].get("ignored"):
        lines.append(f"not looked at: {ignored} hidden files or folders")
    return lines
