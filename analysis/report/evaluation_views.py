"""The tables of `evaluation_tables` as readers see them, on the split `test`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from analysis.report.evaluation_tables import DIRECTIONS, GAP, KEYS, RECALLS, SCORES
from analysis.report.summary import percent, setting_label
from analysis.report.tables import CLASS_SETS
from analysis.report.views import CLASS_LABELS, MISSING, NONE, View, count

SPLIT = "test"
ALL_LABELS = {**CLASS_LABELS, "all": "all classes"}
SCORE_LABELS = dict(
    zip(SCORES, ("balanced top-1", "balanced top-5", "top-1", "macro-F1"), strict=True)
)
WAY_LABELS = dict(zip(DIRECTIONS, ("image → caption", "caption → image"), strict=True))
RECALL_LABELS = {name: f"{WAY_LABELS[way]}, R@{k}" for name, (way, k) in RECALLS.items()}
MOST_SETTINGS = 8
"""settings that the table of classes has room for"""


def prompts_view(table: pl.DataFrame, sets: Sequence[str]) -> View:
    """`evaluation_tables.prompt_scores` with a column per prompt set and class set."""
    cases = {
        (classes, name): f"{name}, {CLASS_LABELS[classes]}"
        for classes in CLASS_SETS
        for name in sets
    }
    caption = "Balanced top-1 accuracy in the test domain by prompt set, with 95 % interval."
    return wide_view(table, ["classes", "prompts"], cases, caption)


def scores_view(table: pl.DataFrame) -> View:
    """`evaluation_tables.more_scores` with a column per metric and class set."""
    cases = {
        (classes, metric): f"{label}, {CLASS_LABELS[classes]}"
        for classes in CLASS_SETS
        for metric, label in SCORE_LABELS.items()
    }
    caption = "Other scores in the test domain beside the headline's, with 95 % interval."
    return wide_view(table, ["classes", "metric"], cases, caption)


def calibration_view(table: pl.DataFrame) -> View:
    """`evaluation_tables.calibration` with a column per class set."""
    cases = {(classes,): CLASS_LABELS[classes] for classes in CLASS_SETS}
    caption = "Expected calibration error in the test domain, with 95 % interval; 0 is perfect."
    return wide_view(table, ["classes"], cases, caption)


def retrieval_view(table: pl.DataFrame) -> View:
    """`evaluation_tables.retrieval` with a column per recall, and the modality gap."""
    cases = {(name,): label for name, label in RECALL_LABELS.items()}
    labelled = table.with_columns(queries=pl.col("classes").replace_strict(ALL_LABELS))
    caption = (
        "Recall among the test images of the test domain and their captions, with 95 % interval, "
        "by the class of the query; and the distance between the mean image and the mean caption."
    )
    names = {"queries": "Queries"}
    return wide_view(labelled, ["metric"], {**cases, (GAP,): "modality gap"}, caption, names)


def wide_view(
    table: pl.DataFrame,
    case: Sequence[str],
    cases: Mapping[tuple, str],
    caption: str,
    names: Mapping[str, str] | None = None,
) -> View:
    """A row per run and target, a column per case, and the number of test samples.

    Args:
        table: columns as `evaluation_tables.scores`.
        case: columns whose values tell the cases.
        cases: values → head of their column; those that the table does not have are left out.
        caption: without what is said of chance and samples.
        names: further columns that name a row, and their heads.
    """
    table, more = table.filter(split=SPLIT), dict(names or {})
    found = {tuple(row) for row in table.select(case).unique().rows()}
    heads = {key: head for key, head in cases.items() if key in found}
    chances = {key: common_chance(table, dict(zip(case, key, strict=True))) for key in heads}
    many = replicates(table)
    rows = []
    for key, group in table.group_by([*KEYS, *more], maintain_order=True):
        cells = {tuple(row[name] for name in case): row for row in group.iter_rows(named=True)}
        texts = [
            cell_text(cells[key], chances[key] is None) if key in cells else NONE for key in heads
        ]
        named = [*row_names(key[: len(KEYS)], many), *map(str, key[len(KEYS) :])]
        rows.append([*named, *texts, samples_text(group)])
    columns = [head + _chance_text(chances[key]) for key, head in heads.items()]
    named = [*name_columns(many), *more.values()]
    note = " Samples: of " + " + of ".join(
        ALL_LABELS[name] for name in (*CLASS_SETS, "all") if name in table["classes"] and not more
    )
    caption += "" if more else f"{note}."
    return View(caption, [*named, *columns, "Samples"], rows, headers=2)


def _chance_text(chance: float | None) -> str:
    return "" if chance is None else f" (chance {percent(chance)})"


def replicates(table: pl.DataFrame) -> tuple[bool, bool]:
    """Whether there are several draws, and several seeds."""
    return table["draw"].n_unique() > 1, table["seed"].n_unique() > 1


def name_columns(many: tuple[bool, bool]) -> list[str]:
    """Heads of the columns of `row_names`."""
    return ["Test domain", "Setting", *(["Draw"] if many[0] else [])]


def row_names(key: Sequence, many: tuple[bool, bool]) -> list[str]:
    """Test domain, setting with its seed, and draw of a row, as far as there are several."""
    test_domain, setting, draw, seed = key
    label = setting_label(setting) + (f" (seed {seed})" if many[1] else "")
    return [test_domain, label, *([str(draw)] if many[0] else [])]


def common_chance(table: pl.DataFrame, case: dict) -> float | None:
    """The chance of all scores of a case, where they have one and the same."""
    chances = table.filter(**case).drop_nulls("value")["chance"]
    if chances.is_empty() or chances.has_nulls() or chances.n_unique() > 1:
        return None
    return float(chances[0])


def cell_text(row: Mapping, with_chance: bool = False) -> str:
    """A score with its interval; a modality gap is a distance, all others are shares."""
    if row["value"] is None:
        return MISSING if row["missing"] else NONE
    is_share = row.get("metric") != GAP
    text = interval_text(row["value"], row["lo"], row["hi"], is_share)
    if with_chance and row["chance"] is not None:
        return f"{text}, chance {percent(row['chance'])}"
    return text


def interval_text(value: float, lo: float | None, hi: float | None, is_share: bool = True) -> str:
    """A value with its interval, or that it has none."""
    write: Callable[[float], str] = _hundredths if not is_share else lambda x: f"{100 * x:.1f}"
    first = percent(value) if is_share else write(value)
    return (
        f"{first} (no interval)"
        if lo is None or hi is None
        else (f"{first} ({write(lo)} to {write(hi)})")
    )


def _hundredths(value: float) -> str:
    return f"{value:.2f}"


def samples_text(group: pl.DataFrame) -> str:
    """Test samples of each class set of some rows."""
    if group["missing"].all():
        return MISSING
    found = group.drop_nulls("n").group_by("classes", maintain_order=True).agg(pl.max("n"))
    return " + ".join(count(n) for n in found["n"]) or NONE


def taken_for_view(table: pl.DataFrame) -> View:
    """`evaluation_tables.taken_for`."""
    table = table.filter(split=SPLIT)
    many = replicates(table)
    rows = []
    for row in table.iter_rows(named=True):
        names = row_names([row[key] for key in KEYS], many)
        rows.append([*names, CLASS_LABELS[row["classes"]], *_taken_cells(row)])
    columns = [*name_columns(many), "Samples of", "Right", "Wrong, same set", "Wrong, other set"]
    columns += ["Other set by chance", "Right by chance", "Samples"]
    caption = (
        "What test samples of the test domain are taken for, as shares of them, with 95 % "
        "interval. The other set: seen classes for samples of held-out ones, and the reverse."
    )
    return View(caption, columns, rows, headers=2)


def _taken_cells(row: Mapping) -> list[str]:
    if row["value"] is None:
        return [MISSING if row["missing"] else NONE] * 6
    right = NONE
    if row["accuracy"] is not None:
        right = interval_text(row["accuracy"], row["accuracy_lo"], row["accuracy_hi"])
    shares = [row[key] for key in ("wrong_within", "chance", "accuracy_chance")]
    within, chance, right_by_chance = (NONE if x is None else percent(x) for x in shares)
    return [right, within, cell_text(row), chance, right_by_chance, count(row["n"])]


def classes_view(table: pl.DataFrame) -> View:
    """The held-out classes of `evaluation_tables.class_scores`, with a column per setting."""
    table = table.filter("held_out", split=SPLIT)
    settings = table["setting"].unique(maintain_order=True).to_list()
    many_draws, many_seeds = replicates(table)
    rows = []
    for (test_domain, draw, seed, name), group in table.group_by(
        ["test_domain", "draw", "seed", "class_name"], maintain_order=True
    ):
        cells = {row["setting"]: _class_cell(row) for row in group.iter_rows(named=True)}
        names = [str(test_domain), str(name), *([str(draw)] if many_draws else [])]
        names += [str(seed)] if many_seeds else []
        rows.append([*names, *(cells.get(key, NONE) for key in settings[:MOST_SETTINGS])])
    names = ["Test domain", "Class", *(["Draw"] if many_draws else [])]
    names += ["Seed"] if many_seeds else []
    caption = (
        "Accuracy on every held-out class of the test domain: right of its test samples, 95 % "
        "interval, and the class for which it was mistaken most often. Seen classes: in the CSV."
    )
    if len(settings) > MOST_SETTINGS:
        caption += f" The first {MOST_SETTINGS} of {len(settings)} settings; all are in the CSV."
    columns = [*names, *map(setting_label, settings[:MOST_SETTINGS])]
    return View(caption, columns, rows, headers=2)


def _class_cell(row: Mapping) -> str:
    if row["value"] is None:
        return MISSING if row["missing"] else NONE
    text = f"{row['correct']} of {row['n']} ({100 * row['lo']:.0f} to {100 * row['hi']:.0f} %)"
    if row["mistaken_for"] is None:
        return text
    return f"{text}; {row['mistaken_for']} {row['mistaken']}×"
