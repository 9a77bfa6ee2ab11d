"""How a command line names the model that it puts to use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gen.commands.options import Verbs
from splits.errors import UserError

if TYPE_CHECKING:
    from gen.use.models import UsedModel

WAYS = "--study STUDY --run ID, or --model NAME --weights TAG, or --model local-dir:FOLDER"


def model_command(commands: Verbs, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    """Add a command on a model: a run of a study, or a model of open_clip."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model = parser.add_argument_group("the model", WAYS)
    model.add_argument(
        "--study",
        nargs="+",
        metavar=("STUDY", "KEY=VALUE"),
        help="a study in configs/studies or a YAML file, and what is changed in it",
    )
    model.add_argument("--run", metavar="ID", help="name of a run of it, or a prefix")
    model.add_argument("--model", metavar="NAME", help="of open_clip, or local-dir:FOLDER")
    model.add_argument("--weights", metavar="TAG", default="", help="open_clip's tag of them")
    model.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
    model.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all studies")
    return parser


def used_model(options: argparse.Namespace) -> UsedModel:
    """The model that the command line names.

    Raises:
        UserError: it names none, or two, or one that is not there.
    """
    of_study = [name for name in ("study", "run") if getattr(options, name)]
    of_open_clip = [name for name in ("model", "weights") if getattr(options, name)]
    if of_study == ["study", "run"] and not of_open_clip:
        return _of_study(options)
    if "model" in of_open_clip and not of_study:
        from gen.schema import PretrainedConfig
        from gen.use.models import pretrained_model

        return pretrained_model(PretrainedConfig(options.model, options.weights))
    given = ", ".join(f"--{name}" for name in [*of_study, *of_open_clip])
    raise UserError(f"{given or 'nothing'} tells which model is meant", expected=WAYS)


def _of_study(options: argparse.Namespace) -> UsedModel:
    from gen.sweep.study import find_run, load_study
    from gen.use.models import trained_model

    name, *overrides = options.study
    study = load_study(name, overrides, data=options.data, runs=options.runs)
    return trained_model(find_run(study, options.run), study.dataset, study.name)
