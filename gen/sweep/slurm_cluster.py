"""What Slurm tells of its cluster and its jobs, asked by its own commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from gen.sweep.queue import FOLDER
from splits.errors import UserError
from splits.files import write_json

ENDED = "slurm/{job}_0_result.pkl"
"""what submitit leaves below a study's folder when a job has ended by itself"""
SECONDS = 60
"""how long a command of Slurm may take"""


def check_slurm() -> None:
    """Refuse to submit where that cannot work.

    Raises:
        UserError: submitit is not installed, or there is no Slurm on this machine.
    """
    if find_spec("submitit") is None:
        raise UserError(
            "submitit, which submits to Slurm, is not installed",
            fix="pip install 'clipgen[slurm]', or pip install 'submitit>=1.5.4'",
        )
    missing = [name for name in ("sbatch", "srun", "squeue", "scontrol") if not shutil.which(name)]
    if missing:
        raise UserError(
            f"there is no Slurm on this machine: no command {', '.join(missing)}",
            expected="a machine that submits to a Slurm cluster",
            fix="log in to one of the cluster, or sweep on this machine: --executor local",
        )


def array_limit() -> int:
    """Number of tasks that one array of jobs may have."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    return max(int(found[1]), 1) if found else 1


def known_jobs(name: str = "") -> set[str]:
    """Numbers of all jobs that Slurm has not done with: `12`, and `13_4` of an array's task.

    Args:
        name: of the jobs; all where there is none.
    """
    named = [f"--name={name}"] if name else []
    return set(ask("squeue", "--noheader", "--array", "--format=%i", *named).split())


def job_state(job: str) -> str:
    """State of a job as Slurm names it (`RUNNING`); empty where Slurm does not tell."""
    try:
        told = ask("scontrol", "show", "job", job, "--oneliner")
    except UserError:
        return ""
    found = re.search(r"\bJobState=(\w+)", told)
    return found[1] if found else ""


def forget_ended_jobs(study_folder: Path) -> None:
    """Take back the announcement of runs whose jobs Slurm does not know any more.

    A job that is cancelled before it begins leaves no other trace.

    Raises:
        UserError: Slurm does not answer.
    """
    announcements = sorted((study_folder / FOLDER).glob("slurm-*.json"))
    known = known_jobs() if announcements else set()
    for path in announcements:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs = {run: job for run, job in content["runs"].items() if job in known}
        if not runs:
            path.unlink()
        elif runs != content["runs"]:
            write_json(path, content | {"runs": runs})


def ask(*command: str) -> str:
    """What a command of Slurm prints.

    Raises:
        UserError: it fails, is not there, or does not end.
    """
    words = " ".join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"`{words}` does not answer: {error}", where="Slurm") from None
    if done.returncode:
        raise UserError(f"`{words}` failed: {done.stderr.strip()}", where="Slurm")
    return done.stdout
