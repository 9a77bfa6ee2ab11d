"""Lists of images with right and wrong captions, as public tests of binding have them.

A file is JSON (a list of objects), JSON lines, or CSV. Two forms are known:

    one image     image, caption, negatives (a list; in CSV JSON or one column per negative)
                  as of ARO and SugarCrepe: is the image nearest to its caption?
    two of each   image_0, image_1, caption_0, caption_1 as of Winoground (Thrush et al. 2022):
                  with s(C, I), and 0 and 1 that belong together,
                  text   s(C0,I0) > s(C1,I0) and s(C1,I1) > s(C0,I1)
                  image  s(C0,I0) > s(C0,I1) and s(C1,I1) > s(C1,I0)
                  group  both

`category`, if there is such a column, is told apart. Names that these tests use themselves are
understood (NAMES), and images without the ending of their file, as Winoground has them. Nothing is
left out: what cannot be read is an error that names its entry.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb

from analysis.binding.shares import share
from analysis.binding.swap_retrieval import TIE, preference
from gen.datasets.images import EXTENSIONS
from splits.errors import UserError

NAMES = {
    "image": ("image", "image_path", "filename", "file"),
    "caption": ("caption", "true_caption", "positive", "positive_caption"),
    "negatives": ("negatives", "negative_captions", "negative_caption", "false_caption"),
    "category": ("category", "tag"),
}
"""columns, and what else they are called"""
NUMBERED = re.compile(r"negative(_caption)?_\d+")
"""columns of one negative each"""
PAIRED = ("image_0", "image_1", "caption_0", "caption_1")
FORMS = "image, caption and negatives; or image_0, image_1, caption_0 and caption_1"
FILE = "a file, by its path below the folder of images, perhaps without ending"
SHOWN = 80
"""letters of a name that a message shows"""
ALL = "all"
CHANCES = {"text": 0.25, "image": 0.25, "group": 1 / 6}
"""of random similarities; group: that the two right ones are the largest two of the four"""


@dataclass(frozen=True)
class SwapItem:
    """An entry of a file.

    Attributes:
        images: one, or two where captions are two as well.
        captions: of one image the right one and then the wrong ones; of two images one each.
        category: as which it is told apart.
    """

    images: tuple[Path, ...]
    captions: tuple[str, ...]
    category: str | None = None

    @property
    def is_paired(self) -> bool:
        return len(self.images) == 2


def read_swaps(path: Path, images: Path | None = None) -> list[SwapItem]:
    """Read and check a file.

    Args:
        path: JSON, JSON lines or CSV.
        images: folder of the images; that of the file by default.

    Raises:
        UserError: the file or an image is not there, several files may be meant, an entry lacks
            its image, its caption or its negatives, one is empty, an entry is there twice, or both
            forms are in one file.
    """
    files = _Images(path.parent if images is None else images)
    entries = _entries(path)
    if not entries:
        raise UserError("the list of captions is empty", expected=FORMS, where=str(path))
    items = [
        _item(entry, files, f"{path}, entry {number}") for number, entry in enumerate(entries, 1)
    ]
    seen: dict[tuple[Any, ...], int] = {}
    for number, item in enumerate(items, 1):
        first = seen.setdefault((item.images, item.captions), number)
        if first != number:
            raise UserError(
                f"entry {number} is entry {first} once more",
                expected="every image with its captions once",
                where=str(path),
            )
    if len({item.is_paired for item in items}) > 1:
        raise UserError("entries have different forms", expected=f"one: {FORMS}", where=str(path))
    return items


def swap_file_rows(
    items: Sequence[SwapItem], similarities: Sequence[NDArray[np.floating]]
) -> list[dict[str, Any]]:
    """Scores of a model on the entries of a file, in all and by category.

    Args:
        items: of one form.
        similarities: of every entry [images, captions].

    Returns:
        Rows of `Share` with `score` ("caption"; or "text", "image" and "group") and `category`.
        Intervals are over images: entries of one image are right or wrong together. A tie counts
        as the share of it that a guess would win. There is no floor: what a bag of concepts reaches
        depends on the list.

    Raises:
        ValueError: shapes differ.
        UserError: a similarity is not finite: it is neither right nor wrong.
    """
    for item, values in zip(items, similarities, strict=True):
        if values.shape != (len(item.images), len(item.captions)):
            raise ValueError(f"similarities {values.shape} of {len(item.captions)} captions")
        _check_finite(item, values)
    clusters = np.unique([str(item.images[0]) for item in items], return_inverse=True)[1]
    right = _paired_scores(similarities) if items[0].is_paired else _caption_score(similarities)
    chance = {name: np.full(len(items), CHANCES[name]) for name in right if name in CHANCES}
    chance.setdefault("caption", np.array([1 / len(item.captions) for item in items]))
    categories = np.array([item.category or "" for item in items])
    rows = []
    for category in [ALL, *sorted(set(categories.tolist()) - {""})]:
        chosen = np.ones(len(items), dtype=bool) if category == ALL else categories == category
        for name, values in right.items():
            level = chance[name][chosen]
            found = share(values[chosen], clusters[chosen], chance=level)
            rows.append(found.row(score=name, category=category))
    return rows


def _check_finite(item: SwapItem, values: NDArray[np.floating]) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        image, caption = bad[0]
        raise UserError(
            f"the model gives embeddings that are not finite: the similarity of image "
            f"{item.images[image]} and caption {item.captions[caption]!r} is "
            f"{values[image, caption]}",
            expected="finite embeddings of every image and every caption",
            fix="other weights",
        )


def _caption_score(similarities: Sequence[NDArray[np.floating]]) -> dict[str, NDArray[np.float64]]:
    """Whether every image is nearest to its caption."""
    found = [preference(values[:, 0], values[:, 1:])[0] for values in similarities]
    return {"caption": np.array(found)}


def _paired_scores(
    similarities: Sequence[NDArray[np.floating]],
) -> dict[str, NDArray[np.float64]]:
    """Winoground's three scores; a tie in one comparison counts as one half of it."""
    s = np.stack(similarities)
    text = preference(s[:, 0, 0], s[:, 0, 1:]) * preference(s[:, 1, 1], s[:, 1, :1])
    image = preference(s[:, 0, 0], s[:, 1, :1]) * preference(s[:, 1, 1], s[:, 0, 1:])
    own, others = s[:, [0, 1], [0, 1]], s[:, [0, 1], [1, 0]]
    return {"text": text, "image": image, "group": _both_first(own, others)}


def _both_first(own: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """[n] whether both own similarities [n, 2] exceed both others [n, 2].

    Of ties it is the share of the orders in which they do: 1/6 where all four are equal.
    """
    weakest, strongest = own.min(axis=1), others.max(axis=1)
    gap = weakest.astype(np.float64) - strongest
    tied = (own <= weakest[:, None] + TIE).sum(axis=1)
    against = (others >= strongest[:, None] - TIE).sum(axis=1)
    shares = 1 / comb(tied + against, tied)
    return np.where(gap > TIE, 1.0, np.where(gap < -TIE, 0.0, shares))


def _entries(path: Path) -> list[Mapping[str, Any]]:
    """The entries of a file as they stand there."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            table.fieldnames = [title.strip() for title in table.fieldnames or ()]
            _check_titles(table.fieldnames)
            return list(table)
        if path.suffix.lower() == ".jsonl":
            found = [_json(line) for line in text.split("\n") if line.strip()]
        else:
            found = _json(text)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"the list of captions cannot be read: {error}",
            expected="JSON, JSON lines or CSV in UTF-8, with every title once",
            where=str(path),
        ) from None
    # SugarCrepe's files are objects of numbered entries
    entries = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(
            "the list of captions is no list of entries", expected=FORMS, where=str(path)
        )
    return entries


def _json(text: str) -> Any:
    """Raises ValueError: it is no JSON, such that Python cannot hold it, or has a title twice."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    _check_titles(title for title, _ in pairs)
    return dict(pairs)


def _check_titles(titles: Iterable[str]) -> None:
    """Raise where one stands twice: all but the last would be lost. None (empty) may be missing."""
    twice = [title for title, count in Counter(titles).items() if title and count > 1]
    if twice:
        raise ValueError(f"the title `{twice[0]}` is there twice")


def _item(entry: Mapping[str, Any], images: _Images, where: str) -> SwapItem:
    if None in entry:  # how the reader of CSV names cells without a title
        raise UserError(
            "there are more cells than columns",
            expected="captions with commas in quotation marks",
            where=where,
        )
    category = _category(_found(entry, "category"), where)
    if all(name in entry for name in PAIRED):
        paths = tuple(images.find(entry[name], where) for name in PAIRED[:2])
        captions = tuple(_caption(entry[name], where) for name in PAIRED[2:])
        if captions[0] == captions[1] or paths[0] == paths[1]:
            raise UserError(
                "two images or two captions are the same", expected="two of each", where=where
            )
        return SwapItem(paths, captions, category)
    path = images.find(_found(entry, "image"), where)
    captions = (_caption(_found(entry, "caption"), where), *_negatives(entry, where))
    if len(set(captions)) < len(captions):
        raise UserError("a caption is there twice", expected="negatives that differ", where=where)
    return SwapItem((path,), captions, category)


def _found(entry: Mapping[str, Any], name: str) -> Any:
    return next((entry[other] for other in NAMES[name] if other in entry), None)


def _negatives(entry: Mapping[str, Any], where: str) -> list[str]:
    """The wrong captions: of a list, of JSON in a cell, or of several columns."""
    values: list[Any] = []
    for name, value in entry.items():
        if name not in NAMES["negatives"] and not NUMBERED.fullmatch(name):
            continue
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = _json(value)
            except ValueError as error:
                raise UserError(
                    f"`{name}` is no list: {error}", expected="a list in JSON", where=where
                ) from None
        values += value if isinstance(value, list) else [value]
    # rows of a table have empty cells where others have more negatives
    texts = [_caption(value, where) for value in values if value not in (None, "")]
    if not texts:
        raise UserError(
            "there are no negative captions",
            expected="one or more in `negatives`, or in columns `negative_1`, `negative_2`, …",
            where=where,
        )
    return texts


def _caption(value: Any, where: str) -> str:
    text = _text(value)
    if text is None:
        raise UserError(
            f"a caption is {'missing or empty' if not value else 'no text'}",
            expected=FORMS,
            where=where,
        )
    return text


def _category(value: Any, where: str) -> str | None:
    """Numbers are their text; the name of all entries together is none."""
    if value == ALL:
        raise UserError(
            f"a category is called `{ALL}`",
            expected="another name: so are all entries together",
            where=where,
        )
    if isinstance(value, bool | list | dict):
        raise UserError(
            f"a category is a {type(value).__name__}", expected="text or a number", where=where
        )
    return _text(value if value is None else str(value))


def _text(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) and value.strip() else None


class _Images:
    """The files of a folder, found by their paths or by these without the ending."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_stem = cache(_by_stem)

    def find(self, value: Any, where: str) -> Path:
        name = _text(value)
        if name is None:
            raise UserError("there is no image", expected=FORMS, where=where)
        path = self.folder / name
        try:
            if path.is_file():
                return path
            found = self.by_stem(path.parent).get(path.name, [])
        except OSError as error:
            shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
            raise UserError(
                f"image {shown} cannot be looked up: {error.strerror}",
                expected=FILE,
                where=where,
            ) from None
        if len(found) > 1:
            raise UserError(
                f"image {path} may be {' or '.join(sorted(file.name for file in found))}",
                expected="one image of that name",
                where=where,
                fix="write the ending in the list",
            )
        if not found:
            raise UserError(
                f"there is no image {path}",
                expected=FILE,
                where=where,
                fix="name the folder with --images",
            )
        return found[0]


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """The images in a folder by their names without the ending."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix.lower() in EXTENSIONS and path.is_file():
            found.setdefault(path.stem, []).append(path)
    return found
