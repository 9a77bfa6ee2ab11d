"""What the intervals of changed activations allow to say, in words."""

from __future__ import annotations

import polars as pl

from analysis.report.cause_tables import AMONG, DIFFERENCE, INTO, RANDOM
from analysis.report.circuit_text import PER_CENT, listed, named
from analysis.report.sharing_text import CLASS_WORDS, NO_NUMBER, signed
from analysis.report.summary import percent, setting_label

OF_CLASSES = ("held_out", "seen")


def interchange_sentence(lines: pl.DataFrame) -> str:
    """Whether what other domains tell of a class decides answers in the test domain.

    Args:
        lines: `cause_tables.interchange_lines`, of one test domain and the primary site.
    """
    first = lines.row(0, named=True)
    said: dict[str, list[str]] = {}
    for (setting,), rows in lines.group_by("setting", maintain_order=True):
        verdict = _interchanged(rows)
        said.setdefault(verdict, []).append(_shown(str(setting), rows.filter(line=INTO)))
    told = "; ".join(f"{listed(names)}: {text}" for text, names in said.items())
    return (
        f"At {first['site']}, what other domains show of a class, put into images of "
        f"{first['test_domain']}, makes it the answer (seen classes): {told}."
    )


def _shown(setting: str, rows: pl.DataFrame) -> str:
    """A setting with its share of answers; of several runs the mean, the least and the most."""
    label, known = setting_label(setting), rows.drop_nulls("value")
    if known.is_empty():
        return label
    if known.height > 1:
        values = known["value"].to_list()
        ends = f"{percent(min(values), 0)} to {percent(max(values), 0)}"
        mean = f"{percent(sum(values) / len(values), 0)} in the mean of {len(values)}"
        return f"{label} ({mean}, {ends})"
    row = known.row(0, named=True)
    if row["lo"] is None:
        return f"{label} ({percent(row['value'], 0)})"
    ends = f"{100 * row['lo']:.0f} to {100 * row['hi']:.0f}"
    return f"{label} ({percent(row['value'], 0)}, {PER_CENT} {ends})"


def _interchanged(rows: pl.DataFrame) -> str:
    """What the runs of a setting say against random directions and against other domains."""
    keys = ["run", "draw"]
    known = rows.filter(line=INTO).drop_nulls(["lo", "hi"])
    if known.is_empty():
        return NO_NUMBER
    against = {
        name: known.join(rows.filter(line=name).drop_nulls(["lo", "hi"]), on=keys, suffix="_other")
        for name in (RANDOM, AMONG)
    }
    random, others = against[RANDOM], against[AMONG]
    more = (random["lo"] > random["hi_other"]).sum()
    less = (others["hi"] < others["lo_other"]).sum()
    if known.height > 1:
        return (
            f"more often than random directions do in {more} of {random.height}, less often than "
            f"among the other domains in {less} of {others.height}"
        )
    told = ["more often than random directions do"] if more else []
    told = told or ["no more often than random directions do, as far as intervals tell"]
    if others.height:
        told.append(
            "less often than among the other domains"
            if less
            else "not to be told from the other domains among each other"
        )
    return ", ".join(told)


def ablation_sentence(lines: pl.DataFrame) -> str:
    """Whether classes lose more without shared than without private nodes of a test domain.

    Args:
        lines: `cause_tables.ablation_lines`, of one test domain.
    """
    told = [
        f"{CLASS_WORDS[classes]}: {_compared(rows)}"
        for classes in OF_CLASSES
        if (rows := lines.filter(classes=classes, nodes=DIFFERENCE)).height
    ]
    return (
        f"In {lines['test_domain'][0]}, without nodes that most other domains have too, against as "
        f"many private ones with like scores, {'. '.join(told)}."
    )


def _compared(rows: pl.DataFrame) -> str:
    said: dict[str, list[str]] = {}
    for (setting,), of_setting in rows.group_by("setting", maintain_order=True):
        row = of_setting.row(0, named=True)
        if of_setting.height == 1:
            said.setdefault(_side(row), []).append(named(row, signed))
        else:
            said.setdefault(_counted(of_setting), []).append(setting_label(str(setting)))
    return "; ".join(f"{listed(names)}: {text}" for text, names in said.items())


def _side(row: dict) -> str:
    if row["value"] is None:
        return f"{NO_NUMBER} ({row['note']})" if row["note"] else NO_NUMBER
    if row["lo"] is None or row["hi"] is None:
        return f"without an interval ({row['note']})" if row["note"] else "without an interval"
    if row["lo"] <= 0 <= row["hi"]:
        return "the losses of margin cannot be told apart"
    return f"margins lose {'more' if row['lo'] > 0 else 'less'} without the shared ones"


def _counted(rows: pl.DataFrame) -> str:
    known = rows.drop_nulls(["lo", "hi"])
    counts = {
        "margins lose more without the shared ones": (known["lo"] > 0).sum(),
        "less": (known["hi"] < 0).sum(),
        "not to be told apart": ((known["lo"] <= 0) & (known["hi"] >= 0)).sum(),
        "without an interval": rows.height - known.height,
    }
    return ", ".join(f"{text} in {count}" for text, count in counts.items() if count)
