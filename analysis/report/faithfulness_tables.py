"""How much of an answer a few nodes carry, beside what every run is tested on: results → tables.

f(k) = (m(k of the nodes) − m(none)) / (m(all) − m(none)), m the mean margin of a set of classes,
every other node at its baseline. A set of nodes is chosen on training images of its source, and
tested on test images of its target. Edges are tested alike.
"""

from __future__ import annotations

import polars as pl

from analysis.faithfulness_curves import ENOUGH, SIZE
from analysis.report.sharing_tables import ESTIMATE, KEYS, by_target, complete_mean, reasons
from analysis.report.study import StudyResults

NODES, EDGES = "nodes", "edges"
"""parts that a network is taken apart into"""
OWN, OTHER, RANDOM, WRONG = "own", "other", "random", "wrong_class"
REST, REST_OTHER = "complement", "complement_other"
"""all nodes but the chosen ones: of the test domain itself, and of another domain"""
CONTROLS = (RANDOM, WRONG)
"""what a circuit must be better than"""
STATED = 0.1
"""share of the nodes at which sources are compared, whatever they carry there"""

AT_SHARE, AT_SIZE = "10 % of the nodes", "nodes where own ones reach 0.8"
"""panels of the matrices"""
OF = ["parts", "baseline", "classes"]
NEAR = 1e-9
"""of two shares that are the same"""
NEVER = "own nodes never carry 0.8 of the answer"


def faithfulness(results: StudyResults) -> pl.DataFrame:
    """faithfulness.parquet beside every target of its run, of the first baseline that it has.

    Columns: KEYS, and those of the table.
    """
    table = by_target(results, results.analyses["faithfulness"])
    return table.filter(pl.col("baseline") == pl.col("baseline").first().over("run"))


def to_test_domain(table: pl.DataFrame) -> pl.DataFrame:
    """What sets of parts carry in the test domain, by kind of set: means over their sources.

    Args:
        table: `faithfulness`.

    Returns:
        KEYS, OF, `circuit`, `quantity`, `k`, `value` (of SIZE the median of
        the sources that have one), `lo`, `hi` (means: intervals as if the errors of sources were
        one; null where one has none), `n` (classes), `n_images`, `sources` (behind the value),
        `not_estimable` (the other sources), `note` (why).
    """
    is_elsewhere = (pl.col("circuit") == REST) & (pl.col("source") != pl.col("target"))
    circuit = pl.when(is_elsewhere).then(pl.lit(REST_OTHER)).otherwise("circuit")
    rows = table.filter(pl.col("target") == pl.col("test_domain")).with_columns(circuit=circuit)
    keys = [*KEYS, *OF, "circuit", "quantity", "k"]
    known = pl.col("value").is_not_null()
    middle = pl.when(pl.col("quantity").first() == SIZE).then(pl.col("value").median())
    return rows.group_by(keys, maintain_order=True).agg(
        value=middle.otherwise(pl.col("value").mean()),
        **{name: complete_mean(pl.col(name).filter(known)) for name in ESTIMATE[1:]},
        n=pl.col("n").min(),
        n_images=pl.col("n_images").min(),
        sources=known.sum().cast(pl.Int64),
        not_estimable=(~known).sum().cast(pl.Int64),
        note=reasons(),
    )


def crossed(table: pl.DataFrame) -> pl.DataFrame:
    """What nodes of every domain carry in every domain, at two sizes.

    The size AT_SIZE is that at which the target's own nodes reach ENOUGH, of the same classes.

    Args:
        table: `faithfulness`, of nodes.

    Returns:
        KEYS, OF, `site` (AT_SHARE or AT_SIZE), `source`, `target`, `k`,
        `value`, `lo`, `hi`, `random` (upper end of the interval of random nodes of that size and
        target; null where there is none), `n`, `n_images`, `note`.
    """
    of_pairs = table.filter(pl.col("circuit").is_in([OWN, OTHER]), quantity="f")
    stated = of_pairs.filter((pl.col("k") - STATED).abs() < NEAR).with_columns(
        site=pl.lit(AT_SHARE)
    )
    sizes = own_sizes(table).select(*KEYS, *OF, "target", "size")
    keys = [*KEYS, *OF, "target"]
    at_size = of_pairs.join(sizes, on=keys, nulls_equal=True, maintain_order="left")
    at_size = at_size.filter((pl.col("k") - pl.col("size")).abs() < NEAR)
    both = pl.concat([stated, at_size.drop("size").with_columns(site=pl.lit(AT_SIZE))])
    both = both.join(
        _control(table, RANDOM, both),
        on=[*keys, "k"],
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    last = ["k", *ESTIMATE, RANDOM, "n", "n_images", "note"]
    return both.select(*KEYS, *OF, "site", "source", "target", *last)


def own_sizes(table: pl.DataFrame) -> pl.DataFrame:
    """KEYS, OF, `target` and `size`: the least share of its own nodes that carries ENOUGH."""
    rows = table.filter(circuit=OWN, quantity=SIZE)
    return rows.select(*KEYS, *OF, "target", "note", size="value")


def _control(table: pl.DataFrame, circuit: str, wanted: pl.DataFrame) -> pl.DataFrame:
    """Upper end of a control at every size that is wanted, or at the next larger one it has.

    A control carries more where it has more nodes: that of a larger size is no easier to beat.

    Args:
        table: `faithfulness`.
        circuit: which control.
        wanted: KEYS, OF, `target` and `k`.

    Returns:
        KEYS, OF, `target`, `k`, and the upper end, named after the control.
    """
    keys = [*KEYS, *OF, "target"]
    found = table.filter(circuit=circuit, quantity="f").group_by([*keys, "k"], maintain_order=True)
    ends = found.agg(complete_mean(pl.col("hi")).alias(circuit))
    sizes = wanted.select(*keys, "k").unique(maintain_order=True)
    both = sizes.join(ends, on=keys, suffix="_control", nulls_equal=True)
    both = both.filter(pl.col("k_control") >= pl.col("k") - NEAR).sort("k_control")
    nearest = both.unique([*keys, "k"], keep="first", maintain_order=True)
    return nearest.select(*keys, "k", circuit)


def verdicts(table: pl.DataFrame) -> pl.DataFrame:
    """Whether the nodes that carry a test domain's classes may be called a circuit, and whose.

    Args:
        table: `faithfulness`, of nodes.

    Returns:
        A row per target and class set: KEYS, OF, `size` (share of the nodes, fewer than all of
        them, at which own ones reach ENOUGH; null where they never do), and there `value`, `lo`,
        `hi` (own nodes), `random`, `wrong_class` (upper ends of the controls), `other`,
        `other_lo`, `other_hi` (nodes of other domains, means over these), `rest`, `rest_lo`,
        `rest_hi` (what remains without as many own nodes), `n`, `n_images`; `is_circuit`: own nodes
        carry ENOUGH, and their interval lies above both controls; `note` (why not).
    """
    means = to_test_domain(table)
    sizes = own_sizes(table).filter(pl.col("target") == pl.col("test_domain"))
    found = sizes.drop("note").with_columns(k="size")
    keys = [*KEYS, *OF]
    for circuit in CONTROLS:
        ends = _control(table, circuit, found.drop_nulls("k"))
        found = _beside(found, ends, [*keys, "target", "k"])
    carried = means.filter(quantity="f")
    own = carried.filter(circuit=OWN).select(*keys, "k", *ESTIMATE, "n", "n_images")
    other = carried.filter(circuit=OTHER).select(
        *keys, "k", other="value", other_lo="lo", other_hi="hi"
    )
    rest = carried.filter(circuit=REST).select(*keys, "k", rest="value", rest_lo="lo", rest_hi="hi")
    for part in (own, other, rest):
        found = _beside(found, part, [*keys, "k"])
    note = _why_not()
    return found.drop("target", "k").with_columns(is_circuit=note == "", note=note)


def _beside(table: pl.DataFrame, more: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    return table.join(more, on=keys, how="left", nulls_equal=True, maintain_order="left")


def _why_not() -> pl.Expr:
    """Why nodes are no circuit, empty where they are one."""
    highest = pl.max_horizontal(CONTROLS)
    missing = pl.any_horizontal(pl.col(name).is_null() for name in CONTROLS)
    return (
        pl.when(pl.col("size").is_null())
        .then(pl.lit(NEVER))
        .when(pl.any_horizontal(pl.col(ESTIMATE).is_null()))
        .then(pl.lit("no interval at this size"))
        .when(missing)
        .then(pl.lit("no control at this size"))
        .when(pl.col("value") < ENOUGH)
        .then(pl.lit(NEVER))
        .when(pl.col("lo") <= highest)
        .then(pl.lit("the interval reaches that of a control"))
        .otherwise(pl.lit(""))
    )
