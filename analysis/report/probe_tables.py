"""Linear probes beside zero-shot scores: results → tables, and the tables as readers see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from analysis.equivalent_shots import EquivalentShots, equivalent_shots
from analysis.report.evaluation_tables import KEYS
from analysis.report.evaluation_views import (
    SPLIT,
    cell_text,
    interval_text,
    name_columns,
    replicates,
    row_names,
)
from analysis.report.study import StudyResults
from analysis.report.summary import percent
from analysis.report.tables import CLASS_SETS, served
from analysis.report.views import CLASS_LABELS, MISSING, NONE, View, count

CURVE = [*KEYS, "run", "site", "trained_on", "classes"]
"""what a few-shot curve is of"""


def probe_scores(results: StudyResults) -> pl.DataFrame:
    """Probes of every run that concern a target; a run that has none has one row, of nulls.

    For each test domain those trained and tested there, and those trained on the natural domain,
    tested in both.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `run`, then those of probes.parquet (the
    seed of a draw of images is `probe_seed`), and `missing`.
    """
    grid = served(results).drop("mixture")
    probes = results.probes.drop("setting", "seed")
    natural = results.plan.natural
    here, there = pl.col("domain") == pl.col("test_domain"), pl.col("domain") == natural
    from_here = pl.col("trained_on") == pl.col("test_domain")
    from_there = pl.col("trained_on") == natural
    found = grid.join(probes, on=["run", "draw"]).filter(
        (here & (from_here | from_there)) | (there & from_there)
    )
    order = ["trained_on", "domain", "kind", "depth", "shots", "probe_seed", "classes"]
    keys = [*KEYS, "run"]
    table = grid.join(
        found.sort(order, maintain_order=True), on=keys, how="left", maintain_order="left_right"
    )
    probed = results.probes["run"].unique().to_list()
    return table.with_columns(missing=~pl.col("run").is_in(probed))


def zero_shot_scores(results: StudyResults) -> pl.DataFrame:
    """Headline scores in the test domain on the images that probes are tested on.

    Columns: `run`, `test_domain`, `draw`, `classes`, `zero_shot`, `zero_shot_lo`, `zero_shot_hi`.
    """
    return (
        results.headline_scores.filter(pl.col("classes").is_in(list(CLASS_SETS)), split=SPLIT)
        .rename({"domain": "test_domain"})
        .select(
            *("run", "test_domain", "draw", "classes"),
            zero_shot="value",
            zero_shot_lo="lo",
            zero_shot_hi="hi",
        )
    )


def site_scores(probes: pl.DataFrame, zero_shot: pl.DataFrame) -> pl.DataFrame:
    """Full probes of every site, with the zero-shot score in the test domain beside.

    Args:
        probes: `probe_scores`.
        zero_shot: `zero_shot_scores`.
    """
    wanted = (pl.col("kind") == "full") & pl.col("classes").is_in(list(CLASS_SETS))
    table = probes.filter(wanted | pl.col("missing"))
    return _with_zero_shot(table, zero_shot)


def tested_here(table: pl.DataFrame) -> pl.DataFrame:
    """The rows of probes that are tested in the test domain, and those of missing runs."""
    return table.filter((pl.col("domain") == pl.col("test_domain")) | pl.col("missing"))


def few_shot_scores(probes: pl.DataFrame, zero_shot: pl.DataFrame) -> pl.DataFrame:
    """Few-shot probes of the last site, tested in the test domain, with the zero-shot score.

    Args:
        probes: `probe_scores`.
        zero_shot: `zero_shot_scores`.
    """
    few = (pl.col("kind") == "few_shot") & (pl.col("domain") == pl.col("test_domain"))
    last = pl.col("depth") == pl.col("depth").max().over("run")
    wanted = pl.col("classes").is_in(list(CLASS_SETS))
    table = probes.filter((few & last & wanted) | pl.col("missing"))
    return _with_zero_shot(table, zero_shot)


def _with_zero_shot(table: pl.DataFrame, zero_shot: pl.DataFrame) -> pl.DataFrame:
    keys = ["run", "test_domain", "draw", "classes"]
    return table.join(zero_shot, on=keys, how="left", maintain_order="left")


def shots_of_zero_shot(few_shot: pl.DataFrame) -> pl.DataFrame:
    """Images per class with which a probe's few-shot curve reaches the zero-shot score.

    The curve is the mean over draws of its images; each run and draw has its own.

    Args:
        few_shot: `few_shot_scores`.

    Returns:
        `test_domain`, `setting`, `draw`, `seed`, `run`, `site`, `trained_on`, `classes`,
        `zero_shot` with `zero_shot_lo` and `zero_shot_hi`, `shots` (null outside of the curve),
        and `equivalent`, `at_lo`, `at_hi`: the same in words, for the score and for both ends of
        its interval, with a bound where the curve does not reach it. A missing run has nulls.
    """
    scores = ["zero_shot", "zero_shot_lo", "zero_shot_hi"]
    curves = mean_curves(few_shot).group_by(CURVE, maintain_order=True).agg("shots", "value")
    targets = few_shot.select(*CURVE, *scores).unique(maintain_order=True)
    both = targets.join(
        curves.rename({"shots": "k", "value": "curve"}),
        on=CURVE,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    found = [_equivalent(row) for row in both.iter_rows(named=True)]
    types = {"shots": pl.Float64, **dict.fromkeys(["equivalent", "at_lo", "at_hi"], pl.String)}
    return pl.concat([targets, pl.DataFrame(found, schema=types, orient="row")], how="horizontal")


def _equivalent(row: Mapping) -> tuple[float | None, str | None, str | None, str | None]:
    """Equivalent shots of a curve as a number, and in words: of the score and of its ends."""
    if row["k"] is None:
        return None, None, None, None
    exact, lowest, highest = (
        None if row[key] is None else equivalent_shots(row["k"], row["curve"], row[key])
        for key in ("zero_shot", "zero_shot_lo", "zero_shot_hi")
    )
    shots = None if exact is None else exact.value
    return shots, _words(exact), _words(lowest), _words(highest)


def _words(result: EquivalentShots | None) -> str | None:
    return None if result is None else str(result)


def mean_curves(table: pl.DataFrame) -> pl.DataFrame:
    """Mean, smallest and largest score over draws of images, by curve and rising shots.

    Args:
        table: `few_shot_scores`.

    Returns:
        What each curve is of, `shots`, `value`, `smallest`, `largest`, `n_draws`.
    """
    score = pl.col("value")
    return (
        table.drop_nulls(["shots", "value"])
        .group_by(*CURVE, "shots", maintain_order=True)
        .agg(score.mean(), smallest=score.min(), largest=score.max(), n_draws=pl.len())
        .sort("shots", maintain_order=True)
    )


# ---------------------------------------------------------------------------- views


def sites_view(table: pl.DataFrame) -> View:
    """`tested_here` of `site_scores` with a column per site; a dash where a model has none."""
    known = table.drop_nulls("value")
    sites = sites_of(known)["site"].to_list()
    many = replicates(table)
    rows = []
    for key, group in table.group_by([*KEYS, "trained_on", "classes"], maintain_order=True):
        cells = {row["site"]: row for row in group.iter_rows(named=True)}
        texts = [cell_text(cells[site]) if site in cells else _absent(group) for site in sites]
        names = [*row_names(key[: len(KEYS)], many), *_case(key[-2], key[-1])]
        rows.append([*names, *texts, _zero_shot_text(group), _samples_text(group)])
    columns = [*name_columns(many), "Trained on", "Tested on", *sites, "Zero-shot", "Samples"]
    caption = (
        "Balanced top-1 accuracy of linear probes in the test domain, with 95 % interval, by the "
        f"domain of the probe's training images.{_chance_text(known)}"
    )
    return View(caption, columns, rows, headers=2)


def sites_of(table: pl.DataFrame) -> pl.DataFrame:
    """Every `site` with its `depth`, the smallest where architectures differ, in their order."""
    depths = table.drop_nulls("depth").group_by("site").agg(pl.col("depth").min())
    return depths.sort("depth", "site")


def few_shot_view(table: pl.DataFrame) -> View:
    """`few_shot_scores` with a column per number of shots."""
    known = table.drop_nulls(["value", "shots"])
    shots = known["shots"].unique().sort().to_list()
    many = replicates(table)
    means = {
        tuple(row[key] for key in (*CURVE, "shots")): row
        for row in mean_curves(table).iter_rows(named=True)
    }
    rows = []
    for key, group in table.group_by(CURVE, maintain_order=True):
        absent = _absent(group)
        texts = [_shots_text(means[(*key, k)]) if (*key, k) in means else absent for k in shots]
        names = [*row_names(key[: len(KEYS)], many), *_case(key[-2], key[-1])]
        rows.append([*names, *texts, _zero_shot_text(group), _samples_text(group)])
    columns = [*name_columns(many), "Trained on", "Tested on", *map(_shots_head, shots)]
    columns += ["Zero-shot", "Samples"]
    caption = (
        "Few-shot probes of the last site by images per class: mean accuracy over "
        f"{known['probe_seed'].n_unique()} draws of these images, the smallest and the largest. "
        f"The 95 % interval of each probe is in the CSV.{_chance_text(known)}"
    )
    return View(caption, columns, rows, headers=2)


def shots_view(table: pl.DataFrame) -> View:
    """`shots_of_zero_shot`."""
    many = replicates(table)
    rows = [
        [
            *row_names([row[key] for key in KEYS], many),
            *_case(row["trained_on"], row["classes"]),
            *(_zero_shot_text(table[place]), _word(row["equivalent"])),
            *(_word(row["at_lo"]), _word(row["at_hi"])),
        ]
        for place, row in enumerate(table.iter_rows(named=True))
    ]
    columns = [*name_columns(many), "Trained on", "Tested on", "Zero-shot", "Equivalent shots"]
    columns += ["At the lower end", "At the upper end"]
    caption = (
        "Images per class with which the mean few-shot curve of the last site reaches the "
        "zero-shot score, and the two ends of its 95 % interval over test samples. The curve's "
        "own spread is not in them."
    )
    return View(caption, columns, rows, headers=2)


def _word(text: str | None) -> str:
    return MISSING if text is None else text


def _case(trained_on: str | None, classes: str | None) -> list[str]:
    return [trained_on or MISSING, CLASS_LABELS[classes] if classes else MISSING]


def _absent(group: pl.DataFrame) -> str:
    return MISSING if group["missing"].all() else NONE


def _shots_head(shots: int) -> str:
    return f"{shots} image" + ("s" if shots > 1 else "")


def _shots_text(row: Mapping) -> str:
    ends = f"{100 * row['smallest']:.1f} to {100 * row['largest']:.1f}"
    return f"{percent(row['value'])} ({ends})" if row["n_draws"] > 1 else percent(row["value"])


def _zero_shot_text(group: pl.DataFrame) -> str:
    row = group.row(0, named=True)
    if row["zero_shot"] is None:
        return MISSING
    return interval_text(row["zero_shot"], row["zero_shot_lo"], row["zero_shot_hi"])


def _samples_text(group: pl.DataFrame) -> str:
    counts = group["n"].drop_nulls()
    return count(int(counts[0])) if len(counts) else MISSING


def _chance_text(known: pl.DataFrame) -> str:
    chances = sorted(set(_shares(known)))
    return f" Chance: {', '.join(chances)}." if chances else ""


def _shares(known: pl.DataFrame) -> Iterator[str]:
    for chance in known["chance"].drop_nulls().unique():
        yield percent(chance)
