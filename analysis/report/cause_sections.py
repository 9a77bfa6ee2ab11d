"""The section on what becomes of answers when parts are changed; each part where it has rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from analysis.report import cause_tables
from analysis.report.cause_tables import (
    AMONG,
    CLEAN,
    CLEAN_HELD_OUT,
    ELSEWHERE,
    ERASED,
    ERASED_HELD_OUT,
    ERASED_RANDOM,
    FROM_TEST,
    FROM_TEST_HELD_OUT,
    INTO,
    INTO_HELD_OUT,
    RANDOM,
    TO_TEST,
    WITHIN,
)
from analysis.report.cause_text import interchange_sentence
from analysis.report.evaluation_figures import dot_figure
from analysis.report.section import Chart, Section, Table, Text
from analysis.report.sharing_figures import MOST_PANELS, Looks, kinds_figure
from analysis.report.sharing_tables import first_targets
from analysis.report.sharing_views import wide
from analysis.report.study import StudyResults
from analysis.report.views import View

Parts = list[Text | Chart | Table]
ORANGE, BLUE, GREEN, PINK, GREY = "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#777777"
PUT_IN: Looks = {
    INTO: ("into the test domain, seen classes", "-", ORANGE),
    INTO_HELD_OUT: ("into the test domain, held-out classes", "--", ORANGE),
    WITHIN: ("within the test domain, seen classes", "-", GREEN),
    AMONG: ("among the other domains, seen classes", "-", BLUE),
    RANDOM: ("random direction", "--", GREY),
    ELSEWHERE: ("two other classes", "--", PINK),
}
LEARNT: Looks = {
    INTO: ("in the test domain, seen classes", "-", ORANGE),
    INTO_HELD_OUT: ("in the test domain, held-out classes", "--", ORANGE),
    AMONG: ("in the domains it was learnt in, seen classes", "-", BLUE),
    RANDOM: ("random subspace", "--", GREY),
    ELSEWHERE: ("learnt with random answers", "--", PINK),
}
SHIFTED: Looks = {
    FROM_TEST: ("from the test domain to others, seen classes", "-", ORANGE),
    FROM_TEST_HELD_OUT: ("from the test domain to others, held-out classes", "--", ORANGE),
    TO_TEST: ("from others to the test domain, seen classes", "-", BLUE),
    RANDOM: ("from the test domain at random, seen classes", "--", GREY),
}
ERASURE: Looks = {
    CLEAN: ("nothing erased, seen classes", "-", GREY),
    CLEAN_HELD_OUT: ("nothing erased, held-out classes", "--", GREY),
    ERASED: ("domain erased, seen classes", "-", ORANGE),
    ERASED_HELD_OUT: ("domain erased, held-out classes", "--", ORANGE),
    ERASED_RANDOM: ("as many random directions, seen classes", "-", PINK),
}
ABLATED = {
    "shared_held_out": "shared nodes, held-out classes",
    "private_held_out": "private nodes, held-out classes",
    "random_held_out": "random nodes, held-out classes",
    "shared_seen": "shared nodes, seen classes",
    "private_seen": "private nodes, seen classes",
}
ANSWERED = "share of answers"
MEANING = (
    "Overlap tells that two domains look alike inside, not that they use the same parts. Here "
    "activations of test images are changed while they pass through the network, and what counts "
    "is what becomes of the answers. A change can leave what images ever show: how far tells the "
    "CSV `cause_departures`. Intervals of lines are means of those of pairs of domains, which is "
    "as wide as that of the mean or wider."
)
INTERCHANGE_NOTE = (
    "How to read it: to images of a class in one domain is added, at one site, the difference "
    "between another class and their own as the means of another domain tell it; a line says how "
    "often that other class is the answer then. Where the line into the test domain lies as high "
    "as that within it, what other domains show of a class is read there as its own. Controls: "
    "directions at random and differences of two other classes, both of equal length. Bands: 95 % "
    "over test images. Dotted: chance."
)
STEERING_NOTE = (
    "How to read it: as above at the last site before the embedding, from left to right ever more "
    "of the direction of a class, in standard deviations of images along it. Dose 0 is the "
    "network as it is. A large dose leaves what images show."
)
ERASURE_NOTE = (
    "How to read it: at every site the domain is erased so that no linear probe tells apart the "
    "other domains, on which the eraser is fitted; accuracy in the test domain, which it never "
    "saw. What lies below the grey line of the same kind, and below as many random directions, "
    "was lost with the domains. Bands: 95 % over test images. Dotted: chance."
)
ALIGNMENT_NOTE = (
    "How to read it: a subspace is learnt on the other domains such that an image with another "
    "image's coordinates in it is taken for that one's class; from left to right its dimensions. "
    "A line says how often the class is the answer. Bands: 95 % over test images. Dotted: chance."
)
ABLATION_NOTE = (
    "How to read it: what margins in the test domain lose without some of the nodes that carry the "
    "class there: those that at least half of the other domains have among theirs too, and as "
    "many, with like scores, that none of them has. Right of 0: nodes helped the class. 95 % "
    "intervals over classes; the paired differences stand in the table."
)


@dataclass(frozen=True)
class _Told:
    """What a family of lines is called, and looks like."""

    name: str
    label: str
    note: str
    looks: Looks
    axis: str
    below: str = ""


INTERCHANGE = _Told(
    "interchange", "Classes put in from other domains, by layer", INTERCHANGE_NOTE, PUT_IN, ANSWERED
)
STEERING = _Told(
    *("steering", "Directions of classes, ever more of them", STEERING_NOTE, PUT_IN, ANSWERED),
    below="dose, in standard deviations",
)
SHIFT = _Told("shift", "Accuracy of images shifted to another domain", "", SHIFTED, ANSWERED)
KEPT = _Told("kept", "Answers kept with coordinates of the own class", "", LEARNT, ANSWERED)
ERASED_DOMAIN = _Told(
    "erasure", "Accuracy without the domain, by layer", ERASURE_NOTE, ERASURE, "zero-shot accuracy"
)
ALIGNMENT = _Told(
    *("alignment", "Subspaces of the class, learnt elsewhere", ALIGNMENT_NOTE, LEARNT, ANSWERED),
    below="dimensions",
)


def causes_section(results: StudyResults) -> Section | None:
    """Exchange, steering, erasure, alignment and ablation; None where no run has any."""
    interchange = cause_tables.interchange_lines(results)
    steering, alignment = (
        cause_tables.steering_lines(results),
        cause_tables.alignment_lines(results),
    )
    ablation = ablation_parts(results)
    parts: Parts = [
        *_exchange_text(results, interchange),
        *_line_parts(results, INTERCHANGE, interchange.drop("dose"), interchange),
        *_line_parts(results, STEERING, cause_tables.over_doses(steering), steering),
        *_tables(SHIFT, cause_tables.shift_lines(results)),
        *_line_parts(results, ERASED_DOMAIN, cause_tables.erasure_lines(results)),
        *_line_parts(results, ALIGNMENT, cause_tables.over_doses(alignment), alignment),
        *_tables(KEPT, cause_tables.alignment_lines(results, "kept_accuracy")),
        *ablation,
    ]
    if not parts:
        return None
    departures = cause_tables.departures(results)
    end: Parts = [Table("cause_departures", departures)] if departures.height else []
    return Section("What happens when parts are changed", (Text(MEANING), *parts, *end))


def _exchange_text(results: StudyResults, lines: pl.DataFrame) -> Parts:
    return [
        Text(interchange_sentence(here))
        for domain in results.plan.test_domains
        if (here := lines.filter("primary", test_domain=domain)).height
    ]


def _line_parts(
    results: StudyResults, told: _Told, drawn: pl.DataFrame, table: pl.DataFrame | None = None
) -> Parts:
    """A chart per test domain, and the table of a family of lines; nothing where it has no rows.

    Args:
        results: of the study.
        told: what the family is called.
        drawn: lines as the figure wants them.
        table: all of them; None for what is drawn.
    """
    table = drawn if table is None else table
    if table.is_empty():
        return []
    parts: Parts = []
    for test_domain in results.plan.test_domains:
        rows = first_targets(drawn.filter(test_domain=test_domain))
        settings = rows["setting"].unique(maintain_order=True).to_list()
        figure = None
        if rows["value"].count():
            looks, axis = told.looks, told.axis
            figure = kinds_figure(
                rows, settings, "line", looks, axis, percent=True, below=told.below
            )
        name, label = f"{told.name}-{test_domain}", f"{told.label}; test domain {test_domain}"
        note = f"{told.note} {_rest(results, rows, settings)}".strip()
        parts.append(Chart(name, figure, told.name, label, note))
    return [*parts, *_tables(told, table)]


def _tables(told: _Told, table: pl.DataFrame) -> list[Table]:
    """The table of a family of lines; none without rows.

    What is seen of it is the primary site, of the first draw and seed of each setting.
    """
    if table.is_empty():
        return []
    here = table.filter("primary")
    if "dose" in here.columns:
        here = here.filter(pl.col("dose").is_null() | (pl.col("dose") == pl.col("dose").max()))
    return [Table(told.name, table, _view(told, first_targets(here)))]


def _view(told: _Told, here: pl.DataFrame) -> View | None:
    """The primary site's lines, a column each, of the largest dose."""
    if here.is_empty():
        return None
    labels = {name: text for name, (text, _, _) in told.looks.items() if name in set(here["line"])}
    sites = ", ".join(here["site"].unique(maintain_order=True))
    doses = here["dose"].drop_nulls().to_list() if "dose" in here.columns else []
    dose = f", dose {doses[0]:g}" if len(doses) else ""
    chances = here["chance"].drop_nulls()
    chance = f"; chance {100 * chances[0]:.1f} %" if len(chances) else ""
    caption = (
        f"{told.label}: at {sites}{dose}, with 95 % intervals{chance}; a row per setting, its "
        "first draw and seed."
    )
    return wide(here, "line", labels, caption)


def _rest(results: StudyResults, rows: pl.DataFrame, settings: Sequence[str]) -> str:
    """What a chart leaves out."""
    told = []
    if results.plan.is_replicated:
        told.append("The first draw and seed of each setting; all are in the CSV.")
    if len(settings) > MOST_PANELS:
        told.append(f"The first {MOST_PANELS} of {len(settings)} settings; all are in the CSV.")
    gaps = rows["value"].null_count()
    if gaps:
        told.append(f"{gaps} of {rows.height} numbers are not estimable: the CSV says why.")
    return " ".join(told)


# ---------------------------------------------------------------------------- ablation


def ablation_parts(results: StudyResults) -> Parts:
    """Shared against private nodes, on held-out and on seen classes of the test domain."""
    table = cause_tables.ablation_lines(results)
    if table.is_empty():
        return []
    drawn = table.filter(pl.col("line").is_in(list(ABLATED)))
    figure = None
    if drawn["value"].count():
        figure = dot_figure(drawn, "loss of margin", "line", ABLATED, signed=True)
    label = "What margins lose without shared and without private nodes"
    view = wide(table, "line", ABLATED | _differences(table), ABLATION_CAPTION)
    return [
        Chart("ablation", figure, "ablation", label, ABLATION_NOTE),
        Table("ablation", table, view),
    ]


ABLATION_CAPTION = (
    "Loss of margin in the test domain without nodes that were chosen for it, with 95 % intervals "
    "over classes. Shared minus private: of the same images, equally many nodes with like scores."
)


def _differences(table: pl.DataFrame) -> dict[str, str]:
    labels = {
        "difference_held_out": "shared minus private, held-out classes",
        "difference_seen": "shared minus private, seen classes",
    }
    return {name: text for name, text in labels.items() if name in set(table["line"])}
