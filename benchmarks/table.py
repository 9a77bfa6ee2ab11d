"""Does the table of DomainNet and CC12M (11.6 million samples) fit a laptop's memory?

    python benchmarks/table.py [--quick]

Side by side: clipgen opens the dataset, checks its table against the manifest's hash, and filters
it for one mixture; instead one would read the table with pandas and take a boolean mask. Both must
choose the same samples. Every side runs in a process of its own, whose peak memory is told.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.measured import finish, in_own_process, peak_gib
from gen.datasets.samples import COLUMNS, SCHEMA_VERSION, content_sha256, load_dataset

DOMAINNET, CC12M = 586_575, 11_000_000
DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
CLASSES = tuple(f"object class {number:03}" for number in range(345))
HELD_OUT = CLASSES[::23]
WANTED = ["id", "domain", "class_name"]
NAME = "everything"
ROWS_PER_GROUP = 100_000
GOAL_GIB = 4.0
LIMIT_GIB = 20
"""address space of the other side, which is more than the memory that it uses: a benchmark must
not take the machine down"""


def write_dataset(data: Path, shrink: int) -> None:
    """A dataset without images: six domains with classes and, as a seventh, web images without."""
    folder = data / NAME
    folder.mkdir(parents=True)
    path = folder / "samples.parquet"
    oldest = pl.CompatLevel.oldest()
    schema = pl.DataFrame(schema=COLUMNS).to_arrow(compat_level=oldest).schema
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches(shrink):
            writer.write_table(
                batch.select(list(COLUMNS)).cast(COLUMNS).to_arrow(compat_level=oldest)
            )
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "samples": (DOMAINNET // shrink) + (CC12M // shrink),
        "sha256": content_sha256(path),
        "domains": [*DOMAINS, "cc12m"],
        "natural": "real",
        "classes": list(CLASSES),
        "super_categories": {},
        "config": {"kind": "folder", "name": NAME, "pixels": 224},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def batches(shrink: int) -> Iterator[pl.DataFrame]:
    """The table's rows, as many at a time as an import writes."""
    rng = np.random.default_rng(0)
    for total, make in ((DOMAINNET // shrink, labelled), (CC12M // shrink, captioned)):
        for start in range(0, total, ROWS_PER_GROUP):
            numbers = np.arange(start, min(start + ROWS_PER_GROUP, total))
            yield make(numbers, total, rng)


def labelled(numbers: np.ndarray, total: int, rng: np.random.Generator) -> pl.DataFrame:
    """Rows like DomainNet's."""
    domain = pl.Series(DOMAINS).gather(numbers * len(DOMAINS) // total)
    class_id = rng.integers(len(CLASSES), size=len(numbers))
    names = pl.Series(CLASSES).gather(class_id)
    split = pl.Series(("train", "test")).gather((rng.random(len(numbers)) < 0.3).astype(int))
    frame = pl.DataFrame(
        {"domain": domain, "class_name": names, "class_id": class_id, "split": split}
    )
    caption = pl.format("a {} depicted in an illustration of the kind {}.", "class_name", "domain")
    return (
        common(frame, numbers, rng)
        .with_columns(
            id=pl.format("{}/{}/{}_{}.jpg", "domain", "class_name", "domain", pl.col("number")),
            caption=caption,
            caption_aligned=pl.format("a {} depicted in an image.", "class_name"),
        )
        .with_columns(instance="id")
    )


def captioned(numbers: np.ndarray, total: int, rng: np.random.Generator) -> pl.DataFrame:
    """Rows like those of CC12M: captions of 60 to 100 characters, no classes."""
    constants = {"domain": "cc12m", "class_name": "", "split": "train"}
    frame = pl.DataFrame({"class_id": np.full(len(numbers), -1)})
    frame = frame.with_columns(**{key: pl.lit(value) for key, value in constants.items()})
    words = [
        pl.Series(PHRASES).gather(rng.integers(len(PHRASES), size=len(numbers))) for _ in range(3)
    ]
    caption = pl.Series(pl.select(pl.concat_str(*words, separator=" ")).to_series())
    shard = pl.format("{}", pl.col("number") // 10_000).str.zfill(5)
    return (
        common(frame, numbers, rng)
        .with_columns(
            id=pl.format("{}/{}", shard, pl.col("number").cast(pl.String).str.zfill(9)),
            caption=caption,
            caption_aligned=caption,
        )
        .with_columns(instance="id")
    )


def common(frame: pl.DataFrame, numbers: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """Add the columns that all imported samples have."""
    count = len(numbers)
    hashes = pa.Array.from_buffers(
        pa.binary(32), count, [None, pa.py_buffer(rng.bytes(32 * count))]
    )
    return frame.with_columns(
        number=pl.Series(numbers),
        super_category=pl.lit(""),
        drawing=pl.lit(""),
        family=pl.lit(""),
        position=pl.Series(numbers),
        shard=pl.format("{}.tar", pl.Series(numbers // 1000).cast(pl.String).str.zfill(6)),
        offset=pl.Series(numbers % 1000 * 20_480),
        size=pl.Series(rng.integers(5_000, 40_000, size=count)),
        width=pl.Series(rng.integers(256, 512, size=count)),
        height=pl.lit(256),
        sha256=pl.Series(pl.from_arrow(hashes.cast(pa.binary()))).bin.encode("hex"),
        phash=pl.Series(rng.integers(2**64, size=count, dtype=np.uint64)),
    )


PHRASES = [
    f"{adjective} {noun} {place}"
    for adjective in ("a photo of the old", "the beautiful", "new", "my favourite small", "vintage")
    for noun in ("house", "mountains", "birthday cake", "football player", "wedding dress", "dog")
    for place in ("at the beach", "in winter", "for sale", "with a white background", "by night")
]


def ours(data: Path) -> dict[str, Any]:
    """Open the dataset as every command does, and choose the samples of one mixture."""
    start = time.perf_counter()
    dataset = load_dataset(NAME, data)
    opened = time.perf_counter() - start
    held_out = pl.col("class_name").is_in(HELD_OUT) & (pl.col("domain") == "sketch")
    shown = (pl.col("split") == "train") & pl.col("domain").is_in(["cc12m", "real", "sketch"])
    rows = dataset.scan().filter(shown & ~held_out).select(WANTED).collect()
    return told(start, rows["id"].to_list, rows.height) | {"seconds to open": opened}


def instead(data: Path) -> dict[str, Any]:
    """The same choice with pandas."""
    import pandas as pd

    limit = LIMIT_GIB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    start = time.perf_counter()
    try:
        table = pd.read_parquet(data / NAME / "samples.parquet")
        held_out = table["class_name"].isin(HELD_OUT) & (table["domain"] == "sketch")
        shown = (table["split"] == "train") & table["domain"].isin(["cc12m", "real", "sketch"])
        rows = table[shown & ~held_out][WANTED]
    except MemoryError:
        return {
            "seconds": time.perf_counter() - start,
            "gib": None,
            "rows": None,
            "ids": "",
            "gib allowed": LIMIT_GIB,
        }
    return told(start, rows["id"].tolist, len(rows))


def told(start: float, ids: Callable[[], list[str]], rows: int) -> dict[str, Any]:
    """Time and peak memory up to here, and then a hash of the chosen ids."""
    result = {"seconds": time.perf_counter() - start, "gib": peak_gib(), "rows": rows}
    return result | {"ids": hashlib.sha256("\n".join(sorted(ids())).encode()).hexdigest()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1/50 of the rows")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        in_own_process(write_dataset, data, 50 if quick else 1)
        megabytes = (data / NAME / "samples.parquet").stat().st_size / 1e6
        results = {"clipgen": in_own_process(ours, data), "pandas": in_own_process(instead, data)}
    chosen = {result.pop("ids") for result in results.values()} - {""}
    if len(chosen) != 1:
        print("the two sides chose different samples", file=sys.stderr)
        return 1
    for side, result in results.items():
        memory = f"{result['gib']:6.2f} GiB peak" if result["rows"] else "out of memory"
        print(f"{side:<8} {result['seconds']:8.1f} s  {memory}")
    if not results["pandas"]["rows"]:
        print(f"pandas was given {LIMIT_GIB} GiB of address space")
    gib = results["clipgen"]["gib"]
    print(f"{results['clipgen']['rows']:,} rows chosen of a table of {megabytes:,.0f} MB")
    verdict = f"table: {gib:.2f} GiB (goal: ≤ {GOAL_GIB:.0f} GiB)"
    return finish("table", results, verdict, fine=gib <= GOAL_GIB, quick=quick)


if __name__ == "__main__":
    sys.exit(main())
