"""Lists of a split's images, as DomainNet publishes them: lines `DOMAIN/CLASS/IMAGE LABEL`.

A label is a number that stands for a class; it is only checked, not kept: the id of a class is its
place in the sorted list of classes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gen.datasets.listing import SPLITS, class_of, composed
from splits.errors import UserError


@dataclass(frozen=True)
class Entry:
    """An image in a split.

    Attributes:
        id: its path below the root, `DOMAIN/CLASS/IMAGE`.
        split: `train` or `test`.
        position: its place in the list of its domain and split, from 0.
    """

    id: str
    split: str
    position: int


@dataclass(frozen=True)
class Line:
    """One line of a list, and where it stands (`FILE:LINE`)."""

    path: str
    label: int
    position: int
    place: str


def read_lists(
    pattern: str, root: Path, domains: Sequence[str], files: Collection[str]
) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Read the lists of all domains and splits.

    Args:
        pattern: of the lists' paths below `root`, with `{domain}` and `{split}`.
        root: folder of the lists.
        domains: all domains.
        files: ids of the files that are there.

    Returns:
        The images, and (path, reason) of the lines that name none or one that is named already.

    Raises:
        UserError: a list is missing, empty or not readable, or labels contradict each other.
    """
    entries, refused = [], []
    seen: dict[str, str] = {}
    labels = _Labels()
    for domain in domains:
        for split in SPLITS:
            for line in _read(_path(pattern, root, domain, split), root):
                parts = line.path.split("/")
                if len(parts) != 3 or composed(parts[0]) != domain:
                    reason = f"listed in {line.place}, but not as {domain}/CLASS/IMAGE"
                elif line.path not in files:
                    reason = f"listed in {line.place}, but there is no such file"
                elif line.path in seen:
                    reason = f"duplicated: in {line.place} and in {seen[line.path]}"
                else:
                    reason = ""
                    entries.append(Entry(line.path, split, line.position))
                    seen[line.path] = line.place
                if len(parts) == 3:
                    labels.check(class_of(line.path), line)
                if reason:
                    refused.append((line.path, reason))
    return entries, refused


class _Labels:
    """One label per class, and one class per label, over all lists."""

    def __init__(self) -> None:
        self.of_class: dict[str, Line] = {}
        self.of_label: dict[int, tuple[str, Line]] = {}

    def check(self, class_name: str, line: Line) -> None:
        first = self.of_class.setdefault(class_name, line)
        if first.label != line.label:
            raise UserError(
                f"class `{class_name}` has the label {line.label} in {line.place}, "
                f"but {first.label} in {first.place}",
                expected="one label for every class, in all lists",
            )
        name, first = self.of_label.setdefault(line.label, (class_name, line))
        if name != class_name:
            raise UserError(
                f"label {line.label} is class `{class_name}` in {line.place}, "
                f"but `{name}` in {first.place}",
                expected="one class for every label, in all lists",
            )


def _path(pattern: str, root: Path, domain: str, split: str) -> Path:
    if "{domain}" not in pattern or "{split}" not in pattern:
        raise UserError(
            f"key `lists` is {pattern}",
            expected="a path with {domain} and {split}, for example {domain}_{split}.txt",
        )
    return root / pattern.replace("{domain}", domain).replace("{split}", split)


def _read(path: Path, root: Path) -> Iterator[Line]:
    if not path.is_file():
        raise UserError(
            f"there is no list {path}",
            expected="a list for every domain and split, lines `DOMAIN/CLASS/IMAGE LABEL`",
            fix="put it there; or draw the splits instead of reading them: lists= on the "
            "command line",
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error})") from None
    position = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path.relative_to(root)}:{number}"
        name, *label = line.rsplit(maxsplit=1)
        if not label or not label[0].isdecimal():
            raise UserError(
                f"line {number} of {path} is `{line.strip()}`", expected="DOMAIN/CLASS/IMAGE LABEL"
            )
        yield Line(name, int(label[0]), position, place)
        position += 1
    if not position:
        raise UserError(f"the list {path} is empty", expected="lines DOMAIN/CLASS/IMAGE LABEL")
