"""A dataset that a study needs: rendered where it is not there, or not as it is configured."""

from __future__ import annotations

from pathlib import Path

from gen.config import load_config
from gen.datasets.making import configured_names, missing_dataset
from gen.datasets.rendered import RenderedConfig, build_rendered, set_aside_other


def provide(name: str, data: Path, *, workers: int) -> str:
    """See that the dataset `data/name` is there, and as it is configured if it is rendered.

    A rendered dataset of another configuration, or by another generator, is set aside and made
    anew. One that is imported, or not in `configs/datasets`, cannot be made here: what stands
    counts.

    Args:
        name: of the dataset.
        data: folder of all datasets.
        workers: processes that render.

    Returns:
        What was done, as a line.

    Raises:
        UserError: it is not there and cannot be rendered, or it is damaged.
    """
    config = load_config("datasets", name) if name in configured_names() else None
    if not isinstance(config, RenderedConfig):
        if not (data / name).is_dir():
            raise missing_dataset(name, data)
        return "there; nothing to do"
    return _render(config, data, workers)


def _render(config: RenderedConfig, data: Path, workers: int) -> str:
    stood = (data / config.name).exists()
    aside = set_aside_other(config, data)
    build_rendered(config, data, workers=workers)
    if aside:
        place, changes = aside
        return f"rendered again, because of {', '.join(changes)}; the former one is now {place}"
    return "as configured; nothing to do" if stood else "rendered"
