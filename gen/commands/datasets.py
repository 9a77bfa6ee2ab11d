"""Commands on datasets: build, import, download, show, verify."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from gen.commands.options import Verbs, cores, positive
from splits.errors import UserError

SHOWN = 20
"""problems that `verify` prints"""


def add_dataset_commands(commands: Verbs) -> None:
    """`dataset` with its verbs."""
    dataset = commands.add_parser("dataset", help="build, look at and check datasets")
    verbs = dataset.add_subparsers(required=True, metavar="VERB")
    _add_download_command(verbs)
    _add_import_command(verbs)
    for name, command, text in (
        ("build", build_dataset, "render a dataset and write its shards and tables"),
        ("show", show_dataset, "write a contact sheet (domains × classes) as PNG"),
        ("verify", check_dataset, "compare every shard, image and cell with its hash"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument("name", metavar="NAME", help="a dataset in configs/datasets")
        verb.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
        verb.set_defaults(command=command)
        if name == "build":
            verb.add_argument("--workers", type=positive, default=cores(), help="processes")
            verb.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. pixels=64")
        if name == "show":
            verb.add_argument("--classes", type=positive, default=16, help="columns")
            verb.add_argument("--out", type=Path, help="default: contact_sheet.png in its folder")


def _add_download_command(verbs: Verbs) -> None:
    text = "fetch and verify the files of a dataset that others publish"
    verb = verbs.add_parser("download", help=text, description=text)
    verb.add_argument("name", metavar="NAME", help="a dataset in configs/datasets")
    verb.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder of the files")
    verb.set_defaults(command=download_dataset)


def _add_import_command(verbs: Verbs) -> None:
    text = "make a dataset of images that are there already"
    verb = verbs.add_parser("import", help=text, description=text)
    verb.add_argument(
        "name", metavar="NAME", help="in configs/datasets, a YAML file, or a new name"
    )
    verb.add_argument(
        "--from", type=Path, required=True, metavar="DIR", dest="source", help="where they are"
    )
    verb.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
    verb.add_argument("--workers", type=positive, default=cores(), help="processes")
    verb.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. natural=photo")
    verb.set_defaults(command=import_dataset)


def build_dataset(options: argparse.Namespace) -> None:
    from gen.config import load_config
    from gen.datasets.rendered import RenderedConfig, build_rendered

    config = load_config("datasets", options.name, options.overrides)
    if not isinstance(config, RenderedConfig):
        fix = f"clipgen dataset import {options.name} --from DIR"
        raise UserError(f"dataset `{options.name}` is imported, not rendered", fix=fix)
    stood = (options.data / config.name).exists()
    folder = build_rendered(config, options.data, workers=options.workers)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    print(f"{folder}: {manifest['samples']} samples, sha256 {manifest['sha256'][:12]}")
    if "train_objects" in manifest:
        shown, count = manifest["train_objects_shown"], len(manifest["train_objects"])
        print(f"training scenes show {shown} of {count} train objects")
    if stood:
        print("was built already; nothing done")


def import_dataset(options: argparse.Namespace) -> None:
    from gen.config import DatasetKind
    from gen.datasets.captioned import list_captioned
    from gen.datasets.folder import list_folder
    from gen.datasets.importing import import_config, import_listing
    from gen.datasets.summary import summary

    config = import_config(options.name, options.overrides)
    if config.kind is DatasetKind.folder:
        listed = list_folder(config, options.source)
    else:
        listed = list_captioned(config, options.source, workers=options.workers)
    stood = (options.data / config.name).exists()
    folder = import_listing(config, *listed, options.data, workers=options.workers)
    print("\n".join(summary(folder)))
    if stood:
        print("was imported already; nothing done")


def show_dataset(options: argparse.Namespace) -> None:
    from gen.datasets.contact_sheet import contact_sheet
    from gen.datasets.samples import load_dataset
    from splits.files import replacing

    dataset = load_dataset(options.name, options.data)
    path = options.out or dataset.folder / "contact_sheet.png"
    with replacing(path) as temporary:
        contact_sheet(dataset, classes=options.classes).save(temporary, format="PNG")
    print(path)


def check_dataset(options: argparse.Namespace) -> None:
    from gen.datasets.making import making_command
    from gen.datasets.samples import load_dataset
    from gen.datasets.verifying import verify_dataset
    from gen.datasets.wording import counted

    dataset = load_dataset(options.name, options.data)
    problems = verify_dataset(dataset)
    if problems:
        shown = [f"\n    {problem}" for problem in problems[:SHOWN]]
        more = len(problems) - len(shown)
        command = making_command(options.name, options.data)
        raise UserError(
            f"{counted(len(problems), 'problem')}:{''.join(shown)}"
            + f"\n    … and {more} more" * bool(more),
            where=str(dataset.folder),
            fix=f"delete {shlex.quote(str(dataset.folder))} and run: {command}",
        )
    samples = counted(dataset.manifest["samples"], "sample")
    print(f"{dataset.folder}: {samples}, all as their hashes say")


def download_dataset(options: argparse.Namespace) -> None:
    from gen.config import ImportConfig, load_config
    from gen.datasets.download import download

    config = load_config("datasets", options.name)
    if not isinstance(config, ImportConfig):
        raise UserError(
            f"dataset `{options.name}` is rendered here, not downloaded",
            fix=f"clipgen dataset build {options.name}",
        )
    print("\n".join(download(config, options.to)))
    print(f"next: clipgen dataset import {options.name} --from {shlex.quote(str(options.to))}")
