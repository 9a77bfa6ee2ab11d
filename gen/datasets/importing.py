"""Import a dataset: pack any listing of images that are there already into shards and tables.

A lister (`gen.datasets.folder`, `gen.datasets.captioned`) says which images there are;
`gen.datasets.chunks` decodes and packs them, a thousand at a time; this file puts the dataset
together. What is bad is left out, listed with its reason, and stops the import above a threshold.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from gen.config import CONFIGS, RENDERED, load_config, make_config, resolved
from gen.datasets.captions import captions_sha256, check_nouns
from gen.datasets.chunks import (
    Packing,
    chunks_of,
    forget_mended,
    pack_chunk,
    rejected_of,
    write_chunks,
)
from gen.datasets.listing import LISTING, SPLITS, composed
from gen.datasets.making import NEEDED, configured_names
from gen.datasets.packing import ROWS_PER_GROUP, WHOLE, build, join_parts, run_jobs
from gen.datasets.samples import SCHEMA_VERSION
from gen.datasets.summary import REJECTED_FILE
from gen.datasets.wording import count_kinds, counted, kind_of
from gen.schema import DatasetKind, ImportConfig
from splits.errors import UserError, unknown
from splits.files import replacing, write_json
from splits.settings import World

IMPORTER_VERSION = 2
"""raised whenever the same images give other bytes or captions"""

MIN_PIXELS = 8


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
        UserError: more than `max_rejected` are bad, or what stands is damaged, or another dataset.
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
    folder = build(data / config.name, plan, fill, workers=workers)
    _check_left_out(folder, config)
    return folder


def _check_left_out(folder: Path, config: ImportConfig) -> None:
    """Refuse a dataset that stands already and lacks more images than may be left out now."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if (count := sum(manifest["rejected"].values())) > config.max_rejected:
        raise UserError(
            f"{folder} was imported already, and {counted(count, 'bad image')} left out",
            expected=f"at most {config.max_rejected} (`max_rejected`)",
            where=f"{folder / REJECTED_FILE} lists them",
            fix=f"take it as it is with max_rejected={count}; or mend them, delete {folder} and "
            "import again",
        )


def import_config(name: str, overrides: Sequence[str]) -> ImportConfig:
    """The configuration NAME; where there is none, that of a new dataset.

    Raises:
        UserError: it is none of an import, or a new one lacks what its kind needs.
    """
    if name in configured_names() or name.endswith((".yaml", ".yml")):
        config = load_config("datasets", name, overrides)
    else:
        _check_new(name, overrides)
        content = {"kind": DatasetKind.folder.name, "name": name}
        config = make_config("datasets", content, overrides, where="the command line")
    if not isinstance(config, ImportConfig) or config.kind.name in RENDERED:
        raise UserError(
            f"dataset `{name}` is rendered here, not imported", fix=f"clipgen dataset build {name}"
        )
    return replace(
        config,
        natural=composed(config.natural),
        domains=[composed(domain) for domain in config.domains],
        without=[composed(class_name) for class_name in config.without],
        trim_order=[composed(domain) for domain in config.trim_order],
        nouns={composed(domain): words for domain, words in config.nouns.items()},
    )


def _check_new(name: str, overrides: Sequence[str]) -> None:
    """Refuse a dataset without configuration that lacks what its kind needs."""
    given = dict(override.partition("=")[::2] for override in overrides)
    kinds = {kind.name: needed for kind, needed in NEEDED.items()}
    needed = kinds.get(given.get("kind", ""), NEEDED[DatasetKind.folder])
    missing = {key: value for key, value in needed.items() if not given.get(key)}
    if missing:
        known = configured_names()
        words = [*overrides, *(f"{key}={value}" for key, value in missing.items())]
        found = unknown("dataset", name, known).found
        raise UserError(
            f"{found}, and a new one has no {' and no '.join(missing)}",
            expected=f"one of {', '.join(known)}, or {' and '.join(needed)} of a new one",
            where=str(CONFIGS / "datasets"),
            fix=f"clipgen dataset import {shlex.quote(name)} --from DIR {shlex.join(words)}",
        )


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
    check_nouns(domains, config.captions, config.nouns)
    return plan | {
        "domains": domains,
        "classes": classes,
        "natural": config.natural,
        "super_categories": super_categories(config.super_categories, classes),
        "captions_sha256": captions_sha256(domains, config.captions, config.nouns),
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
    table = table.with_columns(pl.col("class_name").str.normalize("NFC"))
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
    _write_rejected(building, rejected, config, decoded=False)  # before hours of decoding
    write_chunks(building, listing)
    chunks = chunks_of(listing.height)
    forget_mended(building, chunks)
    packing = Packing(config, tuple(manifest["classes"]), manifest["super_categories"])
    run_jobs(building, partial(pack_chunk, packing), chunks, workers)
    rejected = pl.concat([rejected, *(rejected_of(building, chunk) for chunk in chunks)])
    _write_rejected(building, rejected, config, decoded=True)
    os.replace(building / REJECTED_FILE, building / WHOLE / REJECTED_FILE)
    manifest = (
        manifest | {"rejected": count_kinds(rejected["reason"])} | join_parts(building, chunks)
    )
    manifest["empty_cells"] = _empty_cells(building / WHOLE / "samples.parquet", manifest)
    write_json(building / WHOLE / "manifest.json", manifest)


def _write_rejected(
    building: Path, rejected: pl.DataFrame, config: ImportConfig, *, decoded: bool
) -> None:
    """Write the list of what is left out, and stop where it is too long."""
    path = building / REJECTED_FILE
    with replacing(path) as temporary:
        rejected.write_parquet(temporary)
    if (count := rejected.height) > config.max_rejected:
        allowed = f"max_rejected={count}"
        if not decoded:
            allowed = f"max_rejected of at least {count} (the images are not decoded yet)"
        raise UserError(
            f"{counted(count, 'bad image')}:" + "".join(_examples(rejected)),
            expected=f"at most {config.max_rejected} (`max_rejected`)",
            where=f"{path} lists all of them",
            fix=f"mend or remove them, or leave them out with {allowed}; "
            "the same command goes on from here",
        )


def _examples(rejected: pl.DataFrame) -> Iterator[str]:
    """A line for every kind of reason: how many there are, and the first."""
    kinds = count_kinds(rejected["reason"])
    for name, reason in rejected.select("id", "reason").iter_rows():
        if number := kinds.pop(kind_of(reason), 0):
            yield f"\n    {name}: {reason}" + f" (and {number - 1} more of this kind)" * (
                number > 1
            )


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
