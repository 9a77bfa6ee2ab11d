"""Which parts carry a class, and how alike they are between domains: results → tables.

A run that serves several targets (test domain, draw of held-out classes) has its rows once for
each of them. What cannot be estimated is null, with the reason in `note`.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.report.schemas import CIRCUIT_MEASURES
from analysis.report.sharing_tables import PLACE, SHARED, differences, pairs_of
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan

MEASURE, RAW = CIRCUIT_MEASURES[:2]
"""the index on the scale from its floor to its ceiling, and as it is"""
NODES, EDGES = "nodes", "edges"
"""sites that stand for all node sites, and all targets of edges, together"""
NODE_LEVELS = ("head", "neuron", "channel")
EDGE_LEVEL = "edge"
LEVEL_WORDS = {
    "head": "attention heads",
    "neuron": "neurons of MLPs",
    "channel": "channels",
    "edge": "edges, by the branch that they lead to",
}
EXACT = ["spearman", "spearman_lo", "spearman_hi"]
DRAWN_CLASSES = {"held_out": 2, "seen": 2}
"""how many classes of a set are drawn"""
SPLIT = "test"


def circuit_pairs(results: StudyResults) -> pl.DataFrame:
    """Overlap of the scores of every pair of domains, in the columns of `sharing_pairs`.

    The primary site is all nodes together.
    """
    rows = results.analyses["circuit_sharing"]
    return pairs_of(results, rows, pl.col("site") == NODES)


def changes_of(pairs: pl.DataFrame) -> pl.DataFrame:
    """`sharing_tables.differences` of the primary measure, pairs with the test domain, seen
    classes."""
    return differences(pairs.filter(pairs="with_test_domain", measure=MEASURE, classes=SHARED))


def beside_accuracy(changes: pl.DataFrame, accuracies: pl.DataFrame) -> pl.DataFrame:
    """What settings differ in: how much is shared, and accuracy on held-out classes.

    Args:
        changes: `changes_of`, of the primary site.
        accuracies: `contrasts.contrasts`, on the same targets.

    Returns:
        The rows of `changes` with `accuracy`, `accuracy_lo`, `accuracy_hi` (of all seeds of the
        draw: setting minus baseline, held-out classes of the test domain) and `direction`: `same`
        or `opposite` where both intervals exclude 0, `open` where one of them does not or is
        missing.
    """
    keys = ["contrast", "baseline", "setting", "test_domain", "draw"]
    gains = accuracies.filter(split=SPLIT).select(
        *keys, accuracy="value", accuracy_lo="lo", accuracy_hi="hi"
    )
    table = changes.join(gains, on=keys, how="left", maintain_order="left")
    signs = [_sign(lo, hi) for lo, hi in (("lo", "hi"), ("accuracy_lo", "accuracy_hi"))]
    product = (signs[0] * signs[1]).fill_null(0)
    words = pl.when(product > 0).then(pl.lit("same")).when(product < 0).then(pl.lit("opposite"))
    return table.with_columns(direction=words.otherwise(pl.lit("open")))


def _sign(lo: str, hi: str) -> pl.Expr:
    """1 or −1 where a whole interval lies on one side of 0; 0 where it does not; null of none."""
    above, below = (pl.col(lo) > 0).cast(pl.Int8), (pl.col(hi) < 0).cast(pl.Int8)
    return above - below


# ---------------------------------------------------------------------------- attribution


def quality(results: StudyResults) -> pl.DataFrame:
    """How far scores agree with exact ablation, in the order of the study's settings.

    Columns: `run`, `setting`, `seed`, those of attribution_quality.parquet, and `value`, `lo`,
    `hi` (the Spearman correlation again, as figures by layer want it), `draw` (0) and `chance`
    (0, of a correlation).
    """
    table = results.analyses["attribution_quality"]
    order = pl.col("setting").cast(pl.Enum(results.plan.settings)).to_physical()
    named = zip(("value", "lo", "hi"), EXACT, strict=True)
    return table.sort(order, "seed", maintain_order=True).with_columns(
        *(pl.col(name).alias(key) for key, name in named),
        draw=pl.lit(0, dtype=pl.Int64),
        chance=pl.lit(0.0),
    )


def first_runs(table: pl.DataFrame) -> pl.DataFrame:
    """The rows of every setting's first run."""
    return table.filter(pl.col("run") == pl.col("run").first().over("setting"))


def quality_means(table: pl.DataFrame) -> pl.DataFrame:
    """Agreement with exact ablation over the sites of a level.

    Args:
        table: `quality`.

    Returns:
        By setting, level, score and baseline: `mean` and `lowest` Spearman correlation over sites
        and runs, the site of the lowest (`at`), `jaccard` (mean), `known` (sites of runs that have
        a correlation), `not_estimable` (the others), `runs`, `n` (nodes of a site, at most),
        `n_images` (at least).
    """
    keys = ["setting", "level", "score", "baseline"]
    known = pl.col("spearman").is_not_null()
    return table.group_by(keys, maintain_order=True).agg(
        mean=pl.col("spearman").mean(),
        lowest=pl.col("spearman").min(),
        at=pl.col("site").filter(known).sort_by(pl.col("spearman").filter(known)).first(),
        jaccard=pl.col("jaccard").mean(),
        known=known.sum().cast(pl.Int64),
        not_estimable=(~known).sum().cast(pl.Int64),
        runs=pl.col("run").n_unique().cast(pl.Int64),
        n=pl.col("n").max(),
        n_images=pl.col("n_images").min(),
    )


# ---------------------------------------------------------------------------- drawn classes


def node_parts(results: StudyResults) -> pl.DataFrame:
    """The nodes of circuit_parts.parquet, in the order of the study's settings."""
    table = results.analyses["circuit_parts"].filter(kind="node")
    order = pl.col("setting").cast(pl.Enum(results.plan.settings)).to_physical()
    return table.sort(order, "seed", maintain_order=True)


def drawn_classes(parts: pl.DataFrame, plan: StudyPlan, draw: int) -> dict[str, str]:
    """Some classes of a draw by their set: the first of each that the parts have.

    Args:
        parts: `node_parts`, of one run.
        plan: of the study.
        draw: of held-out classes.

    Returns:
        `held_out` or `seen` by class, held-out ones first.
    """
    there = set(parts["class_name"])
    found: dict[str, str] = {}
    for classes, most in DRAWN_CLASSES.items():
        members = plan.class_set(classes, draw)
        names = [name for name in plan.classes if name in members and name in there]
        found |= dict.fromkeys(names[:most], classes)
    return found


def owned_nodes(parts: pl.DataFrame, test_domain: str, classes: Sequence[str]) -> pl.DataFrame:
    """Whose the strongest nodes of a class are: the test domain's, other domains', or both's.

    A node counts as that of other domains where at least half of them have it.

    Args:
        parts: `node_parts`, of one run.
        test_domain: of the target.
        classes: to be drawn.

    Returns:
        A row per class and node of either: `class_name`, `site`, `node`, `owner` (`shared`,
        `test`, `others`), `value` (largest contribution among its domains), `domains` (other
        domains that have it, of `of`).
    """
    rows = parts.filter(pl.col("class_name").is_in(list(classes)))
    is_test = pl.col("domain") == test_domain
    of = rows.filter(~is_test).group_by("class_name").agg(of=pl.col("domain").n_unique())
    nodes = rows.group_by("class_name", "source", "node", maintain_order=True).agg(
        is_test=is_test.any(),
        domains=pl.col("domain").filter(~is_test).n_unique().cast(pl.Int64),
        value=pl.col("value").max(),
    )
    nodes = nodes.join(of, on="class_name", how="left", maintain_order="left")
    nodes = nodes.with_columns(pl.col("of").fill_null(0).cast(pl.Int64))
    is_others = (pl.col("domains") > 0) & (2 * pl.col("domains") >= pl.col("of"))
    owner = (
        pl.when("is_test", is_others)
        .then(pl.lit("shared"))
        .when("is_test")
        .then(pl.lit("test"))
        .otherwise(pl.lit("others"))
    )
    return (
        nodes.with_columns(owner=owner)
        .filter(pl.col("is_test") | is_others)
        .select("class_name", "node", "owner", "value", "domains", "of", site="source")
    )


def sites_in_order(results: StudyResults, parts: pl.DataFrame) -> list[str]:
    """The node sites of a run by depth, heads before the neurons of their block.

    Args:
        results: of the study.
        parts: `node_parts`, of one run; their own order where no table of the run has depths.
    """
    rows = results.analyses["circuit_sharing"].filter(
        pl.col("level").is_in(NODE_LEVELS), run=parts["run"][0]
    )
    ranks = {level: rank for rank, level in enumerate(NODE_LEVELS)}
    rank = pl.col("level").replace_strict(ranks, return_dtype=pl.Int64)
    places = rows.select(PLACE).unique().with_columns(rank=rank)
    return (
        places.sort("depth", "rank")["site"].to_list()
        or parts["source"].unique(maintain_order=True).to_list()
    )
