"""What the intervals of shared nodes, and of what they carry, allow to say, in words.

Nothing is called a circuit here that has not been shown to carry the answer: sentences speak of
nodes, and `circuit_sentence` says where they may be called more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from analysis.report.circuit_tables import MEASURE
from analysis.report.contrasts import CONTRASTS
from analysis.report.sharing_text import (
    CLASS_WORDS,
    NO_NUMBER,
    measure_label,
    number,
    signed,
)
from analysis.report.summary import NO_BREAK_SPACE, points, setting_label

PER_CENT = f"95{NO_BREAK_SPACE}%"
DIRECTIONS = {
    "same": "both differ from 0 in the same direction",
    "opposite": "both differ from 0, in opposite directions",
    "open": "one of the two cannot be told from 0",
}


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def named(row: dict, write: Callable[[float], str] = number) -> str:
    """A setting with its estimate and interval.

    Args:
        row: `setting`, `value`, `lo`, `hi`.
        write: how numbers are written; `signed` for a difference.
    """
    label, value, lo, hi = setting_label(row["setting"]), row["value"], row["lo"], row["hi"]
    if value is None:
        return label
    if lo is None or hi is None:
        return f"{label} ({write(value)})"
    return f"{label} ({write(value)}, {PER_CENT} {write(lo)} to {write(hi)})"


# ---------------------------------------------------------------------------- shared nodes


def shared_sentence(rows: pl.DataFrame, what: str = "") -> str:
    """How alike a test domain's nodes are to the others', from other classes to other images.

    Settings of which the same can be said stand together. Several runs of a setting are counted.

    Args:
        rows: `sharing_tables.sharing` of the primary measure and site, of one test domain and
            class set, a row per run and draw.
        what: it is of; empty for pairs with the test domain.
    """
    first = rows.row(0, named=True)
    pairs = what or f"pairs with {first['test_domain']}"
    opening = (
        f"Of all nodes together, the {measure_label(MEASURE)} of {pairs} "
        f"({_counts(rows['n'])} {CLASS_WORDS[first['classes']]})"
    )
    said: dict[str, list[str]] = {}
    for _, of_setting in rows.group_by("setting", maintain_order=True):
        if of_setting.height == 1:
            row = of_setting.row(0, named=True)
            said.setdefault(_verdict(row), []).append(named(row))
        else:
            said.setdefault(_counted_verdict(of_setting), []).append(_named_mean(of_setting))
    return f"{opening}: {'; '.join(f'{listed(names)}: {text}' for text, names in said.items())}."


def _counts(numbers: pl.Series) -> str:
    found = numbers.drop_nulls().unique().sort().to_list() or [0]
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _verdict(row: dict) -> str:
    """What an interval says against other classes (0) and other images of the class (1)."""
    if row["value"] is None:
        return f"{NO_NUMBER} ({row['note']})" if row["note"] else NO_NUMBER
    if row["lo"] is None or row["hi"] is None:
        return "without an interval"
    floor = "more than other classes have" if row["lo"] > 0 else _open(row, 0, "other classes have")
    images = "other images of the class have"
    ceiling = f"less than {images}" if row["hi"] < 1 else _open(row, 1, images)
    return f"{floor}, {ceiling}"


def _open(row: dict, level: float, what: str) -> str:
    """Against a level that the interval holds, or that lies on the side one does not expect."""
    if row["lo"] <= level <= row["hi"]:
        return f"not to be told from what {what}"
    return f"{'less' if row['hi'] < level else 'more'} than {what}"


def _counted_verdict(rows: pl.DataFrame) -> str:
    known = rows.drop_nulls(["lo", "hi"])
    told = []
    if known.height:
        above, below = (known["lo"] > 0).sum(), (known["hi"] < 1).sum()
        told = [
            f"more than other classes have in {above} of {known.height}",
            f"less than other images of the class have in {below}",
        ]
    if gaps := rows["value"].null_count():
        told.append(f"{NO_NUMBER} in {gaps} of {rows.height}")
    return ", ".join(told) or "without an interval"


def _named_mean(rows: pl.DataFrame) -> str:
    label, values = setting_label(rows["setting"][0]), rows["value"].drop_nulls().to_list()
    if not values:
        return label
    mean, ends = sum(values) / len(values), f"{number(min(values))} to {number(max(values))}"
    return f"{label} ({number(mean)} in the mean of {len(values)} draws and seeds, {ends})"


# ---------------------------------------------------------------------------- what they carry


def circuit_sentence(rows: pl.DataFrame) -> str:
    """Where nodes of a test domain carry its classes well enough to be called a circuit.

    Args:
        rows: `faithfulness_tables.verdicts`, of one test domain and class set.
    """
    first = rows.row(0, named=True)
    where = f"In {first['test_domain']} ({CLASS_WORDS[first['classes']]})"
    told = [
        _carried(of_setting.row(0, named=True))
        if of_setting.height == 1
        else _counted_circuits(of_setting)
        for _, of_setting in rows.group_by("setting", maintain_order=True)
    ]
    return f"{where}: {'; '.join(told)}."


def _carried(row: dict) -> str:
    """One run: the size, what is carried there, and whether that is a circuit."""
    label = setting_label(row["setting"])
    if row["size"] is None:
        return f"{label}: no circuit ({row['note']})"
    carried = f"{named(row).removeprefix(label).strip()}"
    size = f"{_share(row['size'])} of the nodes"
    if not row["is_circuit"]:
        return f"{label}: no circuit at {size} {carried} ({row['note']})"
    return f"{label}: a circuit of {size} {carried}, {_elsewhere(row)}"


def _elsewhere(row: dict) -> str:
    """What nodes of other domains carry at the same size; intervals that part are said so."""
    if row["other"] is None:
        return "nodes of other domains not measured"
    ends = (row["other_lo"], row["other_hi"])
    shown = number(row["other"])
    if None in ends:
        return f"nodes of other domains carry {shown} (no interval)"
    shown += f", {PER_CENT} {number(ends[0])} to {number(ends[1])}"
    if ends[1] < row["lo"]:
        return f"as many nodes of other domains carry less ({shown})"
    if ends[0] > row["hi"]:
        return f"as many nodes of other domains carry more ({shown})"
    return f"as many nodes of other domains carry what these intervals do not tell apart ({shown})"


def _counted_circuits(rows: pl.DataFrame) -> str:
    """Several runs of a setting: they are counted, not merged."""
    label, found = setting_label(rows["setting"][0]), rows.filter("is_circuit")
    text = f"{label}: a circuit in {found.height} of {rows.height} draws and seeds"
    if found.is_empty():
        return text
    parted = found.filter(pl.col("other_hi") < pl.col("lo")).height
    ends = [_share(size) for size in (found["size"].min(), found["size"].max())]
    size = " to ".join(dict.fromkeys(ends))
    return f"{text} ({size} of the nodes), as many nodes of other domains carry less in {parted}"


def _share(size: object) -> str:
    """A share of nodes, as a percentage with the digits that it needs."""
    return f"{100 * float(size):g}{NO_BREAK_SPACE}%"  # type: ignore[arg-type]


# ---------------------------------------------------------------------------- generalization


def accuracy_sentences(table: pl.DataFrame, test_domain: str) -> list[str]:
    """What settings differ in, sharing beside accuracy: a sentence per contrast.

    Args:
        table: `circuit_tables.beside_accuracy`.
        test_domain: whose rows are told.
    """
    told = []
    for contrast in CONTRASTS:
        rows = table.filter(contrast=contrast.name, test_domain=test_domain)
        known = rows.drop_nulls(["value", "accuracy"])
        if known.is_empty():
            continue
        pair = f"{setting_label(contrast.setting)} against {setting_label(contrast.baseline)}"
        opening = f"{pair[:1].upper()}{pair[1:]}"
        told.append(
            f"{opening}: {_both(known.row(0, named=True))}."
            if known.height == 1
            else f"{opening}, {known.height} pairs of the same draw and seed: "
            f"{_counted_directions(known)}."
        )
    return told


def _both(row: dict) -> str:
    interval = "no interval"
    if row["lo"] is not None:
        interval = f"{PER_CENT} {signed(row['lo'])} to {signed(row['hi'])}"
    gain = f"{points(row['accuracy'])} points of accuracy on held-out classes"
    if row["accuracy_lo"] is not None:
        gain += f" ({PER_CENT} {points(row['accuracy_lo'])} to {points(row['accuracy_hi'])})"
    return f"{signed(row['value'])} shared ({interval}) and {gain}; {DIRECTIONS[row['direction']]}"


def _counted_directions(rows: pl.DataFrame) -> str:
    counts = {text: (rows["direction"] == key).sum() for key, text in DIRECTIONS.items()}
    return ", ".join(f"{text} in {count}" for text, count in counts.items() if count)
