"""The command `export`: a run's model and test sets for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from gen.commands.options import Verbs, load, study_command

EXAMPLES = """examples:
  clipgen export demo --run natural_only --to exported
  python -c "import open_clip; open_clip.create_model('local-dir:exported/model')"
  clip_benchmark eval --no_amp --model local-dir:exported/model --pretrained none \\
      --dataset wds/quickdraw --dataset_root 'exported/sets/{dataset}' \\
      --task zeroshot_classification --output quickdraw.json
"""


def add_export_command(commands: Verbs) -> None:
    """`export`."""
    text = "write a run's model for open_clip, and its test sets for CLIP_benchmark"
    export = study_command(commands, "export", export_one, text)
    export.add_argument("--run", metavar="ID", required=True, help="name, or a prefix of it")
    export.add_argument("--to", metavar="DIR", type=Path, required=True, help="folder to write")
    export.formatter_class = argparse.RawDescriptionHelpFormatter
    export.epilog = EXAMPLES


def export_one(options: argparse.Namespace) -> None:
    from gen.evaluation.exporting import export_run
    from gen.sweep.study import find_run

    study = load(options)
    export_run(find_run(study, options.run), study.dataset, options.to)
    print(options.to)
