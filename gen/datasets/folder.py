"""Listings of image folders: a tree DOMAIN/CLASS/IMAGE with the splits' lists, or with a draw.

What counts: the files in the class folders of the domain folders, which both may be links. What is
not looked at: hidden files and folders (their names start with a dot), `Thumbs.db`, `desktop.ini`,
whatever lies beside the domain folders, folders that the configuration does not name as domains,
and classes that it leaves out (`without`). All other files are either in the listing, or refused
with a reason (a folder below a class folder as one), or (with lists) counted as unlisted.

The class of an image is the name of its folder, with spaces for underscores. Names of classes and
domains are taken in composed form (Unicode NFC), ids as the system writes them.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from gen.datasets.images import EXTENSIONS
from gen.datasets.listing import LISTING, REJECTED, class_of, composed, domain_of
from gen.datasets.split_lists import Entry, read_lists
from gen.datasets.wording import counted
from gen.schema import ImportConfig
from splits.errors import UserError, unknown
from splits.held_out import seeded_key

LITTER = ("thumbs.db", "desktop.ini")
"""files that systems leave in folders of images; not looked at, like hidden ones"""
LAYOUT = "DOMAIN/CLASS/IMAGE"
DEEPER = f"deeper than {LAYOUT}"
LOST = "a link that leads nowhere"


class Stray(NamedTuple):
    """A file, or a folder of files, where no image can be."""

    id: str
    reason: str
    files: int = 1


@dataclass
class Tree:
    """What is below the domain folders.

    Attributes:
        images: ids (`DOMAIN/CLASS/IMAGE`) of the files that should be images, sorted.
        strays: what cannot be.
        ignored: number of hidden files and folders and litter.
    """

    images: list[str] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
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
    folders = _domains(config, root)
    tree = _walk(root, folders)
    without = _left_out_classes(config, tree.images)
    source = {"kind": "folder", "unlisted": 0, "ignored": tree.ignored}
    if config.lists:
        files = {*tree.images, *(stray.id for stray in tree.strays)}  # the content decides, later
        entries, strays = read_lists(config.lists, root, list(folders), files)
        total = len(tree.images) + sum(stray.files for stray in tree.strays)
        source["unlisted"] = total - len(entries)
    else:
        entries = _draw(tree.images, config.test_share, config.seed)
        strays = [(stray.id, stray.reason) for stray in tree.strays]
    kept = [entry for entry in entries if class_of(entry.id) not in without]
    strays = [stray for stray in strays if not _is_of(without, stray[0])]
    source["without"] = len(entries) - len(kept)
    if not kept:
        raise _no_image(config, root, strays)
    return _listing(kept, root), _rejected(strays, root), source


def _no_image(config: ImportConfig, root: Path, strays: Sequence[tuple[str, str]]) -> UserError:
    others = ""
    if strays:
        others = f"; {counted(len(strays), 'file')} cannot be one, first {': '.join(strays[0])}"
    listed = f" that {config.lists} list" if config.lists else ""
    return UserError(f"there is no image in {root}{others}", expected=f"files {LAYOUT}{listed}")


def _left_out_classes(config: ImportConfig, images: Sequence[str]) -> set[str]:
    """The classes that the configuration leaves out."""
    known = sorted({class_of(image) for image in images})
    without = {name.replace("_", " ") for name in config.without}
    for name in sorted(without):
        if name not in known:
            raise unknown("class", name, known, where=f"key `without` of dataset {config.name}")
    return without


def _is_of(classes: set[str], name: str) -> bool:
    return name.count("/") > 1 and class_of(name) in classes


def _domains(config: ImportConfig, root: Path) -> dict[str, list[str]]:
    """The domains of a tree, in the order of the configuration or of their names.

    Returns:
        Their folders: one each, unless names differ in nothing but their Unicode form.
    """
    folders = _folders(root)
    for domain in config.domains:
        if config.domains.count(domain) > 1:
            raise UserError(f"domain `{domain}` is named twice", where=f"dataset {config.name}")
        if domain not in folders:
            raise unknown("domain folder", domain, folders, where=str(root))
    domains = list(config.domains) or sorted(folders)
    if not config.natural:
        raise UserError(
            "key `natural` has no value",
            expected=f"the domain of photographs, one of {', '.join(domains)}",
            where=f"dataset {config.name}",
            fix="natural=DOMAIN",
        )
    if config.natural not in domains:
        raise unknown("natural domain", config.natural, domains, where=f"dataset {config.name}")
    return {domain: folders[domain] for domain in domains}


def _folders(root: Path) -> dict[str, list[str]]:
    """The folders in the root, by the composed form of their names."""
    if not root.is_dir():
        raise UserError(
            f"there is no folder {root}", fix="name the folder of the domains with --from DIR"
        )
    found = [item for item in _visible(str(root), Tree()) if _is_folder(item)]
    if not found:
        raise UserError(
            f"there are no folders in {root}",
            expected=f"{LAYOUT} in it",
            fix="name the folder of the domains with --from DIR",
        )
    inside = [item for folder in found for item in _visible(folder.path, Tree())]
    deeper = (
        item for folder in filter(_is_folder, inside) for item in _visible(folder.path, Tree())
    )
    if any(map(_is_named_as_image, inside)) and not any(map(_is_named_as_image, deeper)):
        raise UserError(
            f"{root} looks like one domain: the folders in it hold images, not classes",
            expected=f"{LAYOUT} in it",
            fix=f"give its parent: --from {root.parent}",
        )
    folders: dict[str, list[str]] = defaultdict(list)
    for item in sorted(found, key=lambda item: item.name):
        folders[composed(item.name)].append(item.name)
    return dict(folders)


def _walk(root: Path, domains: Mapping[str, Sequence[str]]) -> Tree:
    """Sort the files below the domain folders into images, strays and ignored ones."""
    tree = Tree()
    for folder in (folder for folders in domains.values() for folder in folders):
        for item in _visible(f"{root}/{folder}", tree):
            name = f"{folder}/{item.name}"
            if _is_folder(item):
                _walk_class(item, name, tree)
            else:
                _add_stray(tree, name, LOST if _is_lost(item) else "not in a class folder")
    tree.images.sort()
    tree.strays.sort()
    return tree


def _walk_class(folder: os.DirEntry[str], prefix: str, tree: Tree) -> None:
    for item in _visible(folder.path, tree):
        name = f"{prefix}/{item.name}"
        if _is_folder(item):
            _add_folder(tree, item, name)
        elif _is_lost(item):
            _add_stray(tree, name, LOST)
        elif not _is_text(name):
            _add_stray(tree, name, "the name is not UTF-8")
        elif _is_named_as_image(item):
            tree.images.append(name)
        else:
            _add_stray(tree, name, "not the extension of an image")


def _add_folder(tree: Tree, item: os.DirEntry[str], name: str) -> None:
    """Add a folder below a class folder as one stray, if there is any file in it."""
    if item.is_symlink():  # not followed: it may lead back here
        _add_stray(tree, name, f"{DEEPER}: a link to a folder")
        return
    count = 0
    for deep, folders, files in os.walk(item.path):
        tree.ignored += sum(map(_is_ignored, [*folders, *files]))
        folders[:] = [folder for folder in folders if not _is_ignored(folder)]
        links = [folder for folder in folders if os.path.islink(f"{deep}/{folder}")]
        count += sum(not _is_ignored(file) for file in files) + len(links)
    if count:
        _add_stray(tree, name, f"{DEEPER}: a folder that holds {counted(count, 'file')}", count)


def _visible(folder: str, tree: Tree) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as items:
        for item in items:
            if _is_ignored(item.name):
                tree.ignored += 1
            else:
                yield item


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _is_folder(item: os.DirEntry[str]) -> bool:
    if item.is_symlink():  # `item.is_dir` raises where links lead to each other
        return os.path.isdir(item.path)
    return item.is_dir()


def _is_lost(item: os.DirEntry[str]) -> bool:
    return item.is_symlink() and not os.path.exists(item.path)


def _is_named_as_image(item: os.DirEntry[str]) -> bool:
    return item.name.lower().endswith(EXTENSIONS)


def _is_text(name: str) -> bool:
    return os.fsencode(name).decode(errors="replace") == name


def _add_stray(tree: Tree, name: str, reason: str, files: int = 1) -> None:
    tree.strays.append(Stray(os.fsencode(name).decode(errors="replace"), reason, files))


def _draw(images: Sequence[str], test_share: float, seed: int) -> list[Entry]:
    """Split every (domain, class) cell; an image's place depends on no other cell.

    A cell of two or more images has at least one in each split; a single image is for training.
    """
    if not 0 < test_share < 1:
        raise UserError(
            f"key `test_share` is {test_share}", expected="a share between 0 and 1 (neither)"
        )
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for image in images:
        cells[domain_of(image), class_of(image)].append(image)
    test: set[str] = set()
    for members in cells.values():
        count = int(test_share * len(members) + 0.5)
        count = min(max(count, 1), len(members) - 1)
        test.update(sorted(members, key=lambda image: seeded_key(seed, image))[:count])
    entries: list[Entry] = []
    positions: Counter[tuple[str, str]] = Counter()
    for image in images:
        split, domain = "test" if image in test else "train", domain_of(image)
        entries.append(Entry(image, split, positions[domain, split]))
        positions[domain, split] += 1
    return entries


def _listing(entries: Sequence[Entry], root: Path) -> pl.DataFrame:
    columns = {
        "id": [entry.id for entry in entries],
        "domain": [domain_of(entry.id) for entry in entries],
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
