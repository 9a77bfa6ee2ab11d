"""What a report is made of: sections, whose charts and tables also are files beside the page."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from matplotlib.figure import Figure

from analysis.report.views import View


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: plain, without markup.
        soft: whether it is a note, in small grey letters.
    """

    text: str
    soft: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure, and the numbers that it shows.

    Attributes:
        name: of `figures/NAME.svg`; no other chart of the report has it.
        figure: None where there is nothing to draw: the page says that it is missing.
        data: name of the table of the report that holds what it shows.
        label: what it shows, in a line without full stop.
        note: how to read it, and what its intervals vary.
    """

    name: str
    figure: Figure | None
    data: str
    label: str
    note: str


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of `tables/NAME.csv`; another table of that name must have the same frame: it shows
            other rows of it.
        frame: what is written there.
        view: what readers see of it; None where it is only the data of a chart.
    """

    name: str
    frame: pl.DataFrame
    view: View | None = None


@dataclass(frozen=True)
class Links:
    """Links to pages beside the report, after what they have in common.

    Attributes:
        text: plain, without colon.
        pages: address by what is written on the link.
    """

    text: str
    pages: dict[str, str]


Part = Text | Chart | Table | Links


@dataclass(frozen=True)
class Section:
    """A part of a report under a title of its own; parts in the order in which one reads them."""

    title: str
    parts: tuple[Part, ...]
