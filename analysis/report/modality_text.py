"""What the distances of images and sentences allow to say, in words."""

from __future__ import annotations

import polars as pl

from analysis.report.circuit_text import PER_CENT, listed
from analysis.report.sharing_text import NO_NUMBER, number
from analysis.report.summary import setting_label


def gap_sentence(rows: pl.DataFrame) -> str:
    """How far images of a test domain lie from sentences, beside what there was before training.

    Of several runs of a setting the mean with the smallest and the largest, which is no interval.

    Args:
        rows: `modality_tables.gap_lines` of one test domain and site.
    """
    first = rows.row(0, named=True)
    told = [
        f"{setting_label(str(setting))} {_apart(of_setting)}"
        for (setting,), of_setting in rows.group_by("setting", maintain_order=True)
    ]
    return (
        f"At {first['site']} the mean of the images of {first['test_domain']} and that of the "
        f"sentences lie apart, in units of the spread within classes: {listed(told)}."
    )


def _apart(rows: pl.DataFrame) -> str:
    spoken, before, images = (
        rows.filter(apart_from=name) for name in ("text", "text_untrained", "images")
    )
    beside = []
    if before["value"].count():
        beside.append(f"{_estimate(before)} before training")
    if images["value"].count():
        beside.append(f"images of other domains: {_estimate(images)}")
    return f"{_estimate(spoken)}" + (f" ({'; '.join(beside)})" if beside else "")


def _estimate(rows: pl.DataFrame) -> str:
    known = rows.drop_nulls("value")
    if known.is_empty():
        return NO_NUMBER
    if known.height > 1:
        values = known["value"].to_list()
        ends = f"{number(min(values))} to {number(max(values))}"
        return f"{number(sum(values) / len(values))} in the mean of {len(values)} runs, {ends}"
    row = known.row(0, named=True)
    if row["lo"] is None or row["hi"] is None:
        return number(row["value"])
    return f"{number(row['value'])}, {PER_CENT} {number(row['lo'])} to {number(row['hi'])}"
