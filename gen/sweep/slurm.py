"""Submit a study to Slurm: a job per unit of work, in arrays, and one that writes the report.

A unit of work is a run with its twins, which take over its weights. What is submitted is the study
as it is now, stored beside the jobs: the runs are those that were planned, whatever becomes of the
study's file. A job does one run by a `clipgen run` command (`gen.sweep.slurm_job`).
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from omegaconf import OmegaConf

from gen.config import changed_config, resolved
from gen.provenance import git_state
from gen.runs import Run, sha256_of
from gen.schema import ResourcesConfig, StudyConfig
from gen.sweep.checks import check_resources
from gen.sweep.queue import FOLDER, announce_jobs, queued
from gen.sweep.slurm_cluster import ENDED, array_limit, check_slurm, forget_ended_jobs, known_jobs
from gen.sweep.slurm_job import RunJob
from gen.sweep.states import State, standings
from gen.sweep.study import Study
from gen.sweep.work import forget_failures
from splits.errors import UserError
from splits.files import write_text

if TYPE_CHECKING:
    from submitit import AutoExecutor, Job

OPEN = (State.new, State.interrupted, State.failed, State.stale)
"""states of runs that nobody does or is going to do"""
RETRIES = 2
"""how often a job tries its run again that failed without a step ahead"""
EARLY_SECONDS = 60
"""by which Slurm may send its signal too early"""
REPORT = ResourcesConfig(gpus=0, minutes=60)
"""what the job that writes the report gets"""

Unit = tuple[Run, ...]
"""a run, and the twins that its job goes on to"""


@dataclass(frozen=True)
class Submission:
    """What was submitted.

    Attributes:
        jobs: numbers of the jobs (of arrays: the array's), with their numbers of runs.
        report: number of the job that writes the report; empty where Slurm refused it.
    """

    jobs: dict[str, int]
    report: str


def resources_of(
    study: StudyConfig, profile: str | None, overrides: Sequence[str] = ()
) -> ResourcesConfig:
    """What each run of a study gets: as the study says, then a profile, then the command line.

    Args:
        study: the study.
        profile: name of a file in configs/profiles, or path of a YAML file; only the keys that
            stand in it count.
        overrides: `key=value` pairs of the command line; those of `resources` count once more.

    Raises:
        UserError: the profile is missing or broken, a number of it is out of range, or a run would
            have no time.
    """
    own = [text for text in overrides if text.startswith("resources.")]
    given = [text.removeprefix("resources.") for text in own]
    resources: ResourcesConfig = study.resources
    if profile:
        resources = changed_config("profiles", resources, profile, given)
        check_resources(resources, f"profile {profile}")
    least = resources.signal_seconds + 2 * EARLY_SECONDS
    if resources.minutes * 60 < least:
        raise UserError(
            f"a time limit of {resources.minutes} minutes leaves a run no time to work: it is told "
            f"{resources.signal_seconds} s before, and up to {EARLY_SECONDS} s earlier",
            expected=f"at least {-(-least // 60)} minutes",
            where="resources.minutes, resources.signal_seconds",
        )
    return resources


def submit_study(
    study: Study, *, data: Path, resources: ResourcesConfig, words: Sequence[str]
) -> Submission | None:
    """Submit every run that is open and that no job, nor another sweep, is going to do.

    Args:
        study: its mixtures are written.
        data: folder of all datasets.
        resources: what each run gets.
        words: how the command line names the study: its name, overrides and folders.

    Returns:
        None where there is nothing to submit.

    Raises:
        UserError: there is no Slurm, or it refuses the jobs.
    """
    check_slurm()
    folder = study.folder / "slurm"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        forget_ended_jobs(study.folder)
        announce_lost_jobs(study)
        found, _ = standings(study)
        waiting = queued(study.folder)  # a run that had failed is so until its job begins
        units = units_of(
            study.runs, {n for n, s in found.items() if s.state in OPEN and n not in waiting}
        )
        if not units:
            states = Counter(standing.state.value for standing in found.values())
            counts = ", ".join(f"{count} {state}" for state, count in states.items())
            print(f"nothing to submit: {counts}")
            return None
        arguments = _arguments(study, folder, data, resources)
        jobs = _submit_units(study, units, arguments, resources)
        doers = [*(s.by for s in found.values()), *waiting.values()]
        others = [by.split()[-1] for by in doers if "Slurm job" in by]
        report = _submit_report(study, arguments, resources, [*jobs, *others])
    submission = Submission(jobs, report)
    print("\n".join(told(submission, study, words)))
    return submission


def announce_lost_jobs(study: Study) -> None:
    """Announce the jobs of a submission that was cut off after Slurm had them."""
    from submitit.core.utils import DelayedSubmission

    lost: dict[str, dict[str, str]] = defaultdict(dict)
    for job in known_jobs(_name_of_jobs(study)):
        array = job.split("_")[0]
        stored = study.folder / "slurm" / f"{job}_submitted.pkl"
        if stored.is_file() and not (study.folder / FOLDER / f"slurm-{array}.json").is_file():
            work: Any = DelayedSubmission.load(stored).function
            name = work.folder.name
            twins = [run.name for run in study.runs if run.twin and run.twin.name == name]
            lost[array] |= dict.fromkeys([name, *twins], job)
    for runs in lost.values():
        announce_jobs(study.folder, runs, ENDED)


def units_of(runs: Sequence[Run], open_runs: Collection[str]) -> list[Unit]:
    """The open runs, each with those of its twins that are open, too.

    A twin stands for itself where the weights are there. Where somebody is about to train them, it
    is left to them.
    """
    units: dict[str, Unit] = {}
    for run in (run for run in runs if run.name in open_runs):
        if run.twin is not None and run.twin.name in units:
            units[run.twin.name] += (run,)
        elif run.twin is None or run.twin.has_weights:
            units[run.name] = (run,)
    return list(units.values())


def chunks(units: Sequence[Unit], limit: int) -> Iterator[Sequence[Unit]]:
    """The units in arrays of at most `limit` tasks."""
    return (units[start : start + limit] for start in range(0, len(units), limit))


def parameters(name: str, resources: ResourcesConfig, tasks: int) -> dict[str, Any]:
    """What submitit tells Slurm about an array of jobs.

    Args:
        name: of the jobs.
        resources: of each task; a machine has one process of Slurm's, torchrun starts the others.
        tasks: of the array.
    """
    cpus = resources.cpus * max(resources.gpus, 1)
    wanted = {
        "name": name,
        "nodes": resources.nodes,
        "tasks_per_node": 1,
        "cpus_per_task": cpus,
        "gpus_per_node": resources.gpus,
        "mem_gb": resources.memory_gb,
        "timeout_min": resources.minutes,
        "stderr_to_stdout": True,
        "slurm_partition": resources.partition,
        "slurm_account": resources.account,
        "slurm_qos": resources.qos,
        "slurm_constraint": resources.constraint,
        "slurm_setup": list(resources.setup),
        "slurm_signal_delay_s": resources.signal_seconds,
        "slurm_array_parallelism": resources.parallel or tasks,
        "slurm_srun_args": [f"--cpus-per-task={cpus}"],  # srun takes it over in old versions only
        "slurm_additional_parameters": {"requeue": True},  # where a machine dies, too
    }
    return {key: value for key, value in wanted.items() if value}


def executor(folder: Path, resources: ResourcesConfig, **settings: Any) -> AutoExecutor:
    """submitit's executor on Slurm, with these settings."""
    import submitit

    made = submitit.AutoExecutor(
        folder=folder, cluster="slurm", slurm_max_num_timeout=resources.requeues
    )
    made.update_parameters(**settings)
    return made


def told(submission: Submission, study: Study, words: Sequence[str]) -> list[str]:
    """What was submitted, and what to do about it."""
    jobs = [f"{job} ({count} run{'s' * (count > 1)})" for job, count in submission.jobs.items()]
    numbers = [*submission.jobs, *([submission.report] if submission.report else [])]
    return [
        f"submitted to Slurm: {', '.join(jobs)}"
        + (f"; the report: {submission.report}" if submission.report else ""),
        f"  follow: {shlex.join(['clipgen', 'status', *words, '--watch'])}",
        f"  logs:   {study.folder / 'slurm'}",
        f"  cancel: scancel {' '.join(numbers)}",
    ]


def _arguments(study: Study, folder: Path, data: Path, resources: ResourcesConfig) -> list[str]:
    """The study as it is now, stored in a file, and its folders: arguments of `clipgen`."""
    content = resolved(replace(study.config, resources=resources))
    path = folder.absolute() / f"study-{sha256_of(content)[:12]}.yaml"
    write_text(path, OmegaConf.to_yaml(content))
    runs = study.folder.absolute().parent
    return [str(path), "--data", str(data.absolute()), "--runs", str(runs)]


def _submit_units(
    study: Study, units: Sequence[Unit], arguments: Sequence[str], resources: ResourcesConfig
) -> dict[str, int]:
    """Submit units in arrays; the number of runs by the number of each array.

    Where few runs may run at a time, an array waits for the one before: each counts for itself.
    """
    git = git_state()
    jobs: dict[str, int] = {}
    for chunk in chunks(units, array_limit()):
        settings = parameters(_name_of_jobs(study), resources, len(chunk))
        if resources.parallel and jobs:
            settings["slurm_dependency"] = f"afterany:{list(jobs)[-1]}"
        works = [_job_of(unit[0], arguments, git, resources) for unit in chunk]
        made = _submitted(executor(study.folder / "slurm", resources, **settings), works)
        numbers = {run.name: job for unit, job in zip(chunk, made, strict=True) for run in unit}
        announce_jobs(study.folder, numbers, ENDED)
        runs = tuple(run for unit in chunk for run in unit)
        forget_failures(replace(study, runs=runs))  # not before: Slurm may refuse the jobs
        jobs[made[0].split("_")[0]] = len(numbers)
    return jobs


def _name_of_jobs(study: Study) -> str:
    return f"clipgen-{study.name}"


def _job_of(run: Run, arguments: Sequence[str], git: str, resources: ResourcesConfig) -> RunJob:
    command = ("run", *arguments, "--run", run.name, "--retries", str(RETRIES))
    return RunJob(command, run.folder.absolute(), git, resources)


def _submitted(executor: AutoExecutor, works: Sequence[Any]) -> list[str]:
    """Numbers of the jobs that do the works.

    Raises:
        UserError: Slurm refuses them.
    """
    from submitit.core.utils import FailedJobError

    try:
        jobs: list[Job] = executor.submit_array(works)
    except FailedJobError as error:
        raise UserError(
            f"Slurm refuses the jobs: {str(error).strip()}",
            where="sbatch",
            fix="set what the cluster asks for, in `resources` of the study or in a --profile",
        ) from None
    return [job.job_id for job in jobs]


def _submit_report(
    study: Study, arguments: Sequence[str], resources: ResourcesConfig, jobs: Sequence[str]
) -> str:
    """Submit a job that writes the report once all others have ended; its number, or nothing."""
    place = {key: getattr(resources, key) for key in ("partition", "account", "qos", "setup")}
    settings = parameters(f"{_name_of_jobs(study)}-report", replace(REPORT, **place), 1)
    settings["slurm_dependency"] = ":".join(["afterany", *dict.fromkeys(jobs)])
    command = [sys.executable, "-m", "gen.cli", "report", *arguments]
    work = partial(subprocess.run, command, check=True)
    try:
        return _submitted(executor(study.folder / "slurm", REPORT, **settings), [work])[0]
    except UserError as error:
        print(f"no job writes the report: {error.found}", file=sys.stderr)
        return ""
