"""Two studies side by side: headline scores, differences on the same samples, configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.report import tables
from analysis.report.contrasts import holm_by_split
from analysis.report.study import StudyResults
from analysis.statistics import paired_difference_interval
from gen.runs import Target

KEYS = ["test_domain", "setting", "draw", "split", "classes"]
SCHEMA: dict[str, Any] = {
    **{key: (pl.Int64 if key == "draw" else pl.String) for key in KEYS},
    **dict.fromkeys(["value_a", "value_b", "difference", "lo", "hi", "p", "p_holm"], pl.Float64),
    **dict.fromkeys(["seeds_a", "seeds_b", "n", "n_classes"], pl.Int64),
    "unpaired": pl.String,
}


@dataclass(frozen=True)
class ComparedStudy:
    """A study that is compared.

    Attributes:
        results: with predictions of every class (`load_results(…, every_class=True)`).
        config: everything that it asks for, nested.
    """

    results: StudyResults
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.results.plan.name

    @property
    def title(self) -> str:
        """Its name, with that of the arm which is compared."""
        return self.results.plan.title


def compare_scores(
    a: StudyResults, b: StudyResults, class_sets: Sequence[str] = tables.CLASS_SETS
) -> pl.DataFrame:
    """Headline scores on these sets of classes that both studies plan, and what b has more than a.

    Columns: `test_domain`, `setting`, `draw`, `split`, `classes`; `value_a` and `value_b`, means
    over the `seeds_a` and `seeds_b` that are finished; `difference`, b minus a; where both answer
    the same test samples, its paired `lo`, `hi`, `p`, `p_holm` (the family: all of the split),
    `n` samples and `n_classes` classes, where a sample counts with the share of seeds that got it
    right; else `unpaired` says why not.
    """
    both = _means(a).join(_means(b), on=KEYS, suffix="_b", how="inner", maintain_order="left")
    both = both.filter(pl.col("classes").is_in(list(class_sets)))
    named = both.rename({"value": "value_a", "seeds": "seeds_a"}).with_columns(
        difference=pl.col("value_b") - pl.col("value_a")
    )
    rows = [row | _paired(a, b, row) for row in named.iter_rows(named=True)]
    table = pl.DataFrame(rows, schema=SCHEMA, orient="row", infer_schema_length=None)
    return table.with_columns(p_holm=holm_by_split(table))


def _means(results: StudyResults) -> pl.DataFrame:
    """Mean over seeds of every headline score that is planned."""
    scores = tables.headline(results).group_by(KEYS, maintain_order=True)
    known = pl.col("value").drop_nulls()
    return scores.agg(value=known.mean(), seeds=known.len().cast(pl.Int64))


def _paired(a: StudyResults, b: StudyResults, row: Mapping[str, Any]) -> dict[str, Any]:
    """The difference on the same samples, or why there is none."""
    if reason := _obstacle(a, b, row):
        return {"unpaired": reason}
    mean = pl.col("correct").mean()
    answers = [_answers(results, row) for results in (a, b)]
    if [side["run"].n_unique() for side in answers] != [row["seeds_a"], row["seeds_b"]]:
        return {"unpaired": "their scores and predictions are not of the same seeds"}
    sides = [side.group_by("id").agg(pl.col("label").first(), mean) for side in answers]
    pairs = sides[0].join(sides[1], on=["id", "label"], suffix="_b").sort("id")
    if not len(pairs) == len(sides[0]) == len(sides[1]) > 0:
        return {"unpaired": "their predictions are not of the same test samples"}
    found = paired_difference_interval(
        pairs["correct"].to_numpy(), pairs["correct_b"].to_numpy(), pairs["label"].to_numpy()
    )
    return {key: getattr(found, key) for key in ("lo", "hi", "p", "n", "n_classes")}


def _obstacle(a: StudyResults, b: StudyResults, row: Mapping[str, Any]) -> str:
    """Why two scores cannot be compared sample by sample; empty where they may."""
    lacking = [
        results.plan.title
        for results, value in ((a, row["value_a"]), (b, row["value_b"]))
        if value is None
    ]
    if lacking:
        return f"they are missing in {' and '.join(lacking)}"
    if not (a.plan.dataset_sha256 and b.plan.dataset_sha256):
        return "the dataset of one is not known"
    if a.plan.dataset_sha256 != b.plan.dataset_sha256:
        return "their datasets differ"
    if set(a.plan.draws[row["draw"]]) != set(b.plan.draws[row["draw"]]):
        return "their held-out classes differ"
    return ""


def _answers(results: StudyResults, row: Mapping[str, Any]) -> pl.DataFrame:
    """`run`, `id`, `label` and `correct` of a row's samples, once per seed."""
    target = Target(row["test_domain"], row["draw"])
    runs = tables.served(results).filter(setting=row["setting"], **target._asdict())["run"]
    members = results.plan.class_set(row["classes"], row["draw"])
    return results.predictions.filter(
        pl.col("run").is_in(runs.to_list()),
        pl.col("class_name").is_in(sorted(members)),
        split=row["split"],
        domain=row["test_domain"],
    ).select("run", "id", "label", pl.col("correct").cast(pl.Float64))


def differing_keys(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Keys whose values differ, with both values as text; empty text where there is no such key."""
    flat_a, flat_b = dict(flat(a)), dict(flat(b))
    return [
        (key, flat_a.get(key, ""), flat_b.get(key, ""))
        for key in dict.fromkeys([*flat_a, *flat_b])
        if flat_a.get(key) != flat_b.get(key)
    ]


def flat(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value)


def only_in(a: StudyResults, b: StudyResults) -> list[str]:
    """Settings and test domains that a has and b has not, as `SETTING in TEST_DOMAIN`."""
    places = [
        dict.fromkeys(
            (run.setting, target.test_domain) for run in side.plan.runs for target in run.mixtures
        )
        for side in (a, b)
    ]
    return [
        f"{setting} in {domain}"
        for setting, domain in places[0]
        if (setting, domain) not in places[1]
    ]
