"""The tables of sharing as readers see them."""

from __future__ import annotations

from itertools import groupby

import polars as pl

from analysis.report.sharing_text import NO_NUMBER, measure_label, number, signed
from analysis.report.summary import setting_label
from analysis.report.views import CLASS_LABELS, MISSING, NONE, View


def primary_view(table: pl.DataFrame, plain: pl.DataFrame, caption: str = "") -> View:
    """Sharing at the primary site, a row per run and target.

    Args:
        table: rows of `sharing_floor.with_floors` of the primary site and measure, of the class
            sets `seen` and `held_out`, both groups of pairs.
        plain: the same of the measure without correction for noise; empty where it has none.
        caption: of the table; empty for that of pairs of domains.
    """
    many_draws, many_seeds = (table[key].n_unique() > 1 for key in ("draw", "seed"))
    keys = ["test_domain", "setting", "draw", "seed", "site"]
    with_test = plain.filter(classes="seen", pairs="with_test_domain")
    uncorrected = {tuple(row[k] for k in keys): row for row in with_test.iter_rows(named=True)}
    rows = []
    for key, group in groupby(
        table.iter_rows(named=True), lambda row: tuple(row[name] for name in keys)
    ):
        test_domain, setting, draw, seed, site = key
        names = [test_domain, setting_label(setting)]
        names += [str(draw)] * many_draws + [str(seed)] * many_seeds + [site]
        found = {(row["classes"], row["pairs"]): row for row in group}
        beside = uncorrected.get(key)
        cells = [_estimate(beside), _floor(beside)] * bool(uncorrected)
        rows.append([*names, *_sharing_cells(found), *cells])
    columns = ["Test domain", "Setting", *["Draw"] * many_draws, *["Seed"] * many_seeds, "Site"]
    columns += ["With the test domain, seen classes", "Chance", "Ceiling", "Untrained"]
    columns += ["Other pairs, seen classes", "With the test domain, held-out classes"]
    columns += ["Without correction", "Untrained, without"] * bool(uncorrected)
    return View(caption or _primary_caption(table["measure"][0]), columns, rows, headers=2)


def _primary_caption(measure: str) -> str:
    return (
        f"The {measure_label(measure)} at the primary site, means over pairs of domains, with 95 % "
        "intervals over classes. Untrained: the network before training; where not all pairs had "
        f"a number then, of how many it is, and what these pairs have now. {NO_NUMBER}: the reason "
        "stands in the CSV's column note."
    )


def _sharing_cells(found: dict[tuple[str, str], dict]) -> list[str]:
    """What one run has to say of one target, by class set and group of pairs."""
    seen = found.get(("seen", "with_test_domain"))
    return [
        *(_estimate(seen), _band(seen), _value(seen, "ceiling"), _floor(seen)),
        _estimate(found.get(("seen", "others"))),
        _estimate(found.get(("held_out", "with_test_domain"))),
    ]


def _floor(row: dict | None) -> str:
    """The untrained network over the pairs that have a number there, beside what they have now."""
    if row is None or row["floor"] is None:
        return NONE
    if row["floor_pairs"] == row["n_pairs"]:
        return number(row["floor"])
    count = f"{row['floor_pairs']} of {row['n_pairs']} pairs"
    return f"{number(row['floor'])} ({count}, now {number(row['value_floor'])})"


def differences_view(table: pl.DataFrame) -> View:
    """`sharing_tables.differences` at the primary site, a row per contrast, draw and seed."""
    many_draws, many_seeds = (table[key].n_unique() > 1 for key in ("draw", "seed"))
    rows = []
    for row in table.iter_rows(named=True):
        names = [row["test_domain"], setting_label(row["setting"]), setting_label(row["baseline"])]
        names += [str(row["draw"])] * many_draws + [str(row["seed"])] * many_seeds
        ends = (
            f"{signed(row['lo'])} to {signed(row['hi'])}" if row["lo"] is not None else row["note"]
        )
        shown = f"{signed(row['value'])} ({ends})"
        rows.append([*names, shown, str(row["n"]), str(row["n_pairs"])])
    caption = (
        "Sharing with the test domain at the primary site, setting minus baseline: same classes, "
        "same pairs, same draw and seed. The interval of 95 % is the jackknife of the difference: "
        "a class is left out of both networks at once."
    )
    columns = ["Test domain", "Setting", "Baseline", *["Draw"] * many_draws]
    columns += [*["Seed"] * many_seeds, "Difference", "Classes", "Pairs"]
    return View(caption, columns, rows, headers=3)


def over_runs_view(table: pl.DataFrame, what: str = "Sharing with the test domain") -> View:
    """`sharing_tables.over_runs`, a row per test domain and setting.

    Args:
        table: all of it.
        what: it is of.
    """
    rows = []
    for row in table.iter_rows(named=True):
        of_classes = row | {"lo": row["classes_lo"], "hi": row["classes_hi"]}
        rows.append(
            [
                *(
                    row["test_domain"],
                    setting_label(row["setting"]),
                    row["site"],
                    _value(row, "value"),
                ),
                *(_interval(row) if row["lo"] is not None else row["note"], _interval(of_classes)),
                *(str(row[key]) for key in ("runs", "draws", "seeds")),
            ]
        )
    caption = (
        f"{what} at the primary site, seen classes: the mean over draws of "
        "means over seeds. Two intervals of 95 % that ask different things and are not merged: "
        "over draws and seeds, how far other trainings would come out (of two units it is so wide "
        "that it says little); over classes, how far other classes would move a run of those here."
    )
    columns = ["Test domain", "Setting", "Site", "Mean", "Over draws and seeds", "Over classes"]
    return View(caption, [*columns, "Runs", "Draws", "Seeds of a draw"], rows, headers=2)


def headline_view(table: pl.DataFrame) -> View:
    """`analysis.headline.headline`: primary, baselines, and the primary measure at other sites."""
    first = table.row(0, named=True)
    measure, units = first["measure"], first["units"]
    shown = (pl.col("role") != "exploratory") | (pl.col("measure") == measure)
    rows = []
    for row in table.filter(shown).iter_rows(named=True):
        interval = "" if row["lo"] is None else f" ({signed(row['lo'])} to {signed(row['hi'])})"
        slope = NO_NUMBER if row["beta"] is None else signed(row["beta"]) + interval
        rows.append(
            [
                *(row["role"], row["site"] or NONE, measure_label(row["measure"]), slope),
                *(_value(row, "delta_r2"), _value(row, "delta_chance")),
                *(NONE if row[p] is None else f"{row[p]:.3g}" for p in ("p", "p_bh")),
                *(str(row["n"]), str(row["n_runs"]), row["note"] or NONE),
            ]
        )
    caption = (
        "Held-out accuracy on sharing, given accuracy on seen classes and the amount of data of "
        f"the test domain: a row of the regression is a {units}, the mean over its runs. The "
        "primary predictor was chosen before looking. ΔR²: what a predictor adds. Intervals and "
        f"p are Student's over {units}s; p (BH): corrected for all exploratory predictors. Other "
        "measures stand in the CSV."
    )
    columns = ["Role", "Site", "Predictor", "Standardised slope", "ΔR²", "by chance", "p"]
    columns += ["p (BH)", f"{units.capitalize()}s", "Runs", "Note"]
    return View(caption, columns, rows, headers=3)


def factorization_view(table: pl.DataFrame) -> View:
    """Quantities of the additive fit at the primary site, a row per run and target."""
    labels = {
        "r2": "R² of class plus domain",
        "class_r2": "R² of class within domains",
        "held_out_cosine": "Held-out cells: cosine",
        "held_out_cosine_without_domain": "by class alone",
        "held_out_cosine_minus_without_domain": "more than class alone",
        "held_out_cosine_without_class": "by domain alone",
        "held_out_cosine_minus_without_class": "more than domain alone",
        "class_in_domain_span": "Of classes in the span of domains",
    }
    caption = (
        "The additive fit at the primary site, with 95 % intervals over classes; cosines are of "
        "predicted with true held-out cells, as deviations from the mean of all."
    )
    return wide(table, "quantity", labels, caption)


def decodability_view(table: pl.DataFrame) -> View:
    """What the primary site says of the domain, a row per run."""
    labels = {
        "domain_accuracy": "Domain probe",
        "control_accuracy": "Control task",
        "subspace_cosine": "Cosine of subspaces",
    }
    caption = (
        "The domain at the primary site, with 95 % intervals over classes. The control task "
        "measures chance."
    )
    return wide(table, "quantity", labels, caption)


def transfer_view(table: pl.DataFrame) -> View:
    """`sharing_families.to_test_domain` at the primary site, a row per run and target."""
    table, rows = table.filter(pl.col("classes") != "all"), []
    many_draws, many_seeds = (table[key].n_unique() > 1 for key in ("draw", "seed"))
    for row in table.iter_rows(named=True):
        names = [row["test_domain"], setting_label(row["setting"])]
        names += [str(row["draw"])] * many_draws + [str(row["seed"])] * many_seeds
        cells = [_estimate(row), _value(row, "within"), _value(row, "ratio"), _value(row, "chance")]
        rows.append([*names, CLASS_LABELS[row["classes"]], *cells])
    caption = (
        "Classifiers of the other domains in the test domain at the primary site: mean accuracy "
        "with 95 % interval over test samples, the test domain's own classifier, and their ratio."
    )
    columns = ["Test domain", "Setting", *["Draw"] * many_draws, *["Seed"] * many_seeds]
    columns += ["Classes", "From other domains", "Its own", "Ratio", "Chance"]
    return View(caption, columns, rows, headers=2)


def wide(table: pl.DataFrame, kind: str, labels: dict[str, str], caption: str) -> View:
    """A row per run and target, with a column per kind."""
    many_draws, many_seeds = (table[key].n_unique() > 1 for key in ("draw", "seed"))
    keys = ["test_domain", "setting", "draw", "seed", "run"]
    rows = []
    for key, group in groupby(
        table.iter_rows(named=True), lambda row: tuple(row[name] for name in keys)
    ):
        test_domain, setting, draw, seed, _ = key
        found = {row[kind]: row for row in group}
        names = [test_domain, setting_label(setting)]
        names += [str(draw)] * many_draws + [str(seed)] * many_seeds
        rows.append([*names, *(_estimate(found.get(name)) for name in labels)])
    columns = ["Test domain", "Setting", *["Draw"] * many_draws, *["Seed"] * many_seeds]
    return View(caption, [*columns, *labels.values()], rows, headers=2)


def _estimate(row: dict | None) -> str:
    if row is None:
        return MISSING
    if row["value"] is None:
        return NO_NUMBER
    if row["lo"] is None or row["hi"] is None:
        return number(row["value"])
    return f"{number(row['value'])} ({number(row['lo'])} to {number(row['hi'])})"


def _interval(row: dict) -> str:
    if row["lo"] is None or row["hi"] is None:
        return NONE
    return f"{number(row['lo'])} to {number(row['hi'])}"


def _band(row: dict | None) -> str:
    if row is None or row["chance_lo"] is None or row["chance_hi"] is None:
        return NONE
    return f"{number(row['chance_lo'])} to {number(row['chance_hi'])}"


def _value(row: dict | None, key: str) -> str:
    return NONE if row is None or row[key] is None else number(row[key])
