"""The command `search`: the images of a folder that are most like a text or an image."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gen.commands.options import Verbs, positive
from gen.commands.used_model import model_command, used_model
from splits.errors import UserError

if TYPE_CHECKING:
    import polars as pl
    import torch

    from gen.use.index import Changes, Index
    from gen.use.models import UsedModel

EXAMPLES = """examples:
  clipgen search photos --study demo --run upper_bound_high --text "photo of a dog"
  clipgen search photos --study demo --run natural --image query.jpg --grid found.png
  clipgen search photos --model ViT-B-32 --weights laion2b_s34b_b79k --text "a red car" \\
      --top 50 --html found.html --csv found.csv
  clipgen search /media/card --model local-dir:exported/model --text "a dog" --index ~/indices

Embeddings of the folder are computed once and kept in FOLDER/.clipgen-index, or below --index.
"""


def add_search_command(commands: Verbs) -> None:
    """`search`."""
    text = "find the images of a folder that are most like a text or an image"
    search = model_command(commands, "search", text, EXAMPLES)
    search.add_argument("folder", type=Path, metavar="FOLDER", help="of the images")
    query = search.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", help="what to look for, in the words of a caption")
    query.add_argument("--image", type=Path, metavar="FILE", help="what to look for")
    search.add_argument(
        "--top", type=positive, default=10, metavar="N", help="images (default: 10)"
    )
    search.add_argument(
        "--index", type=Path, metavar="DIR", help="default: .clipgen-index in FOLDER"
    )
    search.add_argument("--csv", type=Path, metavar="FILE", help="write them, instead of a table")
    search.add_argument("--grid", type=Path, metavar="FILE", help="the images as one PNG")
    search.add_argument("--html", type=Path, metavar="FILE", help="the images as a page")
    search.set_defaults(command=search_folder)


def search_folder(options: argparse.Namespace) -> None:
    from gen.device import pick_device
    from gen.use.index import current_index
    from gen.use.neighbours import nearest
    from gen.use.photos import tell_skipped

    if not options.folder.is_dir():
        raise UserError(f"there is no folder {options.folder}", expected="a folder of images")
    model, device = used_model(options), pick_device()
    query = _query(model, options, device)
    index, changes = current_index(model, options.folder, options.index, device)
    for line in tell_skipped(changes.skipped, changes.total):
        print(line, file=sys.stderr)
    print(_told(index, changes), file=sys.stderr)
    found = nearest(index, query[0].numpy(), options.top)
    note = f"Similarities are cosines, by {model.name}: they rank images and are no probabilities."
    _show(found, options, note)
    if options.csv is not None:
        _write(found, changes, options)
    print(note)


def _query(model: UsedModel, options: argparse.Namespace, device: torch.device) -> torch.Tensor:
    """Normalised embedding [1, E] of the text or the image.

    Raises:
        UserError: the model cannot read the text, or the image cannot be read.
    """
    import numpy as np

    from gen.datasets.images import BadImage, square
    from gen.evaluation.embed import embed_images
    from gen.use.photos import read_photo
    from gen.use.wording import check_texts, embed_ensembles

    if options.text is None:
        try:
            image = square(read_photo(options.image), model.learner.pixels)
        except BadImage as error:
            raise UserError(f"{error}", where=str(options.image)) from None
        return embed_images(model.learner, np.array([image]), device)
    if model.is_classifier:
        raise UserError(
            f"{model.name} is a classifier: it reads no texts",
            expected="--image FILE, or a model of kind clip or clippo",
            where="--text",
        )
    for warning in check_texts(model, [options.text]):
        print(f"warning: {warning}", file=sys.stderr)
    return embed_ensembles(model, [[options.text]], device)


def _told(index: Index, changes: Changes) -> str:
    """What became of the index."""
    counts = {"new": changes.new, "changed": changes.changed, "gone": changes.gone}
    parts = [f"{changes.kept} known", *(f"{n} {name}" for name, n in counts.items() if n)]
    return f"index {index.place}: {len(index.vectors)} images ({', '.join(parts)})"


def _show(found: pl.DataFrame, options: argparse.Namespace, note: str) -> None:
    from gen.commands.tables import Column, print_table
    from gen.use.photos import shown
    from gen.use.pictures import write_grid, write_page

    if options.csv is None:
        columns = [
            Column[dict]("rank", lambda row: str(row["rank"])),
            Column[dict]("similarity", lambda row: f"{row['similarity']:.3f}"),
            Column[dict]("file", lambda row: shown(options.folder / row["path"]), is_text=True),
        ]
        print_table(columns, list(found.iter_rows(named=True)))
    if options.grid is not None:
        write_grid(found, options.folder, options.grid)
        print(options.grid)
    if options.html is not None:
        title = options.text if options.text is not None else f"like {shown(options.image)}"
        write_page(found, options.folder, options.html, title=title, note=note)
        print(options.html)


def _write(found: pl.DataFrame, changes: Changes, options: argparse.Namespace) -> None:
    import polars as pl

    from gen.use.tables import write_csv, write_skipped

    paths = [str(options.folder / name) for name in found["path"]]
    write_csv(found.with_columns(pl.Series("path", paths, dtype=pl.String)), options.csv)
    print(options.csv)
    print(write_skipped(changes.skipped, options.csv))
