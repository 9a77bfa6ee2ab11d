"""A run as a job of Slurm: what submitit stores, calls, and calls again after a preemption.

The work is a `clipgen run` command in a process of its own. It ends in one of these ways:

- by itself: done, or failed. The run's folder tells which; the job ends alike.
- The time limit comes near, or the cluster sends its user signal before it preempts: submitit calls
  `checkpoint`, which lets the command write its state, and queues the job again.
- Slurm preempts it with SIGTERM, which the command gets, too, and writes its state. Slurm does not
  queue a job again that ends within its time of grace, so that the job must ask for it. A job that
  somebody cancels gets the same signal and must not: Slurm would let it begin again.
- The machine dies: Slurm queues the job again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, BinaryIO

from gen.locks import lock_is_held
from gen.provenance import git_state
from gen.schema import ResourcesConfig
from gen.sweep.attempts import Outcome, read_attempts
from gen.sweep.heartbeat import read_heartbeat
from gen.sweep.slots import THREAD_VARIABLES
from gen.sweep.slurm_cluster import job_state
from splits.errors import TEMPORARY, UserError
from splits.files import write_text

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

MARGIN_SECONDS = 15
"""of the time before a job's end, what is left for queueing it again"""
FIRST_PORT, PORTS = 20000, 20000
"""among which several machines of a job meet"""
LINES = 400
"""of what the command wrote that are kept for a failure; torchrun's own words come after it"""


@dataclass
class RunJob:
    """Finish a run, in one process or in several.

    Attributes:
        arguments: of `clipgen`; all paths are absolute.
        folder: of the run.
        git: state of the code when the job was submitted.
        resources: what the run gets.
        child: number of the command's process while there is one.
        is_asked: whether somebody asked the job to end (SIGTERM).
    """

    arguments: tuple[str, ...]
    folder: Path
    git: str
    resources: ResourcesConfig
    child: int = 0
    is_asked: bool = False

    def __call__(self) -> str:
        """Do the run; return that it is done.

        Raises:
            UserError: the code is not that of the submission.
            RuntimeError: the run failed; its folder tells why.
        """
        signal.signal(signal.SIGTERM, self._note)
        try:
            check_code(self.git, git_state())
        except UserError as error:
            self._note_failure(str(error))
            raise
        begun = len(read_attempts(self.folder))
        code, words = self._run()
        if code == 0 or int(os.environ.get("SLURM_PROCID", 0)):
            return "done"  # what went wrong is told by the first of several machines
        failed = (self.folder / "FAILED").is_file()
        if self.is_asked and not failed:
            signal.raise_signal(_user_signal())  # submitit's own way: never returns
        if code != TEMPORARY and not failed and not self._was_stopped(begun):
            self._note_failure(_last_words(words) or f"`clipgen run` ended with code {code}")
        raise RuntimeError(f"`clipgen run` ended with code {code}: {self.folder}")

    def checkpoint(self) -> DelayedSubmission:
        """Let the command write its state; the same job goes on from there.

        Raises:
            SystemExit: the job was cancelled, or Slurm has queued it again already.
        """
        from submitit.helpers import DelayedSubmission

        if self.child:
            end_process(self.child, self._seconds_to_end)
        job = os.environ.get("SLURM_JOB_ID")
        if job and job_state(job) not in ("RUNNING", ""):
            sys.exit(TEMPORARY)  # neither a result nor an error
        return DelayedSubmission(replace(self, child=0, is_asked=False))

    @property
    def _seconds_to_end(self) -> float:
        seconds = self.resources.signal_seconds
        return max(seconds - MARGIN_SECONDS, seconds / 2)

    def _note(self, *_: object) -> None:
        self.is_asked = True

    def _run(self) -> tuple[int, Sequence[bytes]]:
        """Start the command and wait for it; its exit code, and the last lines of its errors."""
        command = command_line(self.arguments, self.resources, os.environ)
        print(f"starting {' '.join(command)}", flush=True)
        process = subprocess.Popen(
            command,
            env=os.environ | environment(self.resources, self._seconds_to_end),
            stderr=subprocess.PIPE,
            # Slurm sends it to all processes of a job, and the command would die of it
            preexec_fn=partial(signal.signal, _user_signal(), signal.SIG_IGN),
        )
        self.child = process.pid
        if self.is_asked:  # before there was a child to hear it
            process.terminate()
        words: deque[bytes] = deque(maxlen=LINES)
        thread = Thread(target=_pass_on, args=(process.stderr, words), daemon=True)
        thread.start()
        code = process.wait()
        self.child = 0
        thread.join(timeout=5)  # a process that it left behind may hold the other end
        return code, words

    def _was_stopped(self, begun: int) -> bool:
        """Whether work that the command began goes on another time: the disk was full, or so.

        Its exit code does not tell of several processes: torchrun makes 1 of all.

        Args:
            begun: number of attempts at the run before the command.
        """
        new = read_attempts(self.folder)[begun:]
        return bool(new) and new[-1].outcome is Outcome.stopped

    def _note_failure(self, text: str) -> None:
        """Tell in the run's folder why nothing was done, if nobody works there or is done."""
        beat = read_heartbeat(self.folder)
        is_taken = lock_is_held(self.folder / "lock") or (beat is not None and beat.is_elsewhere)
        if not is_taken and not (self.folder / "DONE").is_file():
            write_text(self.folder / "FAILED", text + "\n")


def check_code(submitted: str, found: str) -> None:
    """Refuse to run other code than that which was submitted.

    Raises:
        UserError: the states of the code differ.
    """
    if found != submitted:
        raise UserError(
            f"the code is at {found or 'no commit'}",
            expected=f"{submitted or 'no commit'}, as when the job was submitted",
            where=str(Path(__file__).parent.parent.parent),
            fix="go back to that code, or submit again: the same command",
        )


def command_line(
    arguments: Sequence[str], resources: ResourcesConfig, slurm: Mapping[str, str]
) -> list[str]:
    """The command that does a run on this machine: in one process, or by torchrun in several.

    With torchrun nothing is restarted: when a process dies, all end, and Slurm begins anew. The
    machines know their numbers from Slurm, so that the first one has the process that writes.

    Args:
        arguments: of `clipgen`.
        resources: GPUs and machines of the run.
        slurm: variables of the environment that Slurm sets in a job.
    """
    processes = max(resources.gpus, 1)
    if processes * resources.nodes == 1:
        return [sys.executable, "-m", "gen.cli", *arguments]
    where = ["--standalone"]
    if resources.nodes > 1:
        port = FIRST_PORT + int(slurm["SLURM_JOB_ID"]) % PORTS
        where = [
            *(f"--nnodes={resources.nodes}", f"--node-rank={slurm['SLURM_NODEID']}"),
            *(f"--master-addr={slurm['SLURM_LAUNCH_NODE_IPADDR']}", f"--master-port={port}"),
        ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--max-restarts=0"]
    return [*torchrun, f"--nproc-per-node={processes}", *where, "-m", "--", "gen.cli", *arguments]


def environment(resources: ResourcesConfig, seconds_to_end: float) -> dict[str, str]:
    """Variables that a run needs besides those of its job.

    Every process takes as many threads as it has processors: the bits of the weights depend on it.
    """
    return {
        **dict.fromkeys(THREAD_VARIABLES, str(resources.cpus)),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else some wait for one that was killed
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(int(seconds_to_end)),
    }


def end_process(pid: int, seconds: float) -> None:
    """Ask a child to end, wait until it has, and kill it when it takes longer.

    Whoever waits for the child is not disturbed: it is looked at, not reaped. A handler of a signal
    that arrives in `Popen.wait` could not use the same object.
    """
    until = time.monotonic() + seconds
    with suppress(ProcessLookupError):  # it has ended
        os.kill(pid, signal.SIGTERM)
        while not _has_ended(pid):
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # reaped
        return True


def _pass_on(stream: BinaryIO, words: deque[bytes]) -> None:
    """Copy what a command writes to the job's log; remember its last lines."""
    for line in stream:
        words.append(line)
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()


def _last_words(words: Sequence[bytes]) -> str:
    """The mistake that a command told last; empty where it told none.

    Lines that belong to it are indented; what follows them is torchrun's.
    """
    _, told, text = b"".join(words).decode(errors="replace").rpartition("error: ")
    lines = text.strip().splitlines() if told else []
    return "\n".join([*lines[:1], *takewhile(lambda line: line.startswith(" "), lines[1:])])


def _user_signal() -> signal.Signals:
    """The signal by which Slurm tells that time runs out."""
    import submitit

    return signal.Signals[f"SIG{submitit.JobEnvironment.USR_SIG}"]
