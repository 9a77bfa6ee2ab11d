"""Tables of the command line: in colour on a terminal, elsewhere plain text in full width."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

GAP = 2
"""spaces between columns"""
ENDLESS = 1 << 16
"""width of what is no terminal"""
Row = TypeVar("Row")


class Column(NamedTuple, Generic[Row]):
    """A column of a table of `Row`s.

    Attributes:
        rank: the higher, the less it matters where a terminal is narrow; 0: it is always shown.
        is_text: whether it is aligned to the left.
    """

    title: str
    cell: Callable[[Row], str]
    rank: int = 0
    is_text: bool = False


def filled(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> list[Column[Row]]:
    """The columns that are not empty in all rows."""
    return [column for column in columns if any(column.cell(row) for row in rows)]


def fitting(
    columns: Sequence[Column[Row]], rows: Sequence[Row], width: int
) -> tuple[list[Column[Row]], list[str]]:
    """The columns that fit a width, and the titles of the others; what has rank 0 always fits."""
    kept, used = [], -GAP
    for column in sorted(columns, key=lambda column: column.rank):
        needed = GAP + max(len(column.title), *(len(column.cell(row)) for row in rows))
        if not column.rank or used + needed <= width:
            kept.append(column)
            used += needed
    in_order = [column for column in columns if column in kept]
    return in_order, [column.title for column in columns if column not in kept]


def table(
    columns: Sequence[Column[Row]],
    rows: Sequence[Row],
    style: Callable[[Row], str] = lambda _: "",
) -> Table:
    """A table with a line for every row.

    Args:
        columns: of the table.
        rows: of the table.
        style: of a row's first cell, in rich's words.
    """
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        made.add_column(
            column.title,
            justify="left" if column.is_text else "right",
            overflow="fold",
            no_wrap=bool(column.rank),
        )
    for row in rows:
        first, *others = (column.cell(row) for column in columns)
        made.add_row(Text(first, style=style(row)), *map(Text, others))
    return made


def console() -> Console:
    """The terminal that standard output is."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)


def plain(renderable: RenderableType) -> str:
    """What is shown, without control characters and in full width."""
    from rich.console import Console

    page = io.StringIO()
    Console(file=page, width=ENDLESS, color_system=None, force_terminal=False).print(renderable)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def print_table(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> None:
    """Show the columns that are not empty: on a terminal those that fit, elsewhere all."""
    columns = filled(columns, rows)
    if not sys.stdout.isatty():
        print(plain(table(columns, rows)))
        return
    terminal = console()
    columns, given_up = fitting(columns, rows, terminal.width)
    terminal.print(table(columns, rows))
    if given_up:
        print(f"in a wider terminal also: {', '.join(given_up)}")
