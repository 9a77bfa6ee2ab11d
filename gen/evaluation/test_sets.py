"""Test images as folders that CLIP_benchmark (LAION) scores: `--dataset wds/NAME`.

Such a folder holds `classnames.txt` (one per line, in the order of the class ids),
`zeroshot_classification_templates.txt` (one per line, with `{c}` for the class), and the images as
webdataset tars: `test/nshards.txt`, `test/0.tar`, … with a `png` and a `cls` (the class id) per
image. Of ours is `test/samples.csv`: which sample of the dataset each key is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from tqdm import tqdm

from gen.datasets.samples import Dataset
from gen.datasets.shards import StoredImages, encode_png, write_shard
from splits.errors import UserError
from splits.files import replacing, write_text

SHARD_SAMPLES = 5000
HEADLINE_SPLIT = "test"
CLASS = "{c}"
"""what stands for the class in a template"""


def set_name(domain: str, split: str) -> str:
    """Name of the folder of a domain's test images; split `test` goes without saying."""
    return domain if split == HEADLINE_SPLIT else f"{domain}.{split}"


def sets_of(dataset: Dataset, domains: Sequence[str]) -> dict[tuple[str, str], pl.DataFrame]:
    """By (domain, split) the rows of the sample table, for every split that is no training."""
    wanted = pl.col("domain").is_in(list(domains)) & (pl.col("split") != "train")
    groups = dataset.samples.filter(wanted).partition_by(
        "domain", "split", as_dict=True, maintain_order=True
    )
    return {(str(domain), str(split)): rows for (domain, split), rows in groups.items()}


def write_test_set(
    dataset: Dataset,
    samples: pl.DataFrame,
    pixels: int,
    templates: Sequence[str],
    folder: Path,
    bar: tqdm,
) -> None:
    """Write the images of `samples`, pixel for pixel as a model sees them.

    Args:
        dataset: whose samples they are.
        samples: rows of its sample table.
        pixels: height and width at which the model sees an image.
        templates: sentences with CLASS in place of the class.
        folder: made if it is not there.
        bar: moved on by every image.

    Raises:
        UserError: a name does not fit on a line, or an image is damaged.
    """
    _check_lines(dataset.classes)
    write_text(folder / "classnames.txt", _lines(dataset.classes))
    write_text(folder / "zeroshot_classification_templates.txt", _lines(templates))
    shards = list(samples.iter_slices(SHARD_SAMPLES))
    write_text(folder / "test" / "nshards.txt", f"{len(shards)}\n")
    for number, rows in enumerate(shards):
        first = number * SHARD_SAMPLES
        write_shard(folder / "test" / f"{number}.tar", _members(dataset, rows, pixels, first, bar))
    keys = [_key(place) for place in range(samples.height)]
    with replacing(folder / "test" / "samples.csv") as temporary:
        samples.select(pl.Series("key", keys), "id", "class_name").write_csv(temporary)


def _members(
    dataset: Dataset, rows: pl.DataFrame, pixels: int, first: int, bar: tqdm
) -> Iterator[dict[str, str | bytes]]:
    stored = StoredImages([(dataset.folder, rows)], pixels)
    image = np.empty((pixels, pixels, 3), dtype=np.uint8)
    for place, label in enumerate(rows["class_id"]):
        stored.read(place, image)
        yield {"__key__": _key(first + place), "png": encode_png(image), "cls": b"%d" % label}
        bar.update(1)


def _key(place: int) -> str:
    return f"s{place:07d}"


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _check_lines(names: Sequence[str]) -> None:
    for name in names:
        if name != name.strip() or len(name.splitlines()) != 1:
            raise UserError(f"the class name {name!r} does not fit on a line of its own")
