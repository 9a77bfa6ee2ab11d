"""How long do the mixtures of a DomainNet-sized study take, and one of 100 million rows?

    python benchmarks/splits.py [--quick]

Side by side: clipgen's mixtures, and what one would write instead, a script in the manner of the
published one: lists of files per domain and class, cut and trimmed, written as TSV files with
paths. Both must choose the same images. Then a mixture of a LAION-like table, streamed. Every side
runs in a process of its own, whose peak memory is told.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from math import ceil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

sys.path[0] = str(Path(__file__).parent.parent)  # `splits` is the package, not this file

from benchmarks.measured import finish, in_own_process, peak_gib
from gen.config import load_config
from splits.budget import Budget
from splits.mixture import Recipe, build_mixture, save_mixture
from splits.pool import build_pool
from splits.settings import SETTINGS, World
from splits.streamed import stream_mixture
from splits.variants import with_share

TOTALS = {  # train, test: the official lists' sizes as commonly cited; both sum to 586,575
    "clipart": (33525, 14604),
    "infograph": (36023, 15582),
    "painting": (50416, 21850),
    "quickdraw": (120750, 51750),
    "real": (120906, 52041),
    "sketch": (48212, 20916),
}
TRIM = ("real", "quickdraw", "painting", "sketch", "infograph", "clipart")
CLASSES = 345
FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
GOAL_SECONDS, GOAL_GIB = 30.0, 4.0
BASE_PATH = "/data/domainnet"
BATCH = 2_000_000


def class_names() -> list[str]:
    """345 names, the published held-out ones among them, sorted."""
    held_out = load_config("held_out", "kempf2025").classes
    return sorted([*held_out, *(f"class {i:03}" for i in range(CLASSES - len(held_out)))])


def held_out() -> tuple[str, ...]:
    return tuple(sorted(load_config("held_out", "kempf2025").classes))


def write_domainnet(path: Path, shrink: int) -> None:
    """A table of DomainNet's size, with uneven classes, in the order of its lists."""
    rng = np.random.default_rng(0)
    names = np.array(class_names())
    parts = []
    for domain, sizes in TOTALS.items():
        shares = rng.dirichlet(np.full(CLASSES, 4.0))
        for split, size in zip(("train", "test"), sizes, strict=True):
            counts = 1 + rng.multinomial(size // shrink - CLASSES, shares)
            numbers = np.repeat(np.arange(CLASSES), counts)
            inner = np.concatenate([np.arange(count) for count in counts])
            parts.append(
                pl.DataFrame({"class_name": names[numbers], "inner": inner}).select(
                    pl.format(
                        "{}/{}/{}_{}_{}.jpg",
                        pl.lit(domain),
                        pl.col("class_name").str.replace_all(" ", "_"),
                        pl.lit(domain),
                        pl.lit(split),
                        pl.col("inner").cast(pl.String).str.zfill(6),
                    ).alias("id"),
                    pl.lit(domain).alias("domain"),
                    "class_name",
                    pl.lit(split).alias("split"),
                    pl.int_range(pl.len()).alias("position"),
                )
            )
    pl.concat(parts).write_parquet(path)


def ours(table: Path, folder: Path, *, fractions: bool) -> dict:
    """Build and save every mixture of the main grid, and of the interpolations if asked."""
    start = time.perf_counter()
    train = pl.read_parquet(table).filter(pl.col("split") == "train")
    pool = build_pool(train, World(tuple(TOTALS), tuple(class_names()), "real", TRIM))
    settings = list(SETTINGS.values())
    if fractions:
        settings += [
            with_share(SETTINGS[name], "held_out", share)
            for name in ("cg_low_diversity", "cg_high_diversity")
            for share in FRACTIONS
        ]
    hashes = {}
    for setting in settings:
        for test_domain in (name for name in TOTALS if name != "real"):
            recipe = Recipe(
                setting, test_domain, held_out(), Budget("published"), "caption", "d" * 64
            )
            mixture = build_mixture(pool, recipe)
            name = f"{setting.name}.{test_domain}"
            save_mixture(mixture, folder / name)
            hashes[name] = hash_of_ids(mixture.ids)
    return {
        "seconds": time.perf_counter() - start,
        "gib": peak_gib(),
        "megabytes": megabytes(folder),
        "hashes": hashes,
    }


def instead(table: Path, folder: Path) -> dict:
    """The main grid as a script would write it: lists of paths, one TSV file per mixture."""
    start = time.perf_counter()
    folder.mkdir()
    rows = pl.read_parquet(table).filter(pl.col("split") == "train")
    lists: dict[str, dict[str, list[str]]] = {domain: {} for domain in TOTALS}
    for path, domain, name in rows.select("id", "domain", "class_name").iter_rows():
        lists[domain].setdefault(name, []).append(path)
    hashes = {}
    for setting in SETTINGS:
        for test_domain in (name for name in TOTALS if name != "real"):
            chosen = cut(lists, setting, test_domain)
            with (folder / f"{setting}.{test_domain}.tsv").open("w") as file:
                file.write("filepath\ttitle\n")
                file.writelines(f"{BASE_PATH}/{path}\ta picture of a thing.\n" for path in chosen)
            hashes[f"{setting}.{test_domain}"] = hash_of_ids(pl.Series(sorted(chosen)))
    return {
        "seconds": time.perf_counter() - start,
        "gib": peak_gib(),
        "megabytes": megabytes(folder),
        "hashes": hashes,
    }


def cut(lists: dict, setting: str, test_domain: str) -> list[str]:
    """The paths of one mixture, by the published rule."""
    hidden = set(held_out())
    others = setting in ("leave_out_domain", "cg_high_diversity", "upper_bound_high")
    groups: dict[str, dict[str, list[str]]] = {}
    for domain, by_class in lists.items():
        is_test = domain == test_domain
        if domain == "real" or (others and not is_test):
            groups[domain] = dict(by_class)
        elif is_test and setting not in ("natural_only", "leave_out_domain"):
            keep = setting.startswith("upper_bound")
            groups[domain] = {n: f for n, f in by_class.items() if keep or n not in hidden}
    size = sum(map(len, lists["real"].values()))
    size += sum(len(files) for name, files in lists[test_domain].items() if name not in hidden)
    pool = sum(len(files) for by_class in groups.values() for files in by_class.values())
    if pool > size:
        factor = size / pool
        groups = {
            domain: {name: files[: ceil(factor * len(files))] for name, files in by_class.items()}
            for domain, by_class in groups.items()
        }
        total = sum(len(files) for by_class in groups.values() for files in by_class.values())
        for domain in TRIM:
            for files in groups.get(domain, {}).values():
                if total > size:
                    files.pop()
                    total -= 1
    return [path for by_class in groups.values() for files in by_class.values() for path in files]


def write_laion(path: Path, rows: int) -> None:
    """A table of web images with a domain and a class each, sorted by id."""
    rng = np.random.default_rng(1)
    domains, names = pl.Series(list(TOTALS)), pl.Series(class_names())
    writer = None
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        numbers = pl.Series(np.arange(start, start + count))
        batch = pl.DataFrame(
            {
                "id": numbers.cast(pl.String).str.zfill(12),
                "domain": domains.gather(
                    rng.choice(6, count, p=[0.05, 0.05, 0.1, 0.05, 0.7, 0.05])
                ),
                "class_name": names.gather(rng.integers(CLASSES, size=count)),
            }
        ).to_arrow()
        writer = writer or pq.ParquetWriter(path, batch.schema, compression="zstd")
        writer.write_table(batch)
    if writer:
        writer.close()


def laion(table: Path, folder: Path) -> dict:
    """One mixture of the large table, streamed."""
    start = time.perf_counter()
    world = World(tuple(TOTALS), tuple(class_names()), "real", TRIM)
    recipe = Recipe(
        SETTINGS["cg_high_diversity"], "sketch", held_out(), Budget(), "caption", "d" * 64
    )
    manifest = stream_mixture(table, folder, world, recipe)
    return {
        "seconds": time.perf_counter() - start,
        "gib": peak_gib(),
        "samples": manifest["size"],
        "megabytes": megabytes(folder),
    }


def hash_of_ids(ids: pl.Series) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1/20 of DomainNet, 2 million rows")
    quick = parser.parse_args().quick
    shrink, rows = (20, 2_000_000) if quick else (1, 100_000_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, large = folder / "domainnet.parquet", folder / "laion.parquet"
        write_domainnet(table, shrink)
        results = {
            "clipgen, 30 mixtures": in_own_process(ours, table, folder / "ours", fractions=False),
            "script, 30 mixtures": in_own_process(instead, table, folder / "script"),
            "clipgen, 90 mixtures": in_own_process(ours, table, folder / "more", fractions=True),
        }
        first, second = (
            results[f"{side}, 30 mixtures"]["hashes"] for side in ("clipgen", "script")
        )
        if first != second:
            print(f"the two sides chose different images: {first} {second}", file=sys.stderr)
            return 1
        write_laion(large, rows)
        results[f"clipgen, one of {rows:,} rows"] = in_own_process(laion, large, folder / "laion")
    for result in results.values():
        result.pop("hashes", None)
    for label, result in results.items():
        line = f"{label:<34} {result['seconds']:8.1f} s  {result['gib']:6.2f} GiB peak"
        print(f"{line}  {result['megabytes']:8.1f} MB on disk")
    grid, streamed = results["clipgen, 90 mixtures"], list(results.values())[-1]
    fine = grid["seconds"] <= GOAL_SECONDS and streamed["gib"] <= GOAL_GIB
    ratio = results["script, 30 mixtures"]["seconds"] / results["clipgen, 30 mixtures"]["seconds"]
    verdict = (
        f"splits: {grid['seconds']:.1f} s and {streamed['gib']:.2f} GiB, "
        f"{ratio:.2f} times as fast as the script "
        f"(goal: 90 mixtures in {GOAL_SECONDS:.0f} s, 100 million rows in {GOAL_GIB:.0f} GiB)"
    )
    return finish("splits", results, verdict, fine=fine, quick=quick)


if __name__ == "__main__":
    sys.exit(main())
