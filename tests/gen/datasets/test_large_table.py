"""The table of a base need not fit the memory: it is opened and filtered without being read whole.

The planted table takes far more memory decoded than the bound allows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from gen.datasets.samples import COLUMNS, SCHEMA_VERSION

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux")

ROWS, ROWS_PER_GROUP, LONG = 400_000, 50_000, 250
BOUND_MIB = 150
SCRIPT = """
import sys
from pathlib import Path
import polars as pl
from gen.datasets.samples import load_dataset
status = Path("/proc/self/status")  # getrusage counts the peak of the parent, too
peak = lambda: int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
before = peak()
dataset = load_dataset("large", Path(sys.argv[1]))
even = pl.col("position") % 2 == 0
rows = dataset.samples if sys.argv[2] == "samples" else dataset.scan()
print(rows.lazy().filter(even).select("id").collect().height, peak() - before)
"""


def batch(start: int) -> pl.DataFrame:
    """Rows whose captions are long and all different, and still small in a file."""
    number = pl.int_range(start, start + ROWS_PER_GROUP, eager=True)
    text = number.cast(pl.String).str.zfill(LONG)
    own = {"id": number.cast(pl.String), "position": number, "caption": text}
    own |= {"caption_aligned": text}
    others = {name: pl.lit("0").cast(COLUMNS[name]) for name in COLUMNS if name not in own}
    return pl.DataFrame(own).with_columns(**others).select(list(COLUMNS))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    (data / "large").mkdir()
    oldest = pl.CompatLevel.oldest()
    schema = pl.DataFrame(schema=COLUMNS).to_arrow(compat_level=oldest).schema
    with pq.ParquetWriter(data / "large" / "samples.parquet", schema, compression="zstd") as file:
        for start in range(0, ROWS, ROWS_PER_GROUP):
            file.write_table(batch(start).to_arrow(compat_level=oldest))
    manifest = {"schema_version": SCHEMA_VERSION, "samples": ROWS, "classes": [], "config": {}}
    (data / "large" / "manifest.json").write_text(json.dumps(manifest))
    return data


def run(data: Path, way: str) -> tuple[int, float]:
    """Rows found, and MiB by which the peak memory of a fresh process has risen."""
    command = [sys.executable, "-c", SCRIPT, str(data), way]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(words[0]), float(words[1])


def test_a_large_base_is_opened_and_filtered_in_bounded_memory(data):
    found, mebibytes = run(data, "scan")
    assert found == ROWS // 2
    assert mebibytes < BOUND_MIB


def test_the_bound_is_one_that_reading_the_whole_table_breaks(data):
    assert run(data, "samples")[1] > BOUND_MIB
