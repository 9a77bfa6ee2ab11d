"""open_clip_train 3.3.0 as the other side: its shards, its command, its loop, timed step by step.

    python benchmarks/openclip_side.py PART MARKS.npy [ARGUMENT OF open_clip_train ...]

PART is `whole` (its training), `step` (its training on the first batch over and over: no loader)
or `loader` (its loader without a training step). All three go through `open_clip_train.main`, with
one line mended: webdataset >= 0.2.96 ends a shard with a marker that open_clip_train 3.3.0 takes
for a sample (KeyError: 'fname'); `eof_value=None` leaves the marker out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from gen.schema import ModelConfig

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.timed import Stopwatch

JPEG = b"\xff\xd8"
"""first bytes of a JPEG file"""
SHARDS = 16
SHARD_PATTERN = f"train-{{0000..{SHARDS - 1:04}}}.tar"


def write_shards(dataset: Path, rows: pl.DataFrame, folder: Path) -> None:
    """The rows' encoded images and captions as webdataset tars, with the sizes open_clip reads.

    Args:
        dataset: folder of the dataset.
        rows: `id`, `shard`, `offset`, `size`, `caption`; an id may stand once only.
        folder: of the tars; the rows are dealt out to them in a fixed random order, because a
            shard of one domain would make batches of one domain.
    """
    from gen.datasets.shards import write_shard

    rows = rows.sample(fraction=1.0, shuffle=True, seed=0)
    files = {name: (dataset / "shards" / name).open("rb") for name in rows["shard"].unique()}
    sizes = {}
    for number in range(SHARDS):
        part = rows.gather_every(SHARDS, number)
        name = f"train-{number:04}.tar"
        write_shard(folder / name, _members(part, files))
        sizes[name] = part.height
    for file in files.values():
        file.close()
    (folder / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")


def _members(rows: pl.DataFrame, files: dict[str, Any]) -> Iterator[dict[str, bytes | str]]:
    columns = rows.select("id", "shard", "offset", "size", "caption")
    for name, shard, offset, size, caption in columns.iter_rows():
        files[shard].seek(offset)
        image = files[shard].read(size)
        kind = "jpg" if image.startswith(JPEG) else "png"
        # a dot in a key would start the file's extension
        yield {"__key__": name.replace(".", "_"), kind: image, "txt": caption.encode()}


def write_model(folder: Path, config: ModelConfig, pixels: int, context_length: int) -> None:
    """A folder that open_clip takes as `local-dir:FOLDER`: its whole vocabulary, our towers.

    Also a ViT's blocks are ours (`block_type: custom`): open_clip's other ones are slower.
    """
    from gen.models.clip import MEAN, STD, open_clip_config
    from gen.models.vocabulary import FULL_SIZE

    described = open_clip_config(config, FULL_SIZE, context_length, pixels, bias=False)
    preprocessing = {
        "size": pixels,
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "interpolation": "bilinear",
        "resize_mode": "squash",
    }
    content = {"model_cfg": described, "preprocess_cfg": preprocessing}
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    part, marks, *rest = arguments
    import open_clip_train.data
    import open_clip_train.main as program

    expander = open_clip_train.data.tar_file_expander
    open_clip_train.data.tar_file_expander = partial(expander, eof_value=None)
    watch = Stopwatch()
    if part == "step":
        program.get_data = partial(_first_batch_only, program.get_data)
    if part == "loader":
        program.train_one_epoch = partial(_load_one_epoch, watch)
    else:
        watch.mark_steps()
    code = program.main(rest)
    watch.save(Path(marks))
    return code or 0


class _Repeated:
    """A data loader of one batch, over and over."""

    def __init__(self, batch: Any, loader: Any) -> None:
        self.batch = batch
        self.num_batches, self.num_samples = loader.num_batches, loader.num_samples

    def __iter__(self) -> Iterator[Any]:
        return (self.batch for _ in range(self.num_batches))


def _first_batch_only(get_data: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    data = get_data(*args, **kwargs)
    loader = data["train"].dataloader
    repeated = _Repeated(next(iter(loader)), loader)
    return {"train": SimpleNamespace(dataloader=repeated, set_epoch=lambda epoch: None)}


def _load_one_epoch(
    watch: Stopwatch, model: Any, data: Any, loss: Any, epoch: int, *_: Any, **__: Any
) -> None:
    data["train"].set_epoch(epoch)
    for _batch in data["train"].dataloader:
        watch.mark()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
