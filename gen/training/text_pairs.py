"""Pairs of related texts, which one tower learns beside the pairs of images and captions.

Text/text co-training of CLIPPO (Tschannen et al. 2023, "CLIPPO: Image-and-Language Understanding
from Pixels Only", section 3): both texts are drawn, and stand in the batch under the same loss.
Theirs are sentences that follow each other on a web page; ours are made of what the mixture's own
samples show, or come from a file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from gen.datasets.captions import prompts
from gen.datasets.samples import Dataset
from gen.datasets.wording import counted
from gen.models.rendering import Renderer
from gen.randomness import batch_uniforms, generator
from gen.training.order import batch_at
from splits.errors import UserError

SHOWN = 5
"""classes without a super-category that are named"""


@dataclass(frozen=True)
class TextPairs:
    """First texts, each with a group of texts of which any one belongs to it.

    Letters: A first texts (one text may stand several times), G groups, M members of all groups.

    Attributes:
        firsts: row of every first text in a list of distinct texts, int64 [A].
        groups: number of its group, int64 [A].
        members: rows of the groups' texts in the same list, group after group, int64 [M].
        starts, sizes: of every group within `members`, int64 [G].
    """

    firsts: np.ndarray
    groups: np.ndarray
    members: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.firsts)

    def drawn(self, step: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the first and of the second texts of a step's pairs, int64 [count] each.

        A pure function of the arguments: first texts are visited in shuffled epochs, and each
        gets a text of its group, all of them equally likely.

        Args:
            step: from 0.
            count: pairs of texts in a batch.
            seed: of the run.
        """
        own = int(generator("text pairs", seed).integers(2**31))  # not the order of the images
        epochs, positions = batch_at(step, count, len(self), own)
        uniform = batch_uniforms(own, epochs, positions.astype(np.uint64), 1)[:, 0]
        groups = self.groups[positions]
        picked = self.starts[groups] + (uniform * self.sizes[groups]).astype(np.int64)
        return self.firsts[positions], self.members[picked]

    def renumbered(self, rows: np.ndarray) -> TextPairs:
        """The same pairs where row i of the list of texts is row `rows[i]` of another one."""
        return replace(self, firsts=rows[self.firsts], members=rows[self.members])


def read_text_pairs(
    source: str, dataset: Dataset, rows: pl.DataFrame, renderer: Renderer
) -> tuple[list[str], TextPairs]:
    """Pairs of texts of a source.

    Args:
        source: `captions`, `super_categories`, or the path of a .tsv file.
        dataset: of the mixture.
        rows: of the mixture's samples: `domain`, `class_name` and `caption`. No other sample of
            the dataset is looked at, so that nothing of a held-out cell is told.
        renderer: that will draw the texts.

    Returns:
        The distinct texts, and the pairs as rows of that list.

    Raises:
        UserError: the source gives no pairs, or a line of the file is no pair.
    """
    if source == "captions":
        return _of_cells(rows)
    if source == "super_categories":
        return _of_super_categories(dataset, rows["class_name"].unique().sort().to_list())
    pairs = _of_file(Path(source), renderer)
    return _paired([first for first, _ in pairs], range(len(pairs)), [[text] for _, text in pairs])


def _of_cells(rows: pl.DataFrame) -> tuple[list[str], TextPairs]:
    """The caption of every sample, with the other wordings of captions of its (domain, class)."""
    samples = rows.select("domain", "class_name", "caption")
    worded: dict[tuple[str, str], dict[str, list[str]]] = {}
    for domain, name, caption in samples.unique().sort(pl.all()).iter_rows():
        cell = worded.setdefault((domain, name), {})
        cell.setdefault(_wording(caption), []).append(caption)
    groups: list[list[str]] = []
    numbers: dict[tuple[str, str, str], int] = {}
    for place, wordings in worded.items():
        for own in wordings if len(wordings) > 1 else ():
            numbers[*place, own] = len(groups)
            others = (captions for other, captions in wordings.items() if other != own)
            groups.append([caption for captions in others for caption in captions])
    _tell_alone(sum(len(wordings) == 1 for wordings in worded.values()), len(worded))
    keys = ((domain, name, _wording(caption)) for domain, name, caption in samples.iter_rows())
    found = [numbers.get(key, -1) for key in keys]
    firsts = [text for text, number in zip(samples["caption"], found, strict=True) if number >= 0]
    return _paired(firsts, [number for number in found if number >= 0], groups)


def _wording(caption: str) -> str:
    """A caption without its full stop, which makes no other wording."""
    return caption.removesuffix(".")


def _tell_alone(alone: int, cells: int) -> None:
    """Warn of cells whose captions are worded in one way only; refuse it where all are."""
    told = f"{alone} of {counted(cells, 'cell')} have captions of one wording only"
    if alone == cells:
        raise UserError(
            told,
            expected="two wordings in a (domain, class) cell; a full stop makes none",
            where="key `training.text_pairs.source`",
            fix="training.text_pairs.source=super_categories, or a .tsv file",
        )
    if alone:
        warnings.warn(f"{told}, and give no pairs of texts", stacklevel=5)


def _of_super_categories(dataset: Dataset, classes: Sequence[str]) -> tuple[list[str], TextPairs]:
    """Sentences about a class with those about its super-category, in words of no domain."""
    categories = {name: dataset.super_categories.get(name, "") for name in classes}
    missing = [name for name, category in categories.items() if not category]
    distinct = sorted(set(categories.values()))
    found = ""
    if missing:
        shown = ", ".join(missing[:SHOWN]) + ", …" * (len(missing) > SHOWN)
        found = f"{counted(len(missing), 'class')} of the mixture without a super-category: {shown}"
    elif len(distinct) == 1:
        found = f"all classes of the mixture are of one super-category, {distinct[0]}"
    if found:
        raise UserError(
            found,
            expected="a super-category for every class, and two or more of them",
            where="key `training.text_pairs.source`",
            fix="a dataset with `super_categories`, or another source",
        )
    style = dataset.caption_style
    sentences = {name: prompts(name, style) for name in classes}
    firsts = [text for name in classes for text in sentences[name]]
    groups = [distinct.index(categories[name]) for name in classes for _ in sentences[name]]
    return _paired(firsts, groups, [prompts(category, style) for category in distinct])


def _of_file(path: Path, renderer: Renderer) -> list[tuple[str, str]]:
    """The pairs of a table of two columns of text, without a line of names.

    Raises:
        UserError: the file cannot be read or is empty; a line has other than two texts, the same
            text twice, or a text that does not fit its canvas; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})", expected="a text in UTF-8") from None
    lines = lines[:-1] if not lines[-1] else lines
    if not lines:
        raise UserError(f"{path} is empty", expected="two texts a line, with a tab between them")
    return [_of_line(line, f"{path}, line {n}", renderer) for n, line in enumerate(lines, start=1)]


def _of_line(line: str, where: str, renderer: Renderer) -> tuple[str, str]:
    texts = [text.strip() for text in line.split("\t")]
    found = ""
    if len(texts) != 2:
        found = f"the line has {counted(len(texts), 'column')}"
    elif not all(texts):
        found = "one of the texts is empty"
    elif texts[0].lower() == texts[1].lower():
        found = "both texts are the same"
    if found:
        raise UserError(found, expected="two texts with a tab between them", where=where)
    for text in texts:
        try:
            renderer.check(text)
        except UserError as error:
            raise UserError(
                error.found, expected=error.expected, where=where, fix=error.fix
            ) from None
    return texts[0], texts[1]


def _paired(
    firsts: Sequence[str], groups: Iterable[int], members: Sequence[Sequence[str]]
) -> tuple[list[str], TextPairs]:
    """Distinct texts, and pairs of the first texts with the members of their groups."""
    texts = list(dict.fromkeys([*firsts, *(text for group in members for text in group)]))
    row = {text: number for number, text in enumerate(texts)}
    sizes = np.array([len(group) for group in members], np.int64)
    return texts, TextPairs(
        firsts=np.array([row[text] for text in firsts], np.int64),
        groups=np.array(list(groups), np.int64),
        members=np.array([row[text] for group in members for text in group], np.int64),
        starts=np.cumsum(sizes) - sizes,
        sizes=sizes,
    )
