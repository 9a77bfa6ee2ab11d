"""What is left to do of a study, and what was given up. Workers and their scheduler agree by it."""

from __future__ import annotations

from collections.abc import Sequence

from gen.locks import claim, lock_is_held
from gen.runs import Run
from gen.sweep.attempts import Outcome, failures_in_a_row, forgive, read_attempts
from gen.sweep.heartbeat import read_heartbeat
from gen.sweep.study import Study
from gen.training.schedule import total_samples
from gen.training.states import samples_of, states
from splits.errors import UserError
from splits.files import first_line, write_text

LOG = "log.txt"
"""in a run's folder: what the processes that worked on it printed"""


def is_open(run: Run) -> bool:
    """Whether something is left to do of a run that anybody may begin.

    A run that takes over another's weights waits for them, or for that one's failure.
    """
    if run.done or run.failure.is_file():
        return False
    return run.twin is None or run.twin.has_weights or run.twin.failure.is_file()


def is_taken(run: Run) -> bool:
    """Whether a process, here or on another machine, works on a run."""
    beat = read_heartbeat(run.folder)
    return lock_is_held(run.folder / "lock") or (beat is not None and beat.is_elsewhere)


def unfinished(study: Study) -> list[Run]:
    """The runs that are neither done nor given up; who waits for another is one of them."""
    return [run for run in study.runs if not run.done and not run.failure.is_file()]


def units(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs, each with those that take over its weights, in the order of the first ones."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault((run.twin or run).name, []).append(run)
    return list(found.values())


def samples_kept(run: Run) -> int:
    """Samples seen by the state from which a run would go on; none of a pretrained model's."""
    if run.pretrained is not None:
        return 0
    if run.final_weights.is_file():
        return total_samples(run.training)
    kept = states(run.final_weights.parent)
    return samples_of(kept[-1]) if kept else 0


def may_be_tried(run: Run, retries: int) -> bool:
    """Whether a run has failed, or taken its process down, at most so often without a step ahead.

    Whoever asks holds the run: an attempt that has no end was killed.
    """
    return failures_in_a_row(run.folder) <= retries


def give_up(run: Run, reason: str, details: str = "") -> None:
    """Write that nobody needs to try a run again, until somebody asks for it."""
    write_text(run.failure, f"{reason}\n\n{details}".strip() + "\n")


def last_failure(run: Run) -> str:
    """What became of the last attempts at a run that is given up."""
    last = read_attempts(run.folder)[-1]
    if last.outcome is Outcome.failed:
        return last.error
    return (
        f"its process was killed {failures_in_a_row(run.folder)} times in a row, without a step "
        f"ahead; for want of memory, perhaps: {LOG} has its last words"
    )


def reason_of(run: Run) -> str:
    """The first line of why a run was given up, or that it is not finished."""
    return first_line(run.failure) or "not finished"


def forget_failures(study: Study) -> None:
    """Let runs that failed be tried again; those that somebody works on are left alone."""
    for run in study.runs:
        if (run.failure.is_file() or failures_in_a_row(run.folder)) and not is_taken(run):
            with claim(run) as mine:
                if mine:
                    forget_failure(run)


def forget_failure(run: Run) -> None:
    """Let a run that this process holds be tried again."""
    run.failure.unlink(missing_ok=True)
    forgive(run.folder)


def complain(study: Study, further: Sequence[str] = ()) -> None:
    """Raise a UserError that names the runs that are not done, and why, if there are any.

    Args:
        study: the study.
        further: lines on what else went wrong.
    """
    left = [run for run in study.runs if not run.done]
    if not left:
        return
    lines = [*(f"{run.name}: {reason_of(run)}" for run in left), *further]
    raise UserError(
        f"{len(left)} of {len(study.runs)} runs are not finished"
        + "".join(f"\n    {line}" for line in lines),
        where=f"FAILED and {LOG} in the folders of the runs in {study.folder}",
        fix="mend the cause and start the same command again: finished work is kept",
    )
