"""A study's status for people: a table of its runs, the reasons below it, and a summary."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gen.commands.amounts import counted, duration
from gen.commands.tables import Column, filled, fitting, plain, table

if TYPE_CHECKING:
    from rich.console import ConsoleDimensions, Group

    from gen.sweep.status import RunStatus, StudyStatus

COLOURS = {
    "running": "cyan",
    "failed": "bold red",
    "interrupted": "yellow",
    "stale": "magenta",
    "done": "green",
}
NAMED = 3
"""runs that a reason names; the others, which stand in the table, it counts"""


def plain_status(now: StudyStatus) -> str:
    """Every run, in full width, without control characters."""
    lines = _below(now)
    if now.runs:
        columns = filled(COLUMNS, now.runs)
        lines = [plain(table(columns, now.runs)), *lines]
    return "\n".join(lines)


def screen(now: StudyStatus, size: ConsoleDimensions, *, every_run: bool = False) -> Group:
    """What fits a terminal: of the columns, and of the runs those first that somebody watches for.

    Args:
        now: the status.
        size: of the terminal.
        every_run: list all runs, in the study's order, however high the terminal is.
    """
    from rich.console import Group
    from rich.text import Text

    columns, given_up = fitting(filled(COLUMNS, now.runs), now.runs, size.width)
    below = _below(now)
    if given_up:
        below.append(f"in a wider terminal also: {', '.join(given_up)}")
    shown: Sequence[RunStatus] = now.runs
    if not every_run:
        shown, others = _most_urgent(now, room=size.height - len(below) - 3)
        below = others + below
    runs = table(columns, shown, lambda run: COLOURS.get(run.state, ""))
    return Group(runs, *(Text(line, overflow="fold") for line in below))


def summary(now: StudyStatus) -> str:
    """All runs in one line: how many are in which state, how fast they are, when they will end."""
    counts = [f"{count} {state}" for state, count in now.counts.items() if count]
    parts = [f"{counted(len(now.runs), 'run')}: {', '.join(counts)}"]
    if now.samples_per_second:
        parts.append(f"{now.samples_per_second:,.0f} samples/s")
    least = "at least " if now.is_least else ""
    if now.eta_seconds:
        slots = f"{now.slots} slot{'s' * (now.slots > 1)}"
        parts.append(f"all done in {least}{duration(now.eta_seconds)} on {slots}")
    elif now.slot_seconds_left:
        parts.append(f"{least}{duration(now.slot_seconds_left)} of one slot left")
    elif now.slot_seconds_left is None:
        parts.append("how long the rest takes is not known yet")
    return "; ".join(parts)


def _state(run: RunStatus) -> str:
    return run.state


def _progress(run: RunStatus) -> str:
    return "" if run.progress is None else f"{int(100 * run.progress)}%"


def _rate(run: RunStatus) -> str:
    return "" if run.samples_per_second is None else f"{run.samples_per_second:,.0f}"


def _loss(run: RunStatus) -> str:
    if run.loss is None:
        return ""
    floor = "" if run.loss_floor is None else f" ({run.loss_floor:.3f})"
    return f"{run.loss:.3f}{floor}"


def _stage(run: RunStatus) -> str:
    return run.stage or ""


def _heartbeat(run: RunStatus) -> str:
    return "" if run.heartbeat_seconds is None else f"{duration(run.heartbeat_seconds)} ago"


def _attempts(run: RunStatus) -> str:
    return str(run.attempts) if run.attempts > 1 else ""


def _eta(run: RunStatus) -> str:
    if run.eta_seconds is None:
        return ""
    return f"{'> ' * run.is_least}{duration(run.eta_seconds)}"


def _name(run: RunStatus) -> str:
    return run.run


COLUMNS: list[Column[RunStatus]] = [
    Column("state", _state, is_text=True),
    Column("trained", _progress, 1),
    Column("samples/s", _rate, 4),
    Column("loss (floor)", _loss, 3),
    Column("stage", _stage, 6, is_text=True),
    Column("heartbeat", _heartbeat, 5),
    Column("attempts", _attempts, 7),
    Column("done in", _eta, 2),
    Column("run", _name, is_text=True),
]


def reasons(told: Iterable[tuple[str, str, str]]) -> list[str]:
    """A line for every reason, with the runs that it is the reason of.

    Args:
        told: state, reason and name of every run; without a reason it has no line.
    """
    why = defaultdict(list)
    for state, reason, name in told:
        if reason:
            why[state, reason].append(name)
    lines = []
    for (state, reason), names in why.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(f"{state}: {', '.join(names[:NAMED])}{more}: {reason}")
    return lines


def strangers_in_words(names: Sequence[str]) -> list[str]:
    """A line on folders of runs that nobody asks for, if there are any."""
    if not names:
        return []
    of_runs = "folder of a run that is" if len(names) == 1 else "folders of runs that are"
    return [f"{len(names)} {of_runs} not planned (any more): {', '.join(names)}"]


def _below(now: StudyStatus) -> list[str]:
    told = [(run.state, run.reason or "", run.run) for run in now.runs]
    return [*reasons(told), summary(now), *strangers_in_words(now.strangers)]


def _most_urgent(now: StudyStatus, room: int) -> tuple[list[RunStatus], list[str]]:
    """As many runs as there is room for, the most urgent states first; the others are counted."""
    if len(now.runs) <= room:
        return list(now.runs), []
    urgency = {state: number for number, state in enumerate(now.counts)}
    ranked = sorted(now.runs, key=lambda run: urgency[run.state])
    shown, others = ranked[: max(1, room)], Counter(run.state for run in ranked[max(1, room) :])
    told = ", ".join(f"{count} {state}" for state, count in others.items())
    return shown, [f"… and {sum(others.values())} further runs: {told}"]
