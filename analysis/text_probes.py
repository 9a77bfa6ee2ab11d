"""What a linear probe reads off a sentence: its class, its super-category, its domain.

A probe is fitted on sentences of some patterns and tested on those of others, so that no sentence
is known by heart; docs/text_probes.md has the protocol.

Legend: T sentences, C classes of the sentences, K labels, U units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl

from analysis.discriminant import fit_discriminant, reading, reduction
from analysis.statistics import Refused
from gen.datasets.captions import generic_nouns, prompts
from gen.evaluation.metrics import wilson
from gen.evaluation.prompts import Wording
from gen.randomness import generator
from gen.schema import SiteLevel

CONTROLS = 3
"""draws of the control task's labels"""
MOST_CLASSES, MOST_OF_DOMAINS = 80, 20
"""whose sentences are read; whose sentences with words for domains are"""
TEXT_PROBES: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "task": pl.String},
    **{"quantity": pl.String, "value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64},
    **{"n": pl.Int64, "n_classes": pl.Int64, "chance": pl.Float64, "note": pl.String},
}
QUANTITIES = ("accuracy", "control_accuracy")
TASKS = ("class", "super_category", "domain", "domain_other_words")


def sentence_bank(
    classes: Sequence[str], super_categories: Mapping[str, str], wording: Wording
) -> pl.DataFrame:
    """The sentences that are read, each with what it says.

    Generic ones of at most MOST_CLASSES classes, those with words for a domain of at most
    MOST_OF_DOMAINS, drawn by lot. Words that several domains have tell none, and are left out.

    Args:
        classes: names of all classes.
        super_categories: by class; empty where there is none.
        wording: of the dataset's captions.

    Returns:
        `text`, `class_name`, `super_category`, `domain` (empty: none is named), `noun`, `pattern`
        (number), `other_word` (is it the second word for its domain).
    """
    order = generator("text probes").permutation(len(classes))
    chosen = [classes[place] for place in order[:MOST_CLASSES]]
    rows = []
    for place, name in enumerate(chosen):
        kinds = {"": generic_nouns()} | (told_apart(wording) if place < MOST_OF_DOMAINS else {})
        for domain, nouns in kinds.items():
            for number, text in enumerate(prompts(name, wording.style, nouns)):
                pattern, word = divmod(number, len(nouns))
                said = (name, super_categories.get(name, ""), domain, nouns[word])
                rows.append((text, *said, pattern, bool(word)))
    columns = ["text", "class_name", "super_category", "domain", "noun", "pattern", "other_word"]
    return pl.DataFrame(rows, columns, orient="row")


def told_apart(wording: Wording) -> dict[str, tuple[str, ...]]:
    """The words for every domain that shares none with another one, nor with no domain at all."""
    words = [noun for nouns in wording.nouns.values() for noun in nouns] + list(generic_nouns())
    return {
        domain: nouns
        for domain, nouns in wording.nouns.items()
        if all(words.count(noun) == 1 for noun in nouns)
    }


def text_probes(
    bank: pl.DataFrame, sites: Mapping[str, np.ndarray], note: str = ""
) -> pl.DataFrame:
    """Accuracy of every probe and of its control task, at every site.

    Args:
        bank: rows of `sentence_bank`, those that the model can read.
        sites: activations of their texts by site, in order, [T, U].
        note: on all of it.

    Returns:
        Columns TEXT_PROBES. Intervals are over classes.
    """
    rows = []
    tasks = {name: _task(name, bank) for name in TASKS}
    for depth, (site, features) in enumerate(sites.items()):
        key = {"site": site, "level": SiteLevel.residual.value, "depth": depth}
        for name, task in tasks.items():
            found = _empty(task.reason) if isinstance(task, Refused) else _read(task, features)
            for row in found:
                notes = "; ".join(filter(None, [note, row["note"]]))
                rows.append(key | {"task": name} | row | {"note": notes})
    return pl.DataFrame(rows, schema=TEXT_PROBES)


@dataclass(frozen=True)
class _Task:
    """What is read off which sentences.

    Attributes:
        rows: places of the sentences in the bank, int [T].
        labels: K of them, those of the task and then those of every control, int [1 + CONTROLS, T].
        classes: of the sentences, int [T].
        parts: what a probe is fitted on and tested on differs in all of these, bool [P, T].
    """

    rows: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    parts: np.ndarray


def _task(name: str, bank: pl.DataFrame) -> _Task | Refused:
    """The sentences and labels of a task; refused where there is nothing to tell apart."""
    of_domains = name.startswith("domain")
    wanted = pl.col("domain") != "" if of_domains else pl.col("domain") == ""
    column = {"class": "class_name", "domain_other_words": "domain"}.get(name, name)
    table = bank.with_row_index("row").filter(wanted)
    if name == "super_category":
        several = pl.col("class_name").n_unique().over("super_category") > 1
        table = table.filter(pl.col("super_category") != "", several)
    if table[column].n_unique() < 2:
        return Refused(_NOTHING[name])
    halves = [(table["pattern"] % 2).cast(pl.Boolean)]
    if name == "super_category":
        halves.append(table["class_name"].is_in(_first_halves(table)))
    if name == "domain_other_words":
        halves.append(table["other_word"])
    parts = np.stack([half.to_numpy() for half in halves])
    if not all(_apart(table, fitted, column) and tested.any() for fitted, tested in cases(parts)):
        return Refused("too few of the sentences can be read")
    labels = _codes(table, column)
    types = _codes(table, "class_name", "noun")
    sides = parts[1] if len(parts) > 1 else np.zeros_like(parts[0])
    controls = [
        _control(labels, types, sides, generator("text probes", name, draw))
        for draw in range(CONTROLS)
    ]
    rows = table["row"].to_numpy().astype(np.int64)
    return _Task(rows, np.stack([labels, *controls]), _codes(table, "class_name"), parts)


def cases(parts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """On which sentences a probe is fitted and on which tested, bool [T]; each is tested once."""
    for case in product(*([False, True] for _ in parts)):
        differs = parts != np.array(case)[:, None]
        yield differs.all(axis=0), ~differs.any(axis=0)


def _apart(table: pl.DataFrame, fitted: np.ndarray, column: str) -> bool:
    """Whether there are two labels or more, and sentences beyond one of each, to fit on."""
    labels = table.filter(fitted)[column]
    return 1 < labels.n_unique() < len(labels)


_NOTHING = {
    "class": "the dataset has fewer than two classes",
    "super_category": "fewer than two super-categories have two classes or more",
    "domain": "fewer than two domains have words of their own",
    "domain_other_words": "fewer than two domains have words of their own",
}


def _codes(table: pl.DataFrame, *columns: str) -> np.ndarray:
    """Number of what stands in some columns, from 0, int [T]."""
    return (table.select(pl.struct(columns).rank("dense")).to_series() - 1).to_numpy().astype(int)


def _first_halves(table: pl.DataFrame) -> list[str]:
    """One half of the classes of every super-category, by lot."""
    chosen: list[str] = []
    pairs = table.select("super_category", "class_name").unique().sort(pl.all())
    for (group,), rows in pairs.group_by("super_category", maintain_order=True):
        order = generator("text probes", group).permutation(rows.height)
        chosen += rows["class_name"].gather(order[: rows.height // 2].tolist()).to_list()
    return chosen


def _control(
    labels: np.ndarray, types: np.ndarray, sides: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The labels dealt anew to the (class, word) pairs: all sentences of a pair keep one label.

    As in Hewitt & Liang (2019): a probe that does as well on these has learned pairs by heart.
    Each side of a halving keeps its labels: one that is rare on a side would be frequent on the
    other, and noise below chance.
    """
    found = labels.copy()
    for side in np.unique(sides):
        here = sides == side
        _, first, places = np.unique(types[here], return_index=True, return_inverse=True)
        found[here] = rng.permutation(labels[here][first])[places]
    return found


def _read(task: _Task, features: np.ndarray) -> Iterator[dict]:
    """Rows of the probe and of its control at one site."""
    right = np.zeros(task.labels.shape)
    for fitted, tested in cases(task.parts):
        read = reading(features[task.rows[fitted]])
        known, asked = (read(features[task.rows[chosen]]) for chosen in (fitted, tested))
        for labels, found in zip(task.labels, right, strict=True):
            answers = fit_discriminant(known, labels[fitted]).predict(asked)
            found[tested] = answers == labels[tested]
    counts = np.bincount(task.classes)
    by_class = np.stack([np.bincount(task.classes, weights=row) / counts for row in right])
    told = {
        "n": len(task.rows),
        "n_classes": len(counts),
        "chance": 1 / len(np.unique(task.labels[0])),
        "note": reduction(features.shape[1]),
    }
    for quantity, values in zip(QUANTITIES, (by_class[0], by_class[1:].mean(axis=0)), strict=True):
        yield {"quantity": quantity} | _over_classes(values, len(task.rows)) | told


def _over_classes(values_C: np.ndarray, sentences: int) -> dict[str, float]:
    """Mean over classes, with Wilson's interval for other classes.

    Its effective size is that of a sample whose share varies as much as this mean, p(1 − p) /
    (s²/C), and no more than the sentences: equal classes make nothing certain.
    """
    value = float(values_C.mean())
    variance = float(values_C.var(ddof=1)) / len(values_C)
    size = min(sentences, value * (1 - value) / variance) if variance > 0 else sentences
    lo, hi = wilson(np.array([value]), np.array([size]))[:, 0]
    return {"value": value, "lo": float(lo), "hi": float(hi)}


def _empty(note: str) -> Iterator[dict]:
    for quantity in QUANTITIES:
        yield {"quantity": quantity, "n": 0, "n_classes": 0, "note": note}
