"""The section that holds one tower against two, where a study has arms of both."""

from __future__ import annotations

import polars as pl

from analysis.report.arms import Arms, label_of
from analysis.report.circuit_text import PER_CENT
from analysis.report.section import Part, Section, Table, Text
from analysis.report.sharing_text import NO_NUMBER, measure_label, signed
from analysis.report.study_comparison import ComparedStudy
from analysis.report.summary import MINUS, percent, points, setting_label
from analysis.report.towers import (
    ACCURACY,
    APART,
    DOMAINS,
    GAP,
    SEEN,
    WORDS,
    accuracies_by_seed,
    compared_arms,
    in_reading_order,
    missing_quantities,
    tower_differences,
    tower_spread,
)
from analysis.report.views import NONE, View

TITLE = "One tower or two"
MEANING = (
    "Models that read drawn sentences by the tower that reads images, beside models with a tower "
    "of their own for words: the same settings, mixtures, seeds and test samples. Differences are "
    "one tower minus two. They hold for these two architectures with all that differs between "
    "them (how texts enter, where tokens are pooled, the number of weights), not for the number of "
    "towers alone. Accuracy on seen classes of the test domain says how much each has learned of "
    "what both were shown: where one has learned less, that it is behind on held-out classes, too, "
    "says nothing of generalization."
)
NAMES = {
    ACCURACY: "Accuracy on held-out classes",
    SEEN: "Accuracy on seen classes of the test domain",
    GAP: "Generalization gap (seen minus held-out classes)",
    DOMAINS: "Sharing of domains at the primary site",
    WORDS: "Sharing of images with words in the embedding",
    APART: "Modality gap in the embedding",
}
PERCENT = (ACCURACY, SEEN, GAP)
"""quantities in percentage points"""
NOTE = (
    "Intervals of 95 %: of accuracy over test samples, of all seeds of a draw; of sharing the "
    "jackknife over classes, a class left out of both models at once; of the two gaps put together "
    "from those of each model as if they were independent, which is too wide where both find the "
    "same samples or classes hard. None is over seeds or draws, and none is corrected for several "
    "comparisons. Sharing is compared at the primary site, or where a tower has no such site at "
    "the inner one of the nearest relative depth."
)
SPREAD_NOTE = (
    "Over draws and seeds: the mean over draws of means over seeds, the smallest and the largest "
    "single difference, and Student's interval over draws, from three on."
)


def towers_sections(arms: Arms) -> list[Section]:
    """The section; none where the arms are not of both kinds."""
    found = compared_arms(arms)
    if not found:
        return []
    every = [tower_differences(two, one) for two, one in found]
    by_seed = [accuracies_by_seed(two, one) for two, one in found]
    spreads = [tower_spread(*pair) for pair in zip(every, by_seed, strict=True)]
    differences = in_reading_order(pl.concat(every))
    spread = in_reading_order(pl.concat(spreads))
    parts: list[Part] = [Text(MEANING)]
    for (two, one), rows in zip(found, every, strict=True):
        parts.append(Text(_paragraph(label_of(one), label_of(two), rows) + taught_texts(one)))
    measure = measure_label(arms[0].results.plan.primary[1])
    parts.append(Text(f"{NOTE} Sharing of domains: {measure}, seen classes.", soft=True))
    parts.append(Table("tower_differences", differences, differences_view(differences)))
    if any(arm.results.plan.is_replicated for arm in arms):
        parts += [
            Table("tower_spread", spread, spread_view(spread)),
            Text(SPREAD_NOTE, soft=True),
        ]
    return [Section(TITLE, tuple(parts))]


# ---------------------------------------------------------------------------- words


def _paragraph(one: str, two: str, rows: pl.DataFrame) -> str:
    """A sentence per quantity, then what is not there."""
    missing = missing_quantities(rows)
    told = [
        quantity_sentence(name, rows.filter(quantity=name)) for name in NAMES if name not in missing
    ]
    if missing:
        names = "; ".join(NAMES[name].lower() for name in missing)
        told.append(f"Without a number in any comparison: {names}.")
    return f"{one} (one tower) against {two} (two towers). {' '.join(told)}"


def taught_texts(arm: ComparedStudy) -> str:
    """What a tower learns beside images with captions, and that it costs images; or nothing."""
    pairs = arm.config["study"].get("training", {}).get("text_pairs", {})
    share = pairs.get("share", 0) if pairs.get("source") else 0
    if not share:
        return ""
    return (
        f" {percent(share)} of every batch of {label_of(arm)} are pairs of texts "
        f"({pairs['source']}), so that it sees as many pairs, but fewer images."
    )


def quantity_sentence(quantity: str, rows: pl.DataFrame) -> str:
    """What the intervals of a quantity's differences allow to say.

    Several comparisons are counted, not merged.

    Args:
        quantity: out of NAMES.
        rows: of `towers.tower_differences`, one at least with a value.
    """
    known, name = rows.drop_nulls("value"), NAMES[quantity]
    gaps = rows.height - known.height
    untold = f", {NO_NUMBER} in {gaps}" if gaps else ""
    if known.height == 1:
        return f"{name}: one tower {_verdict(quantity, known.row(0, named=True))}{untold}."
    lo, hi = known["lo"], known["hi"]
    counts = {
        "above two": int((lo > 0).sum()),
        "below two": int((hi < 0).sum()),
        "not to be told from two": int(((lo <= 0) & (hi >= 0)).sum()),
        "without an interval": int(lo.is_null().sum()),
    }
    told = [f"{words} in {count}" for words, count in counts.items() if count]
    values = known["value"].to_list()
    ends = f"{_difference(quantity, min(values))} to {_difference(quantity, max(values))}"
    return (
        f"{name}: of {known.height} comparisons, one tower is {', '.join(told)} "
        f"(differences {ends}{untold})."
    )


def _verdict(quantity: str, row: dict) -> str:
    shown = _difference(quantity, row["value"])
    if row["lo"] is None or row["hi"] is None:
        return f"differs by {shown} ({row['note'] or 'without an interval'})"
    ends = f"{_difference(quantity, row['lo'])} to {_difference(quantity, row['hi'])}"
    told = f"({shown}, {PER_CENT} {ends})"
    if row["lo"] <= 0 <= row["hi"]:
        return f"cannot be told from two {told}"
    return f"lies {'above' if row['lo'] > 0 else 'below'} two {told}"


def _difference(quantity: str, value: float) -> str:
    return points(value) if quantity in PERCENT else signed(value)


def _level(quantity: str, value: float | None) -> str:
    if value is None:
        return NO_NUMBER
    told = percent(value) if quantity in PERCENT else f"{value:.2f}"
    return told.replace("-", MINUS)


# ---------------------------------------------------------------------------- tables


def differences_view(table: pl.DataFrame) -> View:
    """`towers.tower_differences`, a row per comparison."""
    many = {key: table[key].n_unique() > 1 for key in ("arm", "draw")}
    seeds = table["seed"].drop_nulls().n_unique() > 1
    rows = []
    for row in table.iter_rows(named=True):
        name = row["quantity"]
        named = [NAMES[name], row["test_domain"], setting_label(row["setting"])]
        named += [row["arm"]] * many["arm"] + [str(row["draw"])] * many["draw"]
        named += [NONE if row["seed"] is None else str(row["seed"])] * seeds
        levels = [_level(name, row[key]) for key in ("value_arm", "value_baseline")]
        rows.append(
            [*named, *levels, *_ends(name, row), NONE if row["n"] is None else str(row["n"])]
        )
    columns = ["Quantity", "Test domain", "Setting", *["Arm"] * many["arm"]]
    columns += [*["Draw"] * many["draw"], *["Seed"] * seeds]
    columns += ["One tower", "Two towers", "Difference", "95 % interval", "n"]
    caption = (
        "One tower beside two, and the difference. n: test samples of accuracy and its gap, "
        "classes of sharing and the modality gap."
    )
    return View(caption, columns, rows, headers=3)


def _ends(quantity: str, row: dict) -> list[str]:
    """A difference, and its interval or why there is none."""
    if row["value"] is None:
        return [NO_NUMBER, row["note"] or NONE]
    shown = _difference(quantity, row["value"])
    if row["lo"] is None or row["hi"] is None:
        return [shown, row["note"] or NONE]
    return [shown, f"{_difference(quantity, row['lo'])} to {_difference(quantity, row['hi'])}"]


def spread_view(table: pl.DataFrame) -> View:
    """`towers.tower_spread`, a row per quantity, test domain and setting."""
    rows = []
    many = table["arm"].n_unique() > 1
    for row in table.iter_rows(named=True):
        name = row["quantity"]
        shown = [
            NO_NUMBER if row[key] is None else _difference(name, row[key])
            for key in ("value", "smallest", "largest")
        ]
        over = (
            NONE
            if row["lo"] is None
            else " to ".join(_difference(name, row[k]) for k in ("lo", "hi"))
        )
        named = [NAMES[name], row["test_domain"], setting_label(row["setting"])]
        named += [row["arm"]] * many
        rows.append([*named, *shown, over, str(row["draws"]), str(row["seeds"])])
    columns = ["Quantity", "Test domain", "Setting", *["Arm"] * many, "Mean difference"]
    columns += ["Smallest", "Largest", "95 % over draws", "Draws", "Seeds of a draw"]
    return View("One tower minus two, over draws and seeds.", columns, rows, headers=3)
