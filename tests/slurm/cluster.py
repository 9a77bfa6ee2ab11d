"""A Slurm cluster on this machine: its daemons on loopback, in a folder of their own, as root."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
NODES = ("n1", "n2")
ARRAY_LIMIT = 2
CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a job that is queued again waits until its credential has expired: 120 seconds by default
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=0
ReturnToService=2
SlurmdTimeout=5
KillWait=15
MinJobAge=10
MaxArraySize={array_limit}
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=abrupt Nodes=ALL PriorityTier=1 GraceTime=0
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""


class Cluster:
    """munged, slurmctld and a slurmd per node.

    Args:
        folder: of everything that the daemons write; users other than root may not write there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen] = {}
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        """Start all daemons and wait until all nodes are idle."""
        for name in ("state", *NODES):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        lines = [
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=1 "
            f"Feature={name}"
            for name in NODES
        ]
        settings = {"port": free_port(), "array_limit": ARRAY_LIMIT, "nodes": "\n".join(lines)}
        text = CONFIG.format(folder=self.folder, **settings)
        (self.folder / "slurm.conf").write_text(text)
        files = {"socket": "socket", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
        paths = [f"--{key}={self.folder}/munge.{name}" for key, name in files.items()]
        self._start("munged", "munged", "-F", f"--key-file={key}", *paths)
        wait_for((self.folder / "munge.socket").exists, 20, "munged")
        self._start("slurmctld", "slurmctld", "-D", "-i")
        for name in NODES:
            self.start_node(name)
        wait_for(lambda: self.node_states() == ["idle"] * len(NODES), 40, "idle nodes")

    def start_node(self, name: str) -> None:
        self._start(name, "slurmd", "-D", "-N", name)

    def kill_node(self, name: str) -> None:
        """End everything of a node without a word, as a power cut does."""
        self.daemons[name].kill()
        self.daemons[name].wait()
        on_node = self._processes(f"SLURMD_NODENAME={name}")
        steps = [step for pid in on_node for step in _steps_above(pid)]
        for pid in {*on_node, *steps}:
            _kill(pid)

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def node_states(self) -> list[str]:
        done = ["sinfo", "--noheader", "--Node", "--partition=low", "--format=%T"]
        ended = subprocess.run(done, env=self.environment, capture_output=True, text=True)
        return ended.stdout.split()

    def mend_nodes(self) -> None:
        """Start the daemons of nodes that were killed, and let drained nodes take jobs."""
        for name in NODES:
            if self.daemons[name].poll() is not None:
                self.start_node(name)
            elif "DRAIN" in self.ask("scontrol", "show", "node", name):
                self.ask("scontrol", "update", f"NodeName={name}", "State=RESUME")
        wait_for(lambda: self.node_states() == ["idle"] * len(NODES), 60, "idle nodes")

    def jobs(self, fields: str = "%i") -> list[str]:
        """A line for every job that Slurm has not done with."""
        listing = self.ask("squeue", "--noheader", "--array", f"--format={fields}")
        return [line.strip() for line in listing.splitlines()]

    def running(self) -> list[list[str]]:
        """Number and node of every job that runs."""
        return [line.split()[1:] for line in self.jobs("%T %i %N") if line.startswith("RUNNING")]

    def was_queued_again(self, job: str) -> bool:
        return "Restarts=0" not in self.ask("scontrol", "show", "job", job)

    def limit_time(self, job: str, minutes: int) -> None:
        """Let a job's time end so many minutes after those that have begun."""
        passed = self.ask("squeue", "--noheader", f"--jobs={job}", "--format=%M").strip()
        limit = int(passed.split(":")[-2]) + minutes
        self.ask("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")

    def take_node(self, name: str, seconds: int) -> str:
        """Submit a job that preempts all others on a node; its number."""
        wants = ("--partition=high", f"--nodelist={name}", "--output=/dev/null", "--parsable")
        return self.ask("sbatch", *wants, "--wrap", f"sleep {seconds}").strip()

    def cancel_all(self) -> None:
        """Cancel all jobs, and wait until they are gone."""
        if jobs := self.jobs("%A"):
            self.ask("scancel", *set(jobs))
        wait_for(lambda: not self.jobs(), 40, "an empty queue")

    def stop(self) -> list[str]:
        """Stop everything; what had to be killed because it did not end."""
        for process in reversed(self.daemons.values()):
            process.terminate()
        for process in reversed(self.daemons.values()):
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
        left = self._processes("SLURM_CONF=" + self.environment["SLURM_CONF"])
        names = [Path(f"/proc/{pid}/cmdline").read_text() for pid in left if _exists(pid)]
        for pid in left:
            _kill(pid)
        return names

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("a") as output:
            self.daemons[name] = subprocess.Popen(
                command, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )

    def _processes(self, variable: str) -> list[int]:
        """Processes of this cluster in whose environment a variable stands so."""
        own = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = path.read_bytes().split(b"\0")
            except OSError:  # it has ended
                continue
            if own in variables and variable.encode() in variables:
                found.append(int(path.parent.name))
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until a condition holds; fail when it takes longer."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.2)


def _steps_above(pid: int) -> list[int]:
    """The slurmstepd processes among the ancestors of a process."""
    found = []
    while pid > 1:
        try:
            name, rest = Path(f"/proc/{pid}/stat").read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            break
        if name == "slurmstepd":
            found.append(pid)
        pid = int(rest.split()[1])
    return found


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
