"""How the reading of words is tested: results → tables, and the tables as readers see them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from analysis.report.evaluation_tables import KEYS
from analysis.report.evaluation_views import (
    SPLIT,
    interval_text,
    name_columns,
    replicates,
    row_names,
)
from analysis.report.study import StudyResults
from analysis.report.summary import percent, points, setting_label
from analysis.report.tables import served
from analysis.report.views import MISSING, NONE, View, count
from gen.evaluation.score import CLEAN, SAME, TYPOS

WAY = ["disturbance", "strength"]
TARGET = ["run", "test_domain", "draw"]
SCORED = ["value", "lo", "hi", "n", "n_classes", "chance"]
CHANGED = ["difference", "difference_lo", "difference_hi"]
TASKS = {
    "class": "class",
    "super_category": "super-category, of other classes",
    "domain": "domain",
    "domain_other_words": "domain, by its other word",
}


def text_scores(results: StudyResults) -> pl.DataFrame:
    """Accuracy in the test domain with every way to write prompts; no rows where no run has any.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `run`, `split`, `classes`, `disturbance`,
    `strength`; over test samples, of several draws of typos for their mean: `value`, `lo`, `hi`,
    `n`, `n_classes`, `chance`, `difference` from undisturbed prompts with `difference_lo` and
    `difference_hi`; over draws of typos: `text_draws`, `smallest`, `largest`; `unreadable`, `note`,
    `missing` (the run has no score of any kind).
    """
    found = results.text_robustness.drop("setting", "seed").rename({"domain": "test_domain"})
    if found.is_empty():
        return pl.DataFrame()
    of = [*TARGET, "split", "classes", *WAY]
    of_draws = found.filter(pl.col("text_draw").is_not_null())
    spread = of_draws.group_by(of).agg(
        text_draws=pl.len().cast(pl.Int64),
        smallest=pl.col("value").min(),
        largest=pl.col("value").max(),
    )
    joined = found.join(spread, on=of, how="left", nulls_equal=True, maintain_order="left")
    whole = joined.filter(pl.col("text_draw").is_null() | (pl.col("text_draws") == 1))
    grid = served(results).drop("mixture")
    table = grid.join(whole, on=TARGET, how="left", maintain_order="left_right")
    missing = ~pl.col("run").is_in(found["run"].unique().to_list())
    columns = [*KEYS, "run", "split", "classes", *WAY, *SCORED, *CHANGED]
    return table.with_columns(missing=missing).select(
        *columns, "text_draws", "smallest", "largest", "unreadable", "note", "missing"
    )


def way_label(disturbance: str, strength: int | None) -> str:
    """A way to write prompts for readers."""
    if disturbance == TYPOS:
        return f"{strength} typo" + ("s" if strength and strength > 1 else "")
    if disturbance == "moved_down":
        return f"{strength} pixels lower"
    if disturbance == CLEAN:
        return "undisturbed"
    return disturbance.removeprefix("font_").replace("_", " ")


def ways_of(table: pl.DataFrame) -> list[tuple[str, int | None]]:
    """The ways to write prompts that any run has, undisturbed first, in their order."""
    known = table.drop_nulls("disturbance")
    return known.select(WAY).unique(maintain_order=True).rows()


def robustness_view(table: pl.DataFrame) -> View:
    """`text_scores` on held-out classes: a row per run and way to write prompts."""
    many = replicates(table)
    shown = table.filter(pl.col("missing") | ((pl.col("split") == SPLIT) & _held_out()))
    rows = []
    for row in shown.iter_rows(named=True):
        names = row_names([row[key] for key in KEYS], many)
        if row["missing"]:
            rows.append([*names, *[MISSING] * 6])
            continue
        way = way_label(row["disturbance"], row["strength"])
        rows.append([*names, way, *_score_cells(row)])
    columns = [*name_columns(many), "Prompts", "Accuracy", "Draws of typos"]
    columns += ["Difference, points", "Cannot be read", "Samples"]
    caption = (
        "Balanced top-1 accuracy on held-out classes of the test domain by how prompts are "
        "written, the difference from undisturbed ones on the same images, both with 95 % "
        "interval, and the share of prompts that the model cannot read. Of typos the mean over "
        "their draws, then the smallest and the largest. Seen classes: in the CSV."
    )
    return View(caption, columns, rows, headers=2)


def _held_out() -> pl.Expr:
    return pl.col("classes") == "held_out"


def _score_cells(row: Mapping) -> list[str]:
    unread, samples = percent(row["unreadable"]), count(row["n"])
    if row["value"] is None:
        return [f"{NONE} ({row['note']})", NONE, NONE, unread, samples]
    spread = NONE
    if row["text_draws"] > 1:
        spread = f"{percent(row['smallest'])} to {percent(row['largest'])}"
    change = f"{points(row['difference'])} ({points(row['difference_lo'])} to "
    change += f"{points(row['difference_hi'])})"
    if row["disturbance"] == CLEAN:
        change = NONE
    elif row["note"] == SAME:
        change = "0, the same to the model"
    score = interval_text(row["value"], row["lo"], row["hi"])
    return [score, spread, change, unread, samples]


def way_findings(table: pl.DataFrame) -> list[str]:
    """A sentence per way to write prompts: in how many comparisons it costs accuracy, or adds.

    Args:
        table: `text_scores`, of any runs.
    """
    shown = table.filter(_held_out(), pl.col("disturbance") != CLEAN, split=SPLIT)
    told = []
    for disturbance, strength in ways_of(shown):
        rows = shown.filter(
            pl.col("strength").eq_missing(pl.lit(strength, pl.Int64)), disturbance=disturbance
        )
        label = way_label(disturbance, strength)
        if (rows["note"] == SAME).all():
            told.append(f"{label}: the same to the models, which read no case.")
            continue
        known = rows.drop_nulls("difference")
        worse = known.filter(pl.col("difference_hi") < 0).height
        better = known.filter(pl.col("difference_lo") > 0).height
        sentence = (
            f"{label}: of {known.height} differences on held-out classes {worse} lie below 0 with "
            f"their intervals and {better} above"
        )
        lost = rows["difference"].null_count()
        told.append(sentence + (f"; {lost} cannot be told." if lost else "."))
    return told


def probe_rows(results: StudyResults) -> pl.DataFrame:
    """text_probes.parquet of all runs; a run of the plan without any has one row, of nulls.

    Columns: `run`, `setting`, `seed`, those of the run's table, `missing`.
    """
    if results.text_probes.is_empty():
        return pl.DataFrame()
    plan = [(run.name, run.setting, run.seed) for run in results.plan.runs]
    grid = pl.DataFrame(plan, ["run", "setting", "seed"], orient="row")
    found = results.text_probes.drop("setting", "seed")
    table = grid.join(found, on="run", how="left", maintain_order="left_right")
    return table.with_columns(missing=~pl.col("run").is_in(found["run"].unique().to_list()))


def probes_view(table: pl.DataFrame, results: StudyResults) -> View:
    """`probe_rows` with a row per run and task, a column per site."""
    known = table.drop_nulls("site")
    sites = (
        known.group_by("site").agg(pl.col("depth").min()).sort("depth", "site")["site"].to_list()
    )
    labels = _labels(results)
    rows = []
    for (run, task), group in table.group_by("run", "task", maintain_order=True):
        names = [labels[str(run)], TASKS.get(str(task), MISSING)]
        if group["missing"].all():
            rows.append([*names, *[MISSING] * (len(sites) + 3)])
            continue
        cells = {
            row["site"]: row for row in group.filter(quantity="accuracy").iter_rows(named=True)
        }
        control = group.filter(quantity="control_accuracy").row(-1, named=True)
        texts = [_probe_cell(cells[site]) if site in cells else NONE for site in sites]
        chance = NONE if control["chance"] is None else percent(control["chance"])
        rows.append([*names, *texts, _probe_cell(control), chance, count(control["n"])])
    columns = ["Setting", "Read off sentences", *sites, "Control at the last site", "Chance"]
    caption = (
        "Accuracy of linear probes on sentences of other patterns than they were fitted on, with "
        "95 % interval over classes. The control's labels are dealt by lot to the pairs of class "
        "and word: what it reads is known by heart."
    )
    return View(caption, [*columns, "Sentences"], rows, headers=2)


def _labels(results: StudyResults) -> dict[str, str]:
    """Setting of every run, with its test domains, draws and seed as far as there are several."""
    plan = results.plan
    found = {}
    for run in plan.runs:
        several = len(run.test_domains) > 1 or run.is_pretrained
        parts = ["" if several else run.test_domains[0]]
        parts += [f"draw {run.draws[0]}"] if len(plan.draws) > 1 and len(run.draws) == 1 else []
        parts += [f"seed {run.seed}"] if len(plan.seeds) > 1 else []
        told = ", ".join(filter(None, parts))
        found[run.name] = setting_label(run.setting) + (f" ({told})" if told else "")
    return found


def _probe_cell(row: Mapping) -> str:
    if row["value"] is None:
        return f"{NONE} ({row['note']})" if row["note"] else NONE
    return interval_text(row["value"], row["lo"], row["hi"])
