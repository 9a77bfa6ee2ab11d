"""What a study found, in words computed from its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import polars as pl

from analysis.report.contrasts import over_draws
from analysis.report.spread import FEWEST
from analysis.report.study import StudyResults
from analysis.report.study_plan import PlannedRun, StudyPlan
from analysis.report.tables import missing_runs
from gen.runs import Target

ALPHA = 0.05
MOST_NAMED = 4
"""runs that a sentence names"""
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
    """A setting's name for readers: `CG high diversity: held out 0.05`."""
    named, _, variant = setting.partition("-")
    label = SETTING_LABELS.get(named, named.replace("_", " "))
    return f"{label}: {variant_label(setting)}" if variant else label


def variant_label(setting: str) -> str:
    """What a variant changes in the setting that its name begins with; empty for no variant."""
    return setting.partition("-")[2].replace("_", " ")


def percent(value: float, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{100 * value:.{digits}f}{NO_BREAK_SPACE}%"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", MINUS)


def thousands(value: float) -> str:
    """A number for an axis: 20k, 1.5M."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


OVERVIEW = {
    "diversity → unseen domain": "For domains never seen in training, adding other domains to "
    "natural images meant",
    "diversity → unseen combinations": "For combinations of class and domain never seen, adding "
    "other domains beside a part of the test domain meant",
}


def overview(results: StudyResults, table: pl.DataFrame) -> str:
    """What diversity did for unseen domains and for unseen combinations, as one paragraph.

    Args:
        results: of the study.
        table: `contrasts.contrasts` of it.
    """
    told = _told(results.plan, table)
    sentences = []
    for contrast, opening in OVERVIEW.items():
        rows = told.filter(contrast=contrast).iter_rows(named=True)
        parts = [f"for {row['test_domain']}, {_finding(results, row)}" for row in rows]
        if parts:
            sentences.append(f"{opening}, {'; '.join(parts)}.")
    return " ".join(sentences) or "This study has no pair of settings that compares diversity."


def contrast_sentences(results: StudyResults, table: pl.DataFrame) -> list[str]:
    """One sentence per contrast and test domain, on the `test` split, grouped by test domain."""
    told = _told(results.plan, table)
    return [
        _sentence(results, row)
        for test_domain in results.plan.test_domains
        for row in told.filter(test_domain=test_domain).iter_rows(named=True)
    ]


def _told(plan: StudyPlan, table: pl.DataFrame) -> pl.DataFrame:
    """The differences that sentences tell: over draws where there are several."""
    table = table.filter(split="test")
    return over_draws(table) if len(plan.draws) > 1 else table


def _sentence(results: StudyResults, row: dict) -> str:
    asked = ASKED[row["contrast"]].format(domain=row["test_domain"])
    return f"{asked}: {_finding(results, row)}."


def _finding(results: StudyResults, row: dict) -> str:
    """A contrast in words, or why there is none."""
    if "draws" in row:
        return _finding_over_draws(results, row)
    if row["value"] is None:
        return f"missing ({_reason(results, row, [row['draw']])})"
    change = f"{percent(row['accuracy_baseline'])} → {percent(row['accuracy_setting'])}"
    interval = f"95 % interval {points(row['lo'])} to {points(row['hi'])}"
    return f"{_verdict(row)} ({change}; {interval})"


def _finding_over_draws(results: StudyResults, row: dict) -> str:
    """A contrast over draws in words, with the draws that are missing and why."""
    missing = [int(draw) for draw in row["missing_draws"].split(", ") if draw]
    reason = _reason(results, row, missing)
    if row["value"] is None:
        return f"missing ({reason})"
    parts = [f"{percent(row['accuracy_baseline'])} → {percent(row['accuracy_setting'])}"]
    if row["draws"] > 1:
        ends = f"{points(row['smallest'])} to {points(row['largest'])}"
        parts.append(f"draws {ends}, sd {100 * row['sd']:.1f}")
    if row["lo"] is not None:
        parts.append(f"95 % interval over draws {points(row['lo'])} to {points(row['hi'])}")
    if missing:
        parts.append(f"missing: draw {row['missing_draws']}, {reason}")
    return f"{_verdict_over_draws(row)} ({'; '.join(parts)})"


def _verdict_over_draws(row: dict) -> str:
    mean = f"the mean of {row['draws']} draws" if row["draws"] > 1 else "one draw"
    if row["lo"] is None and row["draws"] >= FEWEST:
        return f"{points(row['value'])} points in each of {row['draws']} draws"
    if row["lo"] is None:
        return f"{points(row['value'])} points in {mean}, too few for an interval over draws"
    if row["lo"] <= 0 <= row["hi"]:
        return f"no clear difference, {points(row['value'])} points in {mean}"
    word = "gain" if row["value"] > 0 else "loss"
    return f"a {word} of {100 * abs(row['value']):.1f} points in {mean}"


def _reason(results: StudyResults, row: dict, draws: Sequence[int]) -> str:
    """Why a contrast has no difference for these draws; the banner names every run."""
    settings = [row["baseline"], row["setting"]]
    targets = [Target(row["test_domain"], draw) for draw in draws]
    found = dict.fromkeys(
        name for target in targets for name in missing_runs(results, settings, target)
    )
    if not found:
        return "no readable predictions"
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"not finished: {', '.join(list(found)[:MOST_NAMED])}{more}"


def _verdict(row: dict) -> str:
    if row["lo"] <= 0 <= row["hi"]:
        return f"no clear difference, {points(row['value'])} points"
    word = "gain" if row["value"] > 0 else "loss"
    adjusted = "" if row["p_holm"] <= ALPHA else ", not significant after Holm's correction"
    return f"a {word} of {100 * abs(row['value']):.1f} points{adjusted}"


STATES = ("new", "failed", "stale", "interrupted", "running")
"""of runs that are not done, in the order in which they are told"""
ALWAYS_COUNTED = ("new", "failed")


def banner_lines(results: StudyResults) -> list[str]:
    """How complete the study is: counts by state, then every run and piece that is not there."""
    return [
        *state_lines(results.runs),
        *(f"damaged or absent: {problem}" for problem in results.problems),
        *strangers_line(results.strangers),
    ]


def state_lines(runs: pl.DataFrame) -> list[str]:
    """How many runs are in which state, then every run that is not done.

    Args:
        runs: `run`, `state` and `reason`, as in `StudyResults.runs`.
    """
    states = runs["state"]
    counts = [f"{(states == 'done').sum()} done"] + [
        f"{(states == state).sum()} {state}"
        for state in STATES
        if state in ALWAYS_COUNTED or (states == state).any()
    ]
    lines = [f"{len(states)} run{'s' * (len(states) != 1)} expected: {', '.join(counts)}."]
    for state in STATES:
        for run, reason in runs.filter(state=state).select("run", "reason").rows():
            lines.append(f"{state}: {run}" + (f" ({reason})" if reason else ""))
    return lines


def strangers_line(strangers: Sequence[str]) -> list[str]:
    """The folders of runs that the study does not know, in a line; none where there are none."""
    return [f"not part of this study: {', '.join(strangers)}"] if strangers else []


def caveat(results: StudyResults) -> str:
    """What the intervals cover and what they do not."""
    plan = results.plan
    untested = " ".join(_untested(plan))
    return f"{_coverage(plan)} {untested}".strip()


def twin_note(plan: StudyPlan) -> str:
    """Which settings are one model by several names; empty where none are."""
    groups: dict[str, dict[str, None]] = {}
    runs = {run.name: run for run in plan.runs}
    for run in plan.runs:
        if run.twin in runs:
            named = groups.setdefault(run.twin, {_place(plan, runs[run.twin]): None})
            named[_place(plan, run)] = None
    told = dict.fromkeys(" = ".join(names) for names in groups.values())
    if not told:
        return ""
    return (
        "The same mixture by several names is one model, trained once; that its numbers agree is "
        f"no replication: {'; '.join(told)}."
    )


def _place(plan: StudyPlan, run: PlannedRun) -> str:
    """What a run is tested on, as readers say it."""
    draws = f" (draw {', '.join(map(str, run.draws))})" if len(plan.draws) > 1 else ""
    return f"{setting_label(run.setting)} in {', '.join(run.test_domains)}{draws}"


def _untested(plan: StudyPlan) -> Iterator[str]:
    """Held-out classes of which a test domain has no test image."""
    for (draw, held_out), domain in product(enumerate(plan.draws), plan.test_domains):
        tested = plan.tests.get("test", {}).get(domain, frozenset())
        if lacking := [name for name in held_out if name not in tested]:
            of_draw = f" of draw {draw}" if len(plan.draws) > 1 else ""
            yield (
                f"{len(lacking)} of the {len(held_out)} held-out classes{of_draw} have no test "
                f"image in {domain} ({', '.join(lacking)}): they are held out and not tested."
            )


def _coverage(plan: StudyPlan) -> str:
    seeds = "one seed" if len(plan.seeds) == 1 else f"{len(plan.seeds)} seeds"
    held_out = f"{len(plan.draws[0])} held-out classes"
    if len(plan.draws) == 1:
        return (
            f"Intervals are 95 % and cover the test samples only: {seeds}, one draw of {held_out}."
        )
    return (
        "Intervals are 95 % and cover the test samples only, but for those over draws: "
        f"{seeds}, {len(plan.draws)} draws of {held_out}."
    )


def summary_lines(results: StudyResults, table: pl.DataFrame) -> list[str]:
    """The report in a few lines, for a terminal.

    Args:
        results: of the study.
        table: `contrasts.contrasts` of it.
    """
    return [
        f"study {results.plan.name}: accuracy on held-out classes of each test domain",
        *banner_lines(results),
        *(f"  {sentence}" for sentence in contrast_sentences(results, table)),
        caveat(results),
    ]


def is_complete(results: StudyResults) -> bool:
    """Whether every run is finished and every piece could be read."""
    return (results.runs["state"] == "done").all() and not results.problems


def points_note(results: StudyResults, table: pl.DataFrame) -> str:
    """How several draws and seeds enter figures and contrasts; empty for one of each.

    Args:
        results: of the study.
        table: `contrasts.contrasts` of it.
    """
    most = table["seeds"].max()
    averaged = "in differences, a sample counts with the share of seeds that got it right."
    many_seeds = isinstance(most, int) and most > 1
    if len(results.plan.draws) > 1:
        rest = f"; {averaged}" if many_seeds else "."
        return f" Figures show a point per draw of held-out classes and seed{rest}"
    if not many_seeds:
        return ""
    return (
        " Figures show a point per seed (upper bounds: mean line, band over all intervals); "
        f"{averaged}"
    )
