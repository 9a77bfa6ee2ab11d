"""Trees of small images for the tests of imports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from gen.config import make_config
from gen.datasets.folder import list_folder
from gen.datasets.importing import import_listing
from gen.datasets.samples import Dataset, load_dataset
from gen.schema import ImportConfig

DOMAINS, CLASSES = ("photo", "art"), ("dog", "traffic_light", "größe")
NOUNS = {"photo": ["photo", "snapshot"], "art": ["painting", "art"]}


def write_image(path: Path, seed: int = 0, height: int = 12, width: int = 16) -> None:
    """Write a noise image in the format of the file's extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, noise)[1].tobytes())


def write_tree(root: Path, domains: Iterable[str], classes: Iterable[str], count: int) -> None:
    """Write `count` different images per cell: DOMAIN/CLASS/NUMBER.png."""
    cells = [(domain, name) for domain in domains for name in classes]
    for cell, (domain, name) in enumerate(cells):
        for number in range(count):
            write_image(root / domain / name / f"{number:03d}.png", cell * count + number)


def config(**keys: object) -> ImportConfig:
    """A configuration of kind folder."""
    content = {"kind": "folder", "name": "tree", "pixels": 8, "natural": "photo", "nouns": NOUNS}
    made: ImportConfig = make_config("datasets", content | keys, [], where="the test")
    return made


def imported(root: Path, data: Path, *, workers: int = 1, **keys: object) -> Dataset:
    """The dataset that an import of the tree `root` makes in `data`."""
    settings = config(**keys)
    import_listing(settings, *list_folder(settings, root), data, workers=workers)
    return load_dataset(settings.name, data)
