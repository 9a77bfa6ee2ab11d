"""The page over the arms of a study; every arm has a report of its own below it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import polars as pl

from analysis.report.arm_figure import arms_figure
from analysis.report.arm_views import (
    cost_view,
    differences_view,
    keys_view,
    pretrained_view,
    scores_view,
)
from analysis.report.arms import (
    Arms,
    all_runs,
    arm_cost,
    arm_differences,
    arm_headline,
    arm_keys,
    arm_scores,
    label_of,
    planned_in_one_only,
    settings_of,
)
from analysis.report.binding_section import arm_binding_sections
from analysis.report.page import dataset_line, write_page
from analysis.report.section import Chart, Links, Part, Section, Table, Text
from analysis.report.study_comparison_page import PAIRED, unpaired_lines
from analysis.report.summary import (
    caveat,
    points,
    setting_label,
    state_lines,
    strangers_line,
    twin_note,
)
from analysis.report.text_section import arm_text_sections
from analysis.report.towers_section import towers_sections

ALPHA = 0.05
MOST_NAMED = 6
SINGLE = "With the 95 % interval over test samples."
SEVERAL = "A dot per draw and seed, and their mean (over draws, of means over seeds)."
BOTH = (
    "One score of an arm: with the 95 % interval over test samples. Several: a dot per draw and "
    "seed, and their mean (over draws, of means over seeds)."
)
UNSEEN = "test_unseen_drawing"
NO_FINDINGS = "No arm has a setting and a test domain in common with the first one."


def write_arms_page(
    arms: Arms, folder: Path, command: str, differences: pl.DataFrame | None = None
) -> Path:
    """Write the page over all arms: `index.html`, `report.md`, `tables/` and `figures/`.

    The bytes depend on the arms' results and configurations, and the command.

    Args:
        arms: at least two; the first is what others are compared with.
        folder: of the report, in which each arm has a folder with a report of its own.
        command: the command line that made it, to be shown in it.
        differences: `arms.arm_differences`, where they are known already.

    Returns:
        The path of `index.html`.
    """
    differences = arm_differences(arms) if differences is None else differences
    labels, plan = [label_of(arm) for arm in arms], arms[0].results.plan
    content = {
        "study": plan.name,
        "above": "",
        "question": f"{len(arms)} ways to train, side by side",
        "dataset": dataset_line(plan),
        "overview": f"{len(arms)} arms, trained on the same mixtures: {', '.join(labels)}. "
        + " ".join(arm_findings(differences, labels)),
        "findings": arm_findings(differences, labels),
        "no_findings": NO_FINDINGS,
        "banner": arms_banner(arms),
        "complete": is_complete(arms),
        "caveat": _caveat(arms),
        "points_note": "",
        "command": command,
    }
    return write_page(content, arms_sections(arms, differences), folder)


def arms_lines(arms: Arms, differences: pl.DataFrame) -> list[str]:
    """The page in a few lines, for a terminal."""
    labels = [label_of(arm) for arm in arms]
    return [
        f"study {arms[0].name}: arms {', '.join(labels)}",
        *arms_banner(arms),
        *(f"  {sentence}" for sentence in arm_findings(differences, labels)),
        _caveat(arms),
    ]


def arms_banner(arms: Arms) -> list[str]:
    """How complete all arms are: counts by state, then every run and piece that is not there."""
    problems = dict.fromkeys(text for arm in arms for text in arm.results.problems)
    return [
        *state_lines(all_runs(arms)),
        *(f"damaged or absent: {problem}" for problem in problems),
        *strangers_line(arms[0].results.strangers),
    ]


def is_complete(arms: Arms) -> bool:
    """Whether every run of every arm is done and every piece could be read."""
    problems = any(arm.results.problems for arm in arms)
    return (all_runs(arms)["state"] == "done").all() and not problems


def arm_findings(differences: pl.DataFrame, labels: list[str]) -> list[str]:
    """A sentence per arm but the first: where it is better, and where worse, on new instances."""
    first, *others = labels
    shown = differences.filter(split="test")
    return [_finding(shown.filter(arm=label), label, first) for label in others]


def _finding(rows: pl.DataFrame, label: str, first: str) -> str:
    paired = rows.drop_nulls("p_holm")
    if paired.is_empty():
        return f"{label} cannot be compared with {first} on the same test samples."
    clear = paired.filter(pl.col("p_holm") <= ALPHA)
    parts = []
    for word, part in (
        ("better", clear.filter(pl.col("difference") > 0)),
        ("worse", clear.filter(pl.col("difference") < 0)),
    ):
        named = [
            f"{setting_label(row['setting'])} in {row['test_domain']} {points(row['difference'])}"
            for row in part.iter_rows(named=True)
        ]
        places = f" ({', '.join(named[:MOST_NAMED])}{', …' if named[MOST_NAMED:] else ''})"
        parts.append(f"{word} in {len(named)}{places if named else ''}")
    return (
        f"Of {paired.height} comparisons with {first}, {label} is {' and '.join(parts)} after "
        "Holm's correction; the others show no clear difference."
    )


def arms_sections(arms: Arms, differences: pl.DataFrame) -> list[Section]:
    """All sections of the page."""
    headline, cost, keys = arm_headline(arms), arm_cost(arms), arm_keys(arms)
    reports = {label_of(arm): f"{quote(label_of(arm))}/index.html" for arm in arms}
    links = (
        Links("A report on each", reports),
        Links("What each mixture holds", {"pages of mixtures": "../splits/index.html"}),
    )
    return [
        Section("The arms", (Table("arm_keys", keys, keys_view(keys)), *links)),
        accuracy_section(arms, headline),
        difference_section(arms, differences),
        *arm_text_sections(arms),
        *towers_sections(arms),
        *arm_binding_sections(arms),
        Section("Time and compute", (Table("arm_cost", cost, cost_view(cost)),)),
    ]


def accuracy_section(arms: Arms, headline: pl.DataFrame) -> Section:
    """Scores on held-out classes, arms side by side."""
    labels, scores = [label_of(arm) for arm in arms], arm_scores(headline)
    splits = headline["split"].unique(maintain_order=True).to_list()
    parts: list[Part] = [_chart(arms, headline, "test")]
    parts += [Table("arm_scores", scores, scores_view(scores, labels, split)) for split in splits]
    if UNSEEN in splits:
        parts.append(_chart(arms, headline, UNSEEN))
    if scores.filter(arm="").height:
        parts.append(Table("arm_scores", scores, pretrained_view(scores)))
    parts += [Table("headline", headline), *_twins(arms)]
    return Section("Accuracy on held-out classes", tuple(parts))


def _chart(arms: Arms, headline: pl.DataFrame, split: str) -> Chart:
    labels = [label_of(arm) for arm in arms]
    shown = headline.filter(pl.col("arm") != "", split=split, classes="held_out")
    counts = shown.group_by("arm", "test_domain", "setting").len()["len"]
    shape = SINGLE if (counts == 1).all() else SEVERAL if (counts > 1).all() else BOTH
    label = "Accuracy on the held-out classes of each test domain, by setting and arm"
    unseen = ", on drawings by artists that training never shows" if split == UNSEEN else ""
    return Chart(
        name="arms" + ("-unseen-drawings" if unseen else ""),
        figure=arms_figure(shown, settings_of(arms), labels) if shown.height else None,
        data="headline",
        label=label + unseen,
        note=f"{shape} Dotted: chance. {_caveat(arms)}",
    )


def difference_section(arms: Arms, differences: pl.DataFrame) -> Section:
    """What every arm has more than the first one."""
    first = label_of(arms[0])
    parts: list[Part] = [
        Table("arm_differences", differences, differences_view(differences, split))
        for split in differences["split"].unique(maintain_order=True)
    ]
    parts.append(Text(f"{PAIRED} {_caveat(arms)}", soft=True))
    parts += [
        Text(f"{label_of(arm)}: {line}", soft=True)
        for arm in arms[1:]
        for line in unpaired_lines(differences.filter(arm=label_of(arm)))
    ]
    parts += [
        Text(f"Planned for {where}: {', '.join(places)}.", soft=True)
        for where, places in planned_in_one_only(arms).items()
    ]
    if differences.is_empty():
        parts.insert(0, Table("arm_differences", differences))
    return Section(f"What differs from {first}", tuple(parts))


def _twins(arms: Arms) -> list[Text]:
    """Which settings are one model by several names, in which arms."""
    notes: dict[str, list[str]] = {}
    for arm in arms:
        notes.setdefault(twin_note(arm.results.plan), []).append(label_of(arm))
    return [
        Text(note if len(named) == len(arms) else f"{', '.join(named)}: {note}", soft=True)
        for note, named in notes.items()
        if note
    ]


def _caveat(arms: Arms) -> str:
    """What intervals cover, once for all arms that say the same."""
    texts: dict[str, list[str]] = {}
    for arm in arms:
        texts.setdefault(caveat(arm.results), []).append(label_of(arm))
    if len(texts) == 1:
        return next(iter(texts))
    return " ".join(f"{', '.join(named)}: {text}" for text, named in texts.items())
