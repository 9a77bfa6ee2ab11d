"""What a study found, in words computed from its numbers."""

from __future__ import annotations

import polars as pl

from analysis.report.study import StudyResults
from analysis.report.tables import contrasts, missing_runs

ALPHA = 0.05
MINUS = "\N{MINUS SIGN}"
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
SETTING_LABELS = {
    "natural_only": "natural only",
    "leave_out_domain": "leave out domain",
    "cg_low_diversity": "CG low diversity",
    "cg_high_diversity": "CG high diversity",
    "upper_bound_low": "upper bound, low",
    "upper_bound_high": "upper bound, high",
}
ASKED = {
    "diversity → unseen domain": "Diversity, for the unseen domain {domain}",
    "diversity → unseen combinations": "Diversity, for unseen combinations in {domain}",
    "seeing part of the domain": "Seeing other classes of {domain}, on top of diversity",
    "gap to the upper bound": "Never seeing the held-out classes in {domain}, "
    "against the upper bound",
}


def setting_label(setting: str) -> str:
    """A setting's name for readers."""
    return SETTING_LABELS.get(setting, setting.replace("_", " "))


def percent(value: float, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{100 * value:.{digits}f}{NO_BREAK_SPACE}%"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", MINUS)


OVERVIEW = {
    "diversity → unseen domain": "For domains never seen in training, adding other domains to "
    "natural images meant",
    "diversity → unseen combinations": "For combinations of class and domain never seen, adding "
    "other domains beside a part of the test domain meant",
}


def overview(results: StudyResults) -> str:
    """What diversity did for unseen domains and for unseen combinations, as one paragraph."""
    table = contrasts(results).filter(split="test")
    sentences = []
    for contrast, opening in OVERVIEW.items():
        rows = table.filter(contrast=contrast).iter_rows(named=True)
        parts = [f"for {row['test_domain']}, {_finding(results, row)}" for row in rows]
        if parts:
            sentences.append(f"{opening}, {'; '.join(parts)}.")
    return " ".join(sentences) or "This study has no pair of settings that compares diversity."


def contrast_sentences(results: StudyResults) -> list[str]:
    """One sentence per contrast and test domain, on the `test` split, grouped by test domain."""
    table = contrasts(results).filter(split="test")
    return [
        _sentence(results, row)
        for test_domain in results.plan.test_domains
        for row in table.filter(test_domain=test_domain).iter_rows(named=True)
    ]


def _sentence(results: StudyResults, row: dict) -> str:
    asked = ASKED[row["contrast"]].format(domain=row["test_domain"])
    return f"{asked}: {_finding(results, row)}."


def _finding(results: StudyResults, row: dict) -> str:
    """A contrast in words, or why there is none."""
    if row["value"] is None:
        runs = missing_runs(results, [row["baseline"], row["setting"]], row["test_domain"])
        reason = f"not finished: {', '.join(runs)}" if runs else "no readable predictions"
        return f"missing ({reason})"
    change = f"{percent(row['accuracy_baseline'])} → {percent(row['accuracy_setting'])}"
    interval = f"95 % interval {points(row['lo'])} to {points(row['hi'])}"
    return f"{_verdict(row)} ({change}; {interval})"


def _verdict(row: dict) -> str:
    if row["lo"] <= 0 <= row["hi"]:
        return f"no clear difference, {points(row['value'])} points"
    word = "gain" if row["value"] > 0 else "loss"
    adjusted = "" if row["p_holm"] <= ALPHA else ", not significant after Holm's correction"
    return f"a {word} of {100 * abs(row['value']):.1f} points{adjusted}"


def banner_lines(results: StudyResults) -> list[str]:
    """How complete the study is: counts by state, then every run and piece that is not there."""
    states = results.runs["state"]
    counts = [
        f"{int((states == state).sum())} {word}"
        for state, word in (
            ("done", "finished"),
            ("missing", "missing"),
            ("failed", "failed"),
            ("running", "begun, not finished"),
        )
        if state != "running" or (states == state).any()
    ]
    lines = [f"{len(states)} runs expected: {', '.join(counts)}."]
    words = {"missing": "missing", "failed": "failed", "running": "begun, not finished"}
    for state, word in words.items():
        lines += [f"{word}: {run}" for run in results.runs.filter(state=state)["run"]]
    return lines + [f"damaged or absent: {problem}" for problem in results.problems]


def caveat(results: StudyResults) -> str:
    """What the intervals cover and what they do not."""
    count = len(results.plan.seeds)
    seeds = "one seed" if count == 1 else f"{count} seeds"
    return (
        "Intervals are 95 % and cover the test samples only: "
        f"{seeds}, one draw of {len(results.plan.held_out)} held-out classes."
    )


def summary_lines(results: StudyResults) -> list[str]:
    """The report in a few lines, for a terminal."""
    return [
        f"study {results.plan.name}: accuracy on held-out classes of each test domain",
        *banner_lines(results),
        *(f"  {sentence}" for sentence in contrast_sentences(results)),
        caveat(results),
    ]


def is_complete(results: StudyResults) -> bool:
    """Whether every run is finished and every piece could be read."""
    return bool((results.runs.get_column("state") == "done").all()) and not results.problems


def seeds_note(table: pl.DataFrame) -> str:
    """How several seeds enter figures and contrasts; empty for one seed."""
    most = table["seeds"].max()
    if not isinstance(most, int) or most < 2:
        return ""
    return (
        " Figures show a point per seed (upper bounds: mean line, band over all intervals); in "
        "differences, a sample counts with the share of seeds that got it right."
    )
