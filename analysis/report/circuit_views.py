"""The tables of nodes, and of what they carry, as readers see them."""

from __future__ import annotations

import polars as pl

from analysis.report.circuit_tables import LEVEL_WORDS
from analysis.report.faithfulness_tables import OTHER, OWN, STATED
from analysis.report.sharing_text import NO_NUMBER, number, signed
from analysis.report.summary import percent, points, setting_label
from analysis.report.views import CLASS_LABELS, MISSING, NONE, View

SCORES = {
    "atp": "attribution patching",
    "ig_input": "integrated gradients along the input",
    "ig_layer": "integrated gradients, layer by layer",
}
BASELINES = {
    "domain_other_class": "other classes of the domain",
    "pooled": "all cells",
    "zero": "zero",
}
CURVE_COLUMNS = {
    "cpr": "CPR",
    "cmd": "CMD",
    "cpr_log": "CPR (log k)",
    "cmd_log": "CMD (log k)",
    "size_80": "Size for 0.8",
    "f": f"f at {100 * STATED:g} %",
}
CHOSEN = {OWN: "the test domain", OTHER: "other domains (mean)"}


def estimate(row: dict | None, key: str = "value") -> str:
    """A number with its interval, or what stands in its place."""
    if row is None:
        return MISSING
    lo, hi = (row[end if key == "value" else f"{key}_{end}"] for end in ("lo", "hi"))
    if row[key] is None:
        return NO_NUMBER
    if lo is None or hi is None:
        return number(row[key])
    return f"{number(row[key])} ({number(lo)} to {number(hi)})"


def quality_view(table: pl.DataFrame) -> View:
    """`circuit_tables.quality_means`, a row per setting, level, score and baseline."""
    rows = []
    for row in table.iter_rows(named=True):
        names = [setting_label(row["setting"]), LEVEL_WORDS.get(row["level"], row["level"])]
        lowest = NONE if row["lowest"] is None else f"{number(row['lowest'])} ({row['at']})"
        cells = [
            SCORES.get(row["score"], row["score"]),
            BASELINES.get(row["baseline"], row["baseline"]),
            NO_NUMBER if row["mean"] is None else number(row["mean"]),
            lowest,
            NO_NUMBER if row["jaccard"] is None else number(row["jaccard"]),
            *(str(row[key]) for key in ("known", "n", "n_images", "runs")),
        ]
        rows.append([*names, *cells])
    caption = (
        "How far scores agree with exact ablation of single nodes: Spearman correlation over the "
        "nodes of a site, mean and lowest over sites and runs; Jaccard index of the strongest "
        "tenths, their mean. Intervals of every site and run stand in the CSV."
    )
    columns = ["Setting", "Nodes", "Score", "Baseline", "Mean correlation", "Lowest"]
    columns += ["Strongest tenths", "Correlations", "Nodes of a site", "Images", "Runs"]
    return View(caption, columns, rows, headers=2)


def nodes_view(table: pl.DataFrame) -> View:
    """Sharing of all nodes together, a row per run and target.

    Args:
        table: `sharing_tables.sharing` of the primary site: the primary and the raw measure of
            both class sets and groups of pairs.
    """
    many_draws, many_seeds = (table[key].n_unique() > 1 for key in ("draw", "seed"))
    keys = ["test_domain", "setting", "draw", "seed"]
    rows = []
    for (test_domain, setting, draw, seed), group in table.group_by(keys, maintain_order=True):
        found = {
            (row["measure"], row["classes"], row["pairs"]): row
            for row in group.iter_rows(named=True)
        }
        names = [str(test_domain), setting_label(str(setting))]
        names += [str(draw)] * many_draws + [str(seed)] * many_seeds
        raw = found.get(("jaccard", "seen", "with_test_domain"))
        rows.append(
            [
                *names,
                estimate(found.get(("jaccard_norm", "seen", "with_test_domain"))),
                estimate(found.get(("jaccard_norm", "seen", "others"))),
                estimate(found.get(("jaccard_norm", "held_out", "with_test_domain"))),
                estimate(raw),
                *(_band(raw, end) for end in ("floor", "ceiling", "chance")),
            ]
        )
    caption = (
        "Jaccard index of the strongest tenths of the nodes for a class, all nodes together, means "
        "over pairs of domains with 95 % intervals over classes. Normalised: 0 is what other "
        "classes of one domain have in common, 1 what other images of the same class and domain "
        "have. The reason for a number that is not there stands in the CSV's column note."
    )
    columns = ["Test domain", "Setting", *["Draw"] * many_draws, *["Seed"] * many_seeds]
    columns += ["With the test domain, seen classes", "Other pairs, seen classes"]
    columns += ["With the test domain, held-out classes", "Raw, seen classes"]
    return View(caption, [*columns, "Floor", "Ceiling", "Chance"], rows, headers=2)


def _band(row: dict | None, key: str) -> str:
    return NONE if row is None or row[key] is None else number(row[key])


def summary_view(table: pl.DataFrame) -> View:
    """What curves of own and other parts come to: a row per run, target, class set, parts, kind.

    Args:
        table: `faithfulness_tables.to_test_domain`, of the summaries, and of f at STATED.
    """
    many_draws, many_seeds = (table[key].n_unique() > 1 for key in ("draw", "seed"))
    keys = ["test_domain", "setting", "draw", "seed", "classes", "parts", "circuit"]
    rows = []
    for (test_domain, setting, draw, seed, classes, kind, circuit), group in table.group_by(
        keys, maintain_order=True
    ):
        found = {row["quantity"]: row for row in group.iter_rows(named=True)}
        names = [str(test_domain), setting_label(str(setting))]
        names += [str(draw)] * many_draws + [str(seed)] * many_seeds
        names += [CLASS_LABELS[str(classes)], str(kind), CHOSEN[str(circuit)]]
        rows.append([*names, *(_summary(found.get(key), key) for key in CURVE_COLUMNS)])
    caption = (
        "What the curves of faithfulness come to, with 95 % intervals over classes. CPR: the area "
        "below f, more is better; CMD: the area between f and 1, 0 is best; on the linear axis "
        "four fifths of it lie above 20 % of the parts, hence both again over the logarithm of k. "
        "Size: the smallest share of the parts that was tried at which f is 0.8 or more. The first "
        "draw and seed of each setting; all are in the CSV."
    )
    columns = ["Test domain", "Setting", *["Draw"] * many_draws, *["Seed"] * many_seeds]
    columns += ["Classes", "Parts", "Chosen in", *CURVE_COLUMNS.values()]
    return View(caption, columns, rows, headers=2)


def _summary(row: dict | None, key: str) -> str:
    if key != "size_80" or row is None:
        return estimate(row)
    if row["value"] is None:
        return "all nodes"
    rest = row["not_estimable"]
    never = f" ({rest} of {rest + row['sources']} never)" if rest else ""
    return f"{100 * row['value']:g} %{never}"


def accuracy_view(table: pl.DataFrame) -> View:
    """`circuit_tables.beside_accuracy`, a row per contrast, draw and seed."""
    many_draws, many_seeds = (table[key].n_unique() > 1 for key in ("draw", "seed"))
    rows = []
    for row in table.iter_rows(named=True):
        names = [row["test_domain"], setting_label(row["setting"]), setting_label(row["baseline"])]
        names += [str(row["draw"])] * many_draws + [str(row["seed"])] * many_seeds
        rows.append([*names, _difference(row), _gain(row), row["direction"], str(row["n"])])
    caption = (
        "What settings differ in: shared nodes (all together, normalised, pairs with the test "
        "domain, seen classes; 95 % jackknife of the difference, each class left out of both "
        "networks) and accuracy on held-out classes (percentage points, 95 % over the same test "
        "samples, all seeds of the draw). Direction: of two differences whose intervals exclude 0; "
        "open where one does not."
    )
    columns = ["Test domain", "Setting", "Baseline", *["Draw"] * many_draws]
    columns += [*["Seed"] * many_seeds, "Shared", "Accuracy", "Direction", "Classes"]
    return View(caption, columns, rows, headers=3)


def _difference(row: dict) -> str:
    if row["lo"] is None:
        return f"{signed(row['value'])} ({row['note']})"
    return f"{signed(row['value'])} ({signed(row['lo'])} to {signed(row['hi'])})"


def _gain(row: dict) -> str:
    if row["accuracy"] is None:
        return MISSING
    if row["accuracy_lo"] is None:
        return points(row["accuracy"])
    ends = f"{points(row['accuracy_lo'])} to {points(row['accuracy_hi'])}"
    return f"{points(row['accuracy'])} ({ends})"


def verdict_view(table: pl.DataFrame) -> View:
    """`faithfulness_tables.verdicts`, a row per run, target and class set."""
    many_draws, many_seeds = (table[key].n_unique() > 1 for key in ("draw", "seed"))
    rows = []
    for row in table.iter_rows(named=True):
        names = [row["test_domain"], setting_label(row["setting"])]
        names += [str(row["draw"])] * many_draws + [str(row["seed"])] * many_seeds
        size = NONE if row["size"] is None else percent(row["size"])
        called = "yes" if row["is_circuit"] else f"no: {row['note']}"
        controls = [_band(row, key) for key in ("random", "wrong_class")]
        cells = [estimate(row) if row["size"] is not None else NONE, *controls]
        cells += [estimate(row, key) if row[key] is not None else NONE for key in ("other", "rest")]
        rows.append([*names, CLASS_LABELS[row["classes"]], called, size, *cells])
    caption = (
        "What the strongest nodes of the test domain carry of its answers at the size where they "
        "first carry 0.8. A circuit: they carry that much, and their 95 % interval lies above "
        "those of as many random nodes and of another class's nodes (whose upper ends stand here; "
        "of the next larger size where there is none at this one)."
    )
    columns = ["Test domain", "Setting", *["Draw"] * many_draws, *["Seed"] * many_seeds]
    columns += ["Classes", "A circuit", "Size", "Own nodes", "Random", "Another class's"]
    return View(caption, [*columns, "Of other domains", "Without own nodes"], rows, headers=2)
