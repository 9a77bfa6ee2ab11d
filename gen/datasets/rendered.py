"""Datasets that are made here, whatever their kind."""

from __future__ import annotations

from pathlib import Path

from gen.datasets.icons import build as icons
from gen.datasets.scenes import build as scenes
from gen.schema import IconsConfig, ScenesConfig

RenderedConfig = IconsConfig | ScenesConfig


def build_rendered(config: RenderedConfig, data: Path, *, workers: int) -> Path:
    """Make the dataset `data/NAME`; arguments, result and errors as of the kind's own builder."""
    if isinstance(config, ScenesConfig):
        return scenes.build_scenes(config, data, workers=workers)
    return icons.build_icons(config, data, workers=workers)


def set_aside_other(config: RenderedConfig, data: Path) -> tuple[Path, list[str]] | None:
    """Rename what stands in `data/NAME` where it is another dataset; as of the kind's builder."""
    if isinstance(config, ScenesConfig):
        return scenes.set_aside_other(config, data)
    return icons.set_aside_other(config, data)
