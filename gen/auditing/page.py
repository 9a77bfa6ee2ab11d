"""What an audit found, to read: files, a summary for the terminal, a page, and a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from gen.auditing.study import Audit
from splits.errors import UserError
from splits.files import replacing, write_text
from splits.findings import CHECKS

ORDER = ["error", "warning", "not_checked", "ok"]
MOST_PER_CHECK = 3
"""findings of one check that audit.md spells out; findings.csv has them all"""
MOST_ERRORS = 5
"""findings that the refusal of a study spells out"""
MOST_MIXTURES = 3
"""mixtures that a finding names"""
GROUP = ["severity", "check", "count", "detail", "example"]


def write_audit(audit: Audit, folder: Path, figure: str) -> None:
    """Write the tables, the figure (SVG) and audit.md into `folder`.

    Tables of a base stay away where there is none, also those of an earlier audit.
    """
    tables = {
        "findings": audit.findings,
        "statistics": audit.statistics,
        "caption_leaks": audit.leaks,
        "near_duplicates": audit.near_duplicates,
        "base_duplicates": audit.base_duplicates,
    }
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        if table is None:
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as temporary:
            table.write_parquet(temporary)
    _write_csv(folder / "findings.csv", audit.findings.drop("subjects"))
    _write_csv(folder / "statistics.csv", audit.statistics)
    if audit.leaks is None:
        (folder / "caption_leaks.csv").unlink(missing_ok=True)
    else:
        examples = pl.col("examples").list.join(" | ")
        _write_csv(folder / "caption_leaks.csv", audit.leaks.with_columns(examples))
    write_text(folder / "audit.svg", figure)
    write_text(folder / "audit.md", audit_markdown(audit))


def _write_csv(path: Path, table: pl.DataFrame) -> None:
    write_text(path, table.write_csv())


# ---------------------------------------------------------------------------- summary


def summary(findings: pl.DataFrame) -> pl.DataFrame:
    """One row per check and severity, the worst first.

    Returns:
        `severity`, `check`, `where` (how many mixtures, or the dataset), `count` of distinct
        things over them, what it is a count `of`, and what `to do` (or why it was not checked).
    """
    rows = []
    for severity in ORDER:
        part = findings.filter(severity=severity)
        for (check,), found in part.group_by("check", maintain_order=True):
            meaning, count = CHECKS[str(check)], _distinct(found)
            counts = "images" if severity == "not_checked" else meaning.counts
            todo = {"not_checked": found["detail"][0], "ok": ""}.get(severity, meaning.advice)
            where = _where(str(check), found["mixture"].to_list(), named=0)
            rows.append((severity, check, where, count, counts if count else "", todo))
    columns = ["severity", "check", "where", "count", "of", "to do"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _distinct(findings: pl.DataFrame) -> int:
    """Things that findings of one check count; one that several mixtures share counts once."""
    names = findings["subjects"].explode().drop_nulls()
    return int(names.n_unique() if len(names) else findings["count"].sum())


def _where(check: str, mixtures: Sequence[str], *, named: int) -> str:
    """The place of a finding, with the names of the first mixtures."""
    places = [name for name in mixtures if name]
    if not places:
        return CHECKS[check].place
    several = f"{len(places)} mixture{'s' * (len(places) > 1)}"
    if not named:
        return several
    if len(places) == 1:
        return places[0]
    more = f" and {len(places) - named} more" if len(places) > named else ""
    return f"{several} ({', '.join(places[:named])}{more})"


def summary_lines(audit: Audit) -> list[str]:
    """The summary as lines for a terminal."""
    lines = [f"{'':<12} {'check':<28} {'where':<12} {'count':>7} {'of':<16} to do"]
    for severity, check, where, count, counts, todo in summary(audit.findings).iter_rows():
        label = severity.replace("_", " ")
        line = f"{label:<12} {check:<28} {where:<12} {count:>7,} {counts:<16} {todo}"
        lines.append(line.rstrip())
    return lines


# ---------------------------------------------------------------------------- findings


def grouped(findings: pl.DataFrame) -> pl.DataFrame:
    """Errors and warnings, the errors first; mixtures of which the same is said are one row."""
    noted = findings.filter(pl.col("severity").is_in(["error", "warning"]))
    groups = noted.group_by(GROUP, maintain_order=True).agg(mixtures="mixture")
    return groups.sort("severity", maintain_order=True)


def audit_markdown(audit: Audit) -> str:
    """The audit as a page: summary, findings, figure, statistics."""
    groups = grouped(audit.findings)
    lines = ["# Audit", "", _verdict(groups), "", *_table(summary(audit.findings)), ""]
    lines += ["## Findings", ""]
    for (check,), found in groups.group_by("check", maintain_order=True):
        for row in found.head(MOST_PER_CHECK).iter_rows(named=True):
            example = f" (for example {row['example']})" if row["example"] else ""
            lines.append(f"- **{row['severity']}** {_sentence(row, '`')}{example}")
        if found.height > MOST_PER_CHECK:
            rest = found.height - MOST_PER_CHECK
            lines.append(f"- and {rest} more of `{check}`: findings.csv has them all")
    lines += ["- none"] * groups.is_empty()
    lines += ["", "![Diversity, balance and near duplicates](audit.svg)", "", "## Mixtures", ""]
    return "\n".join([*lines, *_table(audit.statistics), ""])


def _sentence(row: dict, quote: str = "") -> str:
    """The check, the places and what was found there."""
    where = _where(row["check"], row["mixtures"], named=MOST_MIXTURES)
    place = f"in each of {where}" if len(row["mixtures"]) > 1 else f"in {where}"
    return f"{quote}{row['check']}{quote} {place}: {row['count']:,} {row['detail']}"


def refuse_errors(audit: Audit, folder: Path) -> None:
    """Raise where a finding makes the study invalid.

    Raises:
        UserError: names the first findings of every check that failed, and how to mend each.
    """
    errors = grouped(audit.findings.filter(severity="error"))
    if errors.is_empty():
        return
    nth = errors.with_columns(nth=pl.int_range(pl.len()).over("check"))
    shown = nth.sort("nth", maintain_order=True).head(max(MOST_ERRORS, errors["check"].n_unique()))
    found = [
        f"\n    {_sentence(row)}" + (f" ({row['example']})" if row["example"] else "")
        for row in shown.iter_rows(named=True)
    ]
    if errors.height > shown.height:
        found.append(f"\n    and {errors.height - shown.height} more")
    raise UserError(
        "the audit found errors that make the study invalid:" + "".join(found),
        where=str(folder / "audit.md"),
        fix="\n            ".join(_advice(errors["check"].unique(maintain_order=True).to_list())),
    )


def _advice(checks: Sequence[str]) -> list[str]:
    """What to do about each check; the check's name where there are several."""
    advice = [CHECKS[check].advice for check in checks]
    if len(checks) == 1:
        return advice
    return [f"{check}: {text}" for check, text in zip(checks, advice, strict=True)]


def _verdict(groups: pl.DataFrame) -> str:
    by_severity = dict(groups.group_by("severity").agg(pl.col("check").n_unique()).iter_rows())
    errors, warnings = by_severity.get("error", 0), by_severity.get("warning", 0)
    first = (
        f"Checks that found errors, which make the study invalid: {errors}"
        if errors
        else "No error was found"
    )
    return f"{first}. Checks with warnings to look at: {warnings}."


def _table(table: pl.DataFrame) -> list[str]:
    """A table in Markdown."""
    rows = [list(table.columns), ["---"] * table.width]
    for row in table.iter_rows():
        rows.append([f"{v:.2f}" if isinstance(v, float) else str(v) for v in row])
    return [f"| {' | '.join(cells)} |" for cells in rows]
