"""The command `predict`: what a model takes the user's images for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gen.commands.options import Verbs, positive
from gen.commands.used_model import model_command, used_model
from splits.errors import UserError

if TYPE_CHECKING:
    import torch

    from gen.use.models import UsedModel
    from gen.use.prediction import Predictions

PROMPT_SETS = ("domain_free", "single", "ensemble", "openai")
"""of `gen.schema.PromptSet` all but `domain`: nobody said what domain a user's image is of"""

EXAMPLES = """examples:
  clipgen predict photos --study demo --run upper_bound_high --labels "dog,church,t-shirt"
  clipgen predict a.jpg b.png --study demo --run natural --labels-file labels.txt --top 1
  clipgen predict photos --model ViT-B-32 --weights laion2b_s34b_b79k --labels "cat,dog" \\
      --prompt "a photo of a {}" --prompt "a drawing of a {}" --csv predictions.csv
  clipgen predict photos --model local-dir:exported/model --labels "dog,church"
"""


def add_predict_command(commands: Verbs) -> None:
    """`predict`."""
    text = "zero-shot: which of your labels fits each of your images best, to a model"
    predict = model_command(commands, "predict", text, EXAMPLES)
    predict.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="images, or folders of them"
    )
    labels = predict.add_mutually_exclusive_group()
    labels.add_argument("--labels", metavar="A,B,…", help="names, with commas between them")
    labels.add_argument("--labels-file", type=Path, metavar="FILE", help="names, one a line")
    prompts = predict.add_mutually_exclusive_group()
    prompts.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help='e.g. "a photo of a {}"; several are averaged',
    )
    prompts.add_argument(
        "--prompt-set", choices=PROMPT_SETS, default=PROMPT_SETS[0], help="default: %(default)s"
    )
    predict.add_argument(
        "--top", type=positive, default=5, metavar="N", help="labels of an image (default: 5)"
    )
    predict.add_argument("--csv", type=Path, metavar="FILE", help="write them, instead of a table")
    predict.set_defaults(command=predict_files)


def predict_files(options: argparse.Namespace) -> None:
    from gen.device import pick_device
    from gen.use.photos import find_files, tell_skipped
    from gen.use.prediction import Predictions, predict_photos

    given = _labels(options)
    paths, skipped = find_files(options.files)
    if not paths:
        tell_skipped(skipped, len(skipped))
    model, device = used_model(options), pick_device()
    if model.is_classifier:
        labels, heads = _own_classes(model, given, options), None
    else:
        labels, heads = given, _heads(model, given, options, device)
    found = predict_photos(model, paths, labels, heads, device, top=options.top)
    total, skipped = len(paths) + len(skipped), skipped + found.skipped
    for line in tell_skipped(skipped, total):
        print(line, file=sys.stderr)
    if options.csv is None:
        _print(found)
    else:
        _write(Predictions(found.table, skipped), options.csv)
    print(
        f"Probabilities are over these {len(labels)} labels only (chance: {1 / len(labels):.1%}), "
        f"by {model.name}: an image of something else gets one of them, too."
    )


def _labels(options: argparse.Namespace) -> list[str]:
    """The labels of the command line, in its order.

    Raises:
        UserError: their file cannot be read.
    """
    if options.labels_file is None:
        texts = (options.labels or "").split(",")
    else:
        try:
            texts = options.labels_file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"the labels cannot be read: {error}",
                expected="a text file in UTF-8, with one label a line",
                where=str(options.labels_file),
            ) from None
    return [text.strip() for text in texts if text.strip()]


def _own_classes(
    model: UsedModel, given: Sequence[str], options: argparse.Namespace
) -> Sequence[str]:
    """The classes of a classifier.

    Raises:
        UserError: the command line has labels or prompts.
    """
    if given or options.prompt or model.dataset is None:
        raise UserError(
            f"{model.name} is a classifier: it reads no texts, and knows its own classes only",
            expected="a command without labels and prompts, or a model of kind clip or clippo",
            where="--labels" if given else "--prompt",
        )
    return model.dataset.classes


def _heads(
    model: UsedModel, labels: Sequence[str], options: argparse.Namespace, device: torch.device
) -> torch.Tensor:
    """Embeddings of the labels; what the model never learned about them is told."""
    from gen.schema import PromptSet
    from gen.use.wording import (
        check_labels,
        check_texts,
        embed_ensembles,
        known_prompts,
        own_prompts,
    )

    check_labels(labels)
    if options.prompt:
        ensembles = own_prompts(labels, options.prompt)
    else:
        ensembles = known_prompts(labels, PromptSet[options.prompt_set], model)
    for warning in check_texts(model, [text for texts in ensembles for text in texts]):
        print(f"warning: {warning}", file=sys.stderr)
    return embed_ensembles(model, ensembles, device)


def _print(found: Predictions) -> None:
    """A line for every file: its label, and the others behind it."""
    from gen.commands.tables import Column, print_table
    from gen.use.photos import shown

    by_file = found.table.partition_by("path", maintain_order=True)
    rows = [list(table.iter_rows(named=True)) for table in by_file]
    columns = [
        Column[list]("file", lambda row: shown(Path(row[0]["path"])), is_text=True),
        Column[list]("label", lambda row: row[0]["label"], is_text=True),
        Column[list]("probability", lambda row: f"{row[0]['probability']:.1%}"),
        Column[list]("then", lambda row: _others(row[1:]), rank=1, is_text=True),
    ]
    print_table(columns, rows)


def _others(rows: Sequence[dict]) -> str:
    return ", ".join(f"{row['label']} {row['probability']:.1%}" for row in rows)


def _write(found: Predictions, path: Path) -> None:
    from gen.use.tables import write_csv, write_skipped

    write_csv(found.table, path)
    print(path)
    print(write_skipped(found.skipped, path))
