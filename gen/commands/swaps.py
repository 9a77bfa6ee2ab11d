"""The command `swaps`: does a model prefer right captions to wrong ones of a list?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gen.commands.options import Verbs
from gen.commands.used_model import model_command, used_model
from splits.errors import UserError

EXAMPLES = """examples:
  clipgen swaps pairs.json --study scenes --run all
  clipgen swaps swap_att.json --images val2017 --model ViT-B-32 --weights laion2b_s34b_b79k
  clipgen swaps examples.jsonl --images images --model ViT-B-32 --weights openai \\
      --csv scores.csv

An entry has image, caption and negatives (as of ARO and SugarCrepe), or image_0, image_1, caption_0
and caption_1 (as of Winoground); docs/binding_behaviour.md has the columns and the scores.
"""


def add_swaps_command(commands: Verbs) -> None:
    """`swaps`."""
    text = "score right against wrong captions of a list of images: binding, word order, …"
    swaps = model_command(commands, "swaps", text, EXAMPLES)
    swaps.add_argument("file", type=Path, metavar="FILE", help="JSON, JSON lines or CSV")
    swaps.add_argument("--images", type=Path, metavar="DIR", help="default: the folder of FILE")
    swaps.add_argument("--csv", type=Path, metavar="FILE", help="write them, instead of a table")
    swaps.set_defaults(command=score_swaps)


def score_swaps(options: argparse.Namespace) -> None:
    from analysis.binding.swap_files import read_swaps, swap_file_rows
    from gen.device import pick_device
    from gen.use.similarities import group_similarities
    from gen.use.wording import check_texts

    items = read_swaps(options.file, options.images)
    model, device = used_model(options), pick_device()
    if model.is_classifier:
        raise UserError(
            f"{model.name} is a classifier: it reads no captions",
            expected="a model of kind clip or clippo",
        )
    texts = [item.captions for item in items]
    for warning in check_texts(model, [text for group in texts for text in group]):
        print(f"warning: {warning}", file=sys.stderr)
    found = group_similarities(model, [item.images for item in items], texts, device)
    rows = swap_file_rows(items, found)
    if options.csv is None:
        _print(rows)
    else:
        _write(rows, options.csv)
    print(f"{len(items)} entries, by {model.name}.")


def _print(rows: list[dict[str, Any]]) -> None:
    from gen.commands.tables import Column, print_table

    columns = [
        Column[dict]("category", lambda row: row["category"], is_text=True),
        Column[dict]("score", lambda row: row["score"], is_text=True),
        Column[dict]("value", lambda row: f"{row['value']:.1%}"),
        Column[dict]("95% interval", lambda row: f"{row['lo']:.1%}–{row['hi']:.1%}"),
        Column[dict]("chance", lambda row: f"{row['chance']:.1%}", rank=1),
        Column[dict]("entries", lambda row: str(row["n"]), rank=2),
    ]
    print_table(columns, rows)


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    import polars as pl

    from gen.use.tables import write_csv

    names = ["category", "score", "value", "lo", "hi", "chance", "n"]
    write_csv(pl.DataFrame(rows).select(names), path)
    print(path)
