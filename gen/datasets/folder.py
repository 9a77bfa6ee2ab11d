"""Listings of image folders: a tree DOMAIN/CLASS/IMAGE with the splits' lists, or with a draw.

What counts: the files in the class folders of the domain folders. What is not looked at: hidden
files and folders (their names start with a dot), `Thumbs.db`, `desktop.ini`, whatever lies beside
the domain folders, and folders that the configuration does not name as domains. All other files
are either in the listing, or refused with a reason, or (with lists) counted as unlisted.

The class of an image is the name of its folder, with spaces for underscores.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from gen.datasets.images import EXTENSIONS
from gen.datasets.listing import LISTING, REJECTED
from gen.datasets.split_lists import Entry, read_lists
from gen.schema import ImportConfig
from splits.errors import UserError, unknown
from splits.held_out import seeded_key

LITTER = ("thumbs.db", "desktop.ini")
"""files that systems leave in folders of images; not looked at, like hidden ones"""


@dataclass
class Tree:
    """What is below the domain folders.

    Attributes:
        images: ids (`DOMAIN/CLASS/IMAGE`) of the files that should be images, sorted.
        strays: id and reason of the files that cannot be.
        ignored: number of hidden files and folders and litter.
    """

    images: list[str] = field(default_factory=list)
    strays: list[tuple[str, str]] = field(default_factory=list)
    ignored: int = 0


def list_folder(
    config: ImportConfig, root: Path
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """List the images of a tree.

    Args:
        config: of kind `folder`.
        root: folder of the domain folders and the lists.

    Returns:
        The listing (columns LISTING), the refused (columns REJECTED), and what the manifest says
        about the source.

    Raises:
        UserError: a folder or list is missing or contradicts another, or there is no image.
    """
    root = root.absolute()
    domains = _domains(config, root)
    tree = _walk(root, domains)
    if config.lists:
        files = {*tree.images, *(name for name, _ in tree.strays)}  # the content decides, later
        entries, strays = read_lists(config.lists, root, domains, files)
        unlisted = len(files) - len(entries)
    else:
        entries, strays = _draw(tree.images, config.test_share, config.seed), tree.strays
        unlisted = 0
    if not entries:
        found = f"; {len(strays)} files are none, first {strays[0]}" if strays else ""
        raise UserError(
            f"there is no image in {root}{found}",
            expected="files DOMAIN/CLASS/IMAGE" + f" that {config.lists} list" * bool(config.lists),
        )
    source = {"kind": "folder", "unlisted": unlisted, "ignored": tree.ignored}
    return _listing(entries, root), _rejected(strays, root), source


def class_of(image_id: str) -> str:
    """Class of an image `DOMAIN/CLASS/IMAGE`."""
    return image_id.split("/")[1].replace("_", " ")


def _domains(config: ImportConfig, root: Path) -> list[str]:
    """The domains of a tree, in the order of the configuration or of their names."""
    if not root.is_dir():
        raise UserError(
            f"there is no folder {root}", fix="name the folder of the domains with --from DIR"
        )
    folders = sorted(
        item.name for item in root.iterdir() if item.is_dir() and not _is_ignored(item.name)
    )
    for domain in config.domains:
        if config.domains.count(domain) > 1:
            raise UserError(f"domain `{domain}` is named twice", where=f"dataset {config.name}")
        if domain not in folders:
            raise unknown("domain folder", domain, folders, where=str(root))
    domains = list(config.domains) or folders
    if not config.natural:
        raise UserError(
            "key `natural` has no value",
            expected=f"the domain of photographs, one of {', '.join(domains)}",
            where=f"dataset {config.name}",
            fix="natural=DOMAIN",
        )
    if config.natural not in domains:
        raise unknown("natural domain", config.natural, domains, where=f"dataset {config.name}")
    return domains


def _walk(root: Path, domains: Sequence[str]) -> Tree:
    """Sort the files below the domain folders into images, strays and ignored ones."""
    tree = Tree()
    for domain in domains:
        for item in _visible(f"{root}/{domain}", tree):
            if item.is_dir():
                _walk_class(item, f"{domain}/{item.name}", tree)
            else:
                _add_stray(tree, f"{domain}/{item.name}", "not in a class folder")
    tree.images.sort()
    tree.strays.sort()
    return tree


def _walk_class(folder: os.DirEntry[str], prefix: str, tree: Tree) -> None:
    for item in _visible(folder.path, tree):
        name = f"{prefix}/{item.name}"
        if item.is_dir():
            for deep, _, files in os.walk(item.path):  # links are not followed: no circles
                below = os.path.relpath(deep, folder.path)
                for file in files:
                    _add_stray(tree, f"{prefix}/{below}/{file}", "deeper than DOMAIN/CLASS/IMAGE")
        elif not _is_text(name):
            _add_stray(tree, name, "the name is not UTF-8")
        elif name.lower().endswith(EXTENSIONS):
            tree.images.append(name)
        else:
            _add_stray(tree, name, "not the extension of an image")


def _visible(folder: str, tree: Tree) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as items:
        for item in items:
            if _is_ignored(item.name):
                tree.ignored += 1
            else:
                yield item


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _is_text(name: str) -> bool:
    return os.fsencode(name).decode(errors="replace") == name


def _add_stray(tree: Tree, name: str, reason: str) -> None:
    tree.strays.append((os.fsencode(name).decode(errors="replace"), reason))


def _draw(images: Sequence[str], test_share: float, seed: int) -> list[Entry]:
    """Split every (domain, class) cell; an image's place depends on no other cell.

    A cell of two or more images has at least one in each split; a single image is for training.
    """
    if not 0 < test_share < 1:
        raise UserError(
            f"key `test_share` is {test_share}", expected="a share between 0 and 1 (neither)"
        )
    cells: dict[str, list[str]] = defaultdict(list)
    for image in images:
        cells[image.rsplit("/", 1)[0]].append(image)
    test: set[str] = set()
    for members in cells.values():
        count = int(test_share * len(members) + 0.5)
        count = min(max(count, 1), len(members) - 1)
        test.update(sorted(members, key=lambda image: seeded_key(seed, image))[:count])
    entries: list[Entry] = []
    positions: Counter[tuple[str, str]] = Counter()
    for image in images:
        split = "test" if image in test else "train"
        domain = image.split("/")[0]
        entries.append(Entry(image, split, positions[domain, split]))
        positions[domain, split] += 1
    return entries


def _listing(entries: Sequence[Entry], root: Path) -> pl.DataFrame:
    columns = {
        "id": [entry.id for entry in entries],
        "domain": [entry.id.split("/")[0] for entry in entries],
        "class_name": [class_of(entry.id) for entry in entries],
        "split": [entry.split for entry in entries],
        "position": [entry.position for entry in entries],
        "path": [f"{root}/{entry.id}" for entry in entries],
    }
    unset = {name: [None] * len(entries) for name in ("offset", "size", "caption")}
    return pl.DataFrame(columns | unset, schema=LISTING)


def _rejected(strays: Sequence[tuple[str, str]], root: Path) -> pl.DataFrame:
    rows = [(name, f"{root}/{name}", reason) for name, reason in strays]
    return pl.DataFrame(rows, schema=REJECTED, orient="row")
