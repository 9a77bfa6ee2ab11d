"""The datasets of the training benchmarks: small icons, and images that nobody has to download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

DOMAINS, CLASSES = ("real", "sketch", "painting"), 10
PER_CELL = 800
PER_CELL_QUICK = 60
COARSE = 16
"""pixels of the coarse noise that is stretched: its JPEG is about as large as a photograph's"""


def build_icons(data: Path, folder: Path) -> Path:
    """The folder of datasets that holds icons-small: `data`, or a new one where it lacks it."""
    if (data / "icons-small" / "manifest.json").is_file():
        return data.absolute()
    made = folder / "data"
    _clipgen("dataset", "build", "icons-small", "--data", str(made))
    return made


def build_synthetic(folder: Path, pixels: int, quick: bool) -> tuple[str, Path]:
    """Import noise as JPEG files; returns the dataset's name and the folder of datasets.

    Images for 224 pixels are stored at 256, as photographs would be.
    """
    name, data = f"noise-{pixels}", folder / "data"
    if (data / name).is_dir():
        return name, data
    tree = folder / f"tree-{pixels}"
    _write_tree(tree, 256 if pixels == 224 else pixels, PER_CELL_QUICK if quick else PER_CELL)
    config = folder / f"{name}.yaml"
    content = {"kind": "folder", "name": name, "pixels": pixels, "natural": DOMAINS[0]}
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    _clipgen("dataset", "import", str(config), "--from", str(tree), "--data", str(data))
    return name, data


def _write_tree(tree: Path, side: int, per_cell: int) -> None:
    """Coarse noise, stretched, with fine noise over it: DOMAIN/CLASS/NUMBER.jpg."""
    import cv2

    rng = np.random.default_rng(0)
    for domain in DOMAINS:
        for number in range(CLASSES):
            cell = tree / domain / f"class_{number:02}"
            cell.mkdir(parents=True)
            for image in range(per_cell):
                coarse = rng.integers(0, 256, (COARSE, COARSE, 3), dtype=np.uint8)
                fine = rng.normal(0, 8, (side, side, 3))
                pixels = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC) + fine
                quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
                cv2.imwrite(
                    str(cell / f"{image:05}.jpg"), pixels.clip(0, 255).astype(np.uint8), quality
                )


def _clipgen(*arguments: str) -> None:
    from gen.cli import main

    if main(list(arguments)):
        raise RuntimeError(f"clipgen {' '.join(arguments)} failed")
