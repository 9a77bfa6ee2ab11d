"""The tables of the study's quantities, trajectories and robustness as readers see them."""

from __future__ import annotations

from itertools import groupby

import polars as pl

from analysis.report.quantity_tables import MINUS_DG, RELATIVE, RELATIVE_ROBUSTNESS
from analysis.report.robustness_tables import NO_SCORES
from analysis.report.spread import FEWEST
from analysis.report.summary import MINUS, percent, points, setting_label
from analysis.report.views import MISSING, NONE, View

SHARES = ("score", "seen_score", RELATIVE)
LABELS = {
    "score": "Score, held-out classes",
    "seen_score": "Seen classes",
    MINUS_DG: "Minus leave out domain",
    RELATIVE: "Relative to upper bound",
    RELATIVE_ROBUSTNESS: "Minus natural only",
}
REFUSED = "no number"


def quantities_view(table: pl.DataFrame) -> View:
    """`quantity_tables.quantities`, a row per test domain, setting and draw."""
    many_draws = table["draw"].n_unique() > 1
    many_seeds = bool((table["seeds"] > 1).any())
    rows = []
    keys = ["test_domain", "setting", "draw"]
    for (test_domain, setting, draw), group in groupby(
        table.iter_rows(named=True), lambda row: tuple(row[key] for key in keys)
    ):
        found = {row["quantity"]: row for row in group}
        names = [test_domain, setting_label(setting), *([str(draw)] if many_draws else [])]
        cells = [_cell(found.get(quantity)) for quantity in LABELS]
        cells.insert(list(LABELS).index(MINUS_DG) + 1, _p(found.get(MINUS_DG)))
        seeds = [_over_seeds(found.get("score"))] if many_seeds else []
        rows.append([*names, *cells, *seeds])
    columns = list(LABELS.values())
    columns.insert(list(LABELS).index(MINUS_DG) + 1, "p (BH)")
    names = ["Test domain", "Setting", *(["Draw"] if many_draws else [])]
    caption = (
        "Balanced top-1 accuracy in the test domain (new instances) and comparisons of it on the "
        "same test samples, with 95 % intervals over test samples; differences in points."
    )
    if many_seeds:
        caption += " Over seeds: smallest and largest score, their sd in points, and how many."
    view = [*names, *columns, *(["Over seeds"] if many_seeds else [])]
    return View(caption, view, rows, headers=2)


def over_draws_view(table: pl.DataFrame) -> View:
    """`quantity_tables.over_draws`."""
    rows = []
    for row in table.iter_rows(named=True):
        names = [row["test_domain"], setting_label(row["setting"]), LABELS[row["quantity"]]]
        without = {MISSING: row["missing_draws"], REFUSED: row["refused_draws"]}
        told = [f" ({word}: {draws})" for word, draws in without.items() if draws]
        rows.append([*names, f"{row['draws']}{''.join(told)}", *_over_draws(row)])
    caption = (
        "The same over draws of held-out classes: means over draws (of means over seeds), and how "
        "draws differ; test samples are no part of it."
    )
    columns = ["Test domain", "Setting", "Quantity", "Draws", "Mean", "Smallest to largest", "sd"]
    return View(caption, [*columns, "95 % interval over draws"], rows, headers=3)


def robustness_view(table: pl.DataFrame) -> View:
    """`robustness_tables.robustness`, a row per run and target."""
    many_draws, many_seeds = (table[key].n_unique() > 1 for key in ("draw", "seed"))
    rows = []
    for row in table.iter_rows(named=True):
        replicate = [str(row["draw"])] * many_draws + [str(row["seed"])] * many_seeds
        names = [row["test_domain"], setting_label(row["setting"]), *replicate]
        accuracies = [_share(row[key]) for key in ("accuracy_id", "accuracy_ood", "expected")]
        rows.append([*names, *accuracies, _rho(row), row["reason"] or NONE])
    columns = ["Natural domain", "Test domain’s score", "Expected", "Effective robustness"]
    names = ["Test domain", "Setting", *["Draw"] * many_draws, *["Seed"] * many_seeds]
    caption = (
        "Effective robustness: accuracy in the test domain minus what natural-only runs of the "
        "same accuracy in the natural domain have; points, 95 % interval over baseline runs."
    )
    return View(caption, [*names, *columns, "Why there is no number"], rows, headers=len(names))


def baselines_view(table: pl.DataFrame) -> View:
    """The lines of `robustness_tables.baselines` that the figures show."""
    many_draws = table["draw"].n_unique() > 1
    rows = []
    for row in table.filter(transform="logit").iter_rows(named=True):
        names = [row["test_domain"], *([str(row["draw"])] if many_draws else [])]
        if row["slope"] is None:
            rows.append([*names, *[REFUSED] * 4, NONE, NONE, row["reason"]])
            continue
        rows.append(
            [
                *names,
                f"{row['slope']:.2f}".replace("-", MINUS),
                f"{row['intercept']:.2f}".replace("-", MINUS),
                NONE if row["r_squared"] is None else f"{row['r_squared']:.2f}",
                f"{percent(row['lowest'])} to {percent(row['highest'])}",
                str(row["points"]),
                str(row["models"]),
                row["reason"] or NONE,
            ]
        )
    columns = ["Test domain", *(["Draw"] if many_draws else []), "Slope", "Intercept", "R²"]
    columns += ["Range, natural domain", "Points", "Runs", "Doubt"]
    caption = "The baselines: logit(test domain) = slope · logit(natural domain) + intercept."
    return View(caption, columns, rows, headers=2 if many_draws else 1)


def _cell(row: dict | None) -> str:
    """A quantity with its interval; a dash where nothing is asked."""
    if row is None:
        return NONE
    if row["value"] is None:
        return MISSING if not row["seeds"] else f"{REFUSED}: {row['reason']}"
    if row["quantity"] in SHARES:
        return f"{percent(row['value'])} ({100 * row['lo']:.1f} to {100 * row['hi']:.1f})"
    return f"{points(row['value'])} ({points(row['lo'])} to {points(row['hi'])})"


def _p(row: dict | None) -> str:
    if row is None:
        return NONE
    if row["p_bh"] is None:
        return MISSING
    return "< 0.001" if row["p_bh"] < 0.001 else f"{row['p_bh']:.3f}"


def _over_seeds(row: dict | None) -> str:
    if row is None or row["value"] is None:
        return NONE if row is None else MISSING
    gaps = f" ({row['missing_seeds']} missing)" if row["missing_seeds"] else ""
    if row["seed_sd"] is None:
        return f"n {row['seeds']}{gaps}"
    ends = f"{100 * row['seed_smallest']:.1f} to {percent(row['seed_largest'])}"
    return f"{ends}, sd {100 * row['seed_sd']:.1f}, n {row['seeds']}{gaps}"


def _over_draws(row: dict) -> list[str]:
    if row["refused_draws"]:
        return [f"{REFUSED}: {row['reason']}", *[REFUSED] * 3]
    if row["value"] is None:
        return [MISSING] * 4
    say = percent if row["quantity"] in SHARES else points
    interval = NONE if row["draws"] >= FEWEST else f"needs {FEWEST} draws"
    if row["lo"] is not None:
        interval = f"{say(row['lo'])} to {say(row['hi'])}"
    several = row["draws"] > 1
    return [
        say(row["value"]),
        f"{say(row['smallest'])} to {say(row['largest'])}" if several else NONE,
        f"{100 * row['sd']:.1f}" if several else NONE,
        interval,
    ]


def _share(value: float | None) -> str:
    return NONE if value is None else percent(value)


def _rho(row: dict) -> str:
    if row["value"] is None:
        return MISSING if row["reason"] == NO_SCORES else REFUSED
    if row["lo"] is None:
        return f"{points(row['value'])} (no interval)"
    return f"{points(row['value'])} ({points(row['lo'])} to {points(row['hi'])})"
