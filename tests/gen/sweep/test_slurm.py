"""What is submitted to Slurm, and what a job does; no Slurm is needed."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit
from fake_runs import FakeRun, put
from submitit.core.utils import DelayedSubmission

from gen.config import load_config
from gen.locks import claim
from gen.schema import ResourcesConfig, StudyConfig, TrainingConfig
from gen.sweep import slurm, slurm_cluster, slurm_job
from gen.sweep.attempts import Outcome, note_end, note_start
from gen.sweep.queue import announce_jobs, queued
from gen.sweep.slurm import (
    Submission,
    announce_lost_jobs,
    chunks,
    executor,
    parameters,
    resources_of,
    submit_study,
    told,
    units_of,
)
from gen.sweep.slurm_job import RunJob, check_code, command_line, end_process, environment
from gen.sweep.states import State
from gen.sweep.study import Study
from splits.errors import TEMPORARY, UserError

FOUR_GPUS = ResourcesConfig(gpus=4, cpus=8, memory_gb=64, minutes=600, partition="gpu", parallel=2)
NODE = {"SLURM_JOB_ID": "70812", "SLURM_NODEID": "1", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.5"}


@dataclass
class PlannedRun:
    """As much of a run as its unit depends on."""

    name: str
    twin: PlannedRun | None = None
    has_weights: bool = False


def study_with(**resources: object) -> StudyConfig:
    return StudyConfig(
        name="study",
        dataset="icons-debug",
        model="rn-tiny",
        test_domains=["sketch"],
        settings=["natural_only"],
        training=TrainingConfig(samples_seen=100),
        resources=ResourcesConfig(**resources),
    )


def job(folder: Path, resources: ResourcesConfig | None = None, git: str = "") -> RunJob:
    return RunJob(("run",), folder, git, resources or ResourcesConfig(gpus=0, signal_seconds=2))


@pytest.fixture
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_job, "git_state", lambda: "")


@pytest.fixture
def slurm_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that stand for those of Slurm."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def command(folder: Path, name: str, prints: str, code: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\nexit {code}\n")
    path.chmod(0o755)


# --- what a run gets


def test_only_the_keys_of_a_profile_replace_those_of_the_study(tmp_path: Path) -> None:
    profile = tmp_path / "cluster.yaml"
    profile.write_text("partition: gpu\nminutes: 60\n")
    found = resources_of(study_with(cpus=3, partition="cpu"), str(profile))
    assert found == ResourcesConfig(cpus=3, partition="gpu", minutes=60)


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    profile = tmp_path / "cluster.yaml"
    profile.write_text("partition: gpu\nminutes: 60\n")
    study = study_with(minutes=30)  # as the command line says
    found = resources_of(study, str(profile), ["resources.minutes=30", "seeds=[1]"])
    assert (found.minutes, found.partition) == (30, "gpu")


def test_a_profile_that_gives_no_processor_is_refused(tmp_path: Path) -> None:
    profile = tmp_path / "cluster.yaml"
    profile.write_text("cpus: 0\n")
    with pytest.raises(UserError, match=r"`resources\.cpus` is 0"):
        resources_of(study_with(), str(profile))


def test_an_unknown_key_of_a_profile_is_told_with_its_file(tmp_path: Path) -> None:
    profile = tmp_path / "cluster.yaml"
    profile.write_text("partitoin: gpu\n")
    with pytest.raises(UserError, match="did you mean `partition`") as error:
        resources_of(study_with(), str(profile))
    assert error.value.where == str(profile)


def test_the_example_profile_is_one() -> None:
    assert load_config("profiles", "example").partition == "gpu"
    assert resources_of(study_with(), "example").signal_seconds == 120


def test_a_time_limit_that_leaves_no_time_is_refused() -> None:
    with pytest.raises(UserError, match="leaves a run no time") as error:
        resources_of(study_with(minutes=3, signal_seconds=90), None)
    assert error.value.expected == "at least 4 minutes"
    resources_of(study_with(minutes=4, signal_seconds=90), None)


# --- what is submitted


def test_the_script_asks_for_what_a_run_gets(tmp_path: Path, slurm_words: Path) -> None:
    command(slurm_words, "srun", "")
    settings = parameters("clipgen-study", FOUR_GPUS, tasks=7)
    made = executor(tmp_path, FOUR_GPUS, **settings)._executor
    made.parameters["map_count"] = 7
    script = made._make_submission_file_text("COMMAND", "")
    wanted = {
        *("array=0-6%2", "cpus-per-task=32", "gpus-per-node=4", "job-name=clipgen-study"),
        *("mem=64GB", "nodes=1", "ntasks-per-node=1", "partition=gpu", "requeue"),
        *("signal=USR2@90", "time=600"),
    }
    assert wanted <= set(re.findall(r"#SBATCH --(.*)", script))
    assert "--cpus-per-task=32 COMMAND" in script
    assert made.max_num_timeout == FOUR_GPUS.requeues


def test_what_a_study_leaves_open_is_left_to_the_cluster() -> None:
    settings = parameters("name", ResourcesConfig(gpus=0), tasks=5)
    absent = {"gpus_per_node", "mem_gb", "slurm_partition", "slurm_account", "slurm_qos"}
    assert not absent & set(settings)
    assert settings["slurm_array_parallelism"] == 5


def test_a_job_goes_on_to_the_twins_of_its_run() -> None:
    first, second = PlannedRun("first"), PlannedRun("second")
    twin, other = PlannedRun("twin", first), PlannedRun("other", first)
    runs = [first, second, twin, other]
    assert units_of(runs, {"first", "second", "twin"}) == [(first, twin), (second,)]


def test_twins_of_a_trained_run_are_jobs_of_their_own() -> None:
    first = PlannedRun("first", has_weights=True)
    twins = [PlannedRun("twin", first), PlannedRun("other", first)]
    assert units_of([first, *twins], {"twin", "other"}) == [(twins[0],), (twins[1],)]


def test_a_twin_is_left_to_whoever_is_about_to_train_its_run() -> None:
    first = PlannedRun("first")
    assert units_of([first, PlannedRun("twin", first)], {"twin"}) == []


def test_no_array_is_longer_than_the_cluster_allows() -> None:
    assert [len(chunk) for chunk in chunks([()] * 7, 3)] == [3, 3, 1]


def test_jobs_and_how_to_cancel_them_are_told(tmp_path: Path) -> None:
    study = SimpleNamespace(folder=tmp_path)
    lines = "\n".join(told(Submission({"12": 3, "15": 1}, "16"), study, ["demo", "seeds=[1]"]))
    assert "12 (3 runs), 15 (1 run); the report: 16" in lines
    assert "clipgen status demo 'seeds=[1]' --watch" in lines
    assert "scancel 12 15 16" in lines


# --- how it is submitted


@pytest.fixture
def failed_run(tmp_path: Path, slurm_words: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    """The one run of a study, which has failed, on a machine where Slurm takes one job, 12_0."""
    run = FakeRun(tmp_path / "study" / "a")
    put(run.failure, "diverged")
    state = SimpleNamespace(state=State.failed, by="")
    monkeypatch.setattr(slurm, "standings", lambda _: ({"a": state}, ()))
    monkeypatch.setattr(slurm, "_submitted", lambda _, works: ["12_0"])
    for name in ("sbatch", "srun", "squeue"):
        command(slurm_words, name, "12_0")
    command(slurm_words, "scontrol", "MaxArraySize = 10")
    return run


def submit(run: FakeRun) -> Submission | None:
    config = study_with()
    study = Study(config, None, None, None, (), run.folder.parent, {}, (run,), ())
    return submit_study(study, data=run.folder, resources=config.resources, words=["study"])


def test_why_a_run_failed_is_forgotten_when_its_job_is_submitted(failed_run: FakeRun) -> None:
    assert submit(failed_run).jobs == {"12": 1}
    assert not failed_run.failure.exists()


def test_why_a_run_failed_is_kept_where_slurm_refuses_its_job(
    failed_run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[str]:
        raise UserError("Slurm refuses the jobs")

    monkeypatch.setattr(slurm, "_submitted", refuse)
    with pytest.raises(UserError, match="refuses"):
        submit(failed_run)
    assert failed_run.failure.read_text() == "diverged"


def test_jobs_of_a_submission_that_was_cut_off_are_not_submitted_again(
    failed_run: FakeRun,
) -> None:
    work = RunJob(("run",), failed_run.folder, "", ResourcesConfig())
    (failed_run.folder.parent / "slurm").mkdir()
    DelayedSubmission(work).dump(failed_run.folder.parent / "slurm" / "12_0_submitted.pkl")
    assert submit(failed_run) is None
    assert queued(failed_run.folder.parent) == {"a": "Slurm job 12_0"}


def test_a_job_that_was_cut_off_goes_on_to_the_twins_of_its_run(
    tmp_path: Path, slurm_words: Path
) -> None:
    first = FakeRun(tmp_path / "a")
    runs = (first, FakeRun(tmp_path / "b"), FakeRun(tmp_path / "c", twin=first))
    (tmp_path / "slurm").mkdir()
    DelayedSubmission(job(first.folder)).dump(tmp_path / "slurm" / "12_submitted.pkl")
    command(slurm_words, "squeue", "12\n13")
    announce_lost_jobs(Study(study_with(), None, None, None, (), tmp_path, {}, runs, ()))
    assert queued(tmp_path) == dict.fromkeys("ac", "Slurm job 12")


# --- what Slurm tells


def test_the_array_limit_is_the_clusters(slurm_words: Path) -> None:
    command(slurm_words, "scontrol", "KillWait = 30 sec\nMaxArraySize            = 1001\n")
    assert slurm_cluster.array_limit() == 1001


def test_a_failing_command_of_slurm_is_told_in_its_words(slurm_words: Path) -> None:
    (slurm_words / "squeue").write_text("#!/bin/sh\necho 'no controller' >&2; exit 1\n")
    (slurm_words / "squeue").chmod(0o755)
    with pytest.raises(UserError, match=r"`squeue .*` failed: no controller"):
        slurm_cluster.known_jobs()


def test_without_slurm_or_submitit_nothing_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="no command sbatch, srun, squeue, scontrol"):
        slurm_cluster.check_slurm()
    monkeypatch.setattr(slurm_cluster, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="submitit") as error:
        slurm_cluster.check_slurm()
    assert "pip install" in error.value.fix


def test_jobs_that_slurm_does_not_know_are_queued_no_more(
    slurm_words: Path, tmp_path: Path
) -> None:
    runs = {"a": "12_0", "b": "12_1", "c": "12_2"}
    announce_jobs(tmp_path, runs, slurm_cluster.ENDED)
    announce_jobs(tmp_path, {"d": "9"}, slurm_cluster.ENDED)
    command(slurm_words, "squeue", "12_1\n14")
    slurm_cluster.forget_ended_jobs(tmp_path)
    assert queued(tmp_path) == {"b": "Slurm job 12_1"}


# --- what a job does


def test_a_run_of_one_process_is_a_plain_command() -> None:
    for gpus in (0, 1):
        line = command_line(["run", "x"], ResourcesConfig(gpus=gpus), {})
        assert line == [sys.executable, "-m", "gen.cli", "run", "x"]


def test_several_gpus_of_a_machine_share_a_run_by_torchrun() -> None:
    line = command_line(["run", "x"], FOUR_GPUS, {})
    assert {"--nproc-per-node=4", "--standalone", "--max-restarts=0"} <= set(line)
    assert line[-5:] == ["-m", "--", "gen.cli", "run", "x"]


def test_several_machines_meet_where_the_first_one_is() -> None:
    line = command_line(["run"], replace(FOUR_GPUS, nodes=2), NODE)
    where = {"--nnodes=2", "--node-rank=1", "--master-addr=10.0.0.5", "--master-port=30812"}
    assert where <= set(line)
    alone = command_line(["run"], ResourcesConfig(gpus=0, nodes=2), NODE)
    assert {"--nnodes=2", "--nproc-per-node=1"} <= set(alone)


def test_every_process_has_the_threads_of_its_processors() -> None:
    assert environment(FOUR_GPUS, 75)["OMP_NUM_THREADS"] == "8"


def test_other_code_than_what_was_submitted_is_refused() -> None:
    check_code("abc", "abc")
    with pytest.raises(UserError, match="the code is at def") as error:
        check_code("abc", "def")
    assert error.value.expected.startswith("abc,")


def test_a_job_with_other_code_tells_so_in_the_runs_folder(tmp_path: Path, no_git: None) -> None:
    with pytest.raises(UserError):
        job(tmp_path, git="abc")()
    assert (tmp_path / "FAILED").read_text().startswith("the code is at no commit\n")


def child_that(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let a Python program stand for the command of a job."""
    line = [sys.executable, "-c", program]
    monkeypatch.setattr(slurm_job, "command_line", lambda *_: line)


def test_a_command_that_fails_before_it_begins_leaves_its_words(
    tmp_path: Path, no_git: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    child_that(monkeypatch, "import sys; sys.exit('error: run `x` is unknown')")
    with pytest.raises(RuntimeError, match="code 1"):
        job(tmp_path)()
    assert (tmp_path / "FAILED").read_text() == "run `x` is unknown\n"


def test_what_a_run_wrote_of_its_failure_stays(
    tmp_path: Path, no_git: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "FAILED").write_text("diverged")
    child_that(monkeypatch, "import sys; sys.exit('error: another')")
    with pytest.raises(RuntimeError):
        job(tmp_path)()
    assert (tmp_path / "FAILED").read_text() == "diverged"


def test_a_full_disk_is_no_failure_of_the_run(
    tmp_path: Path, no_git: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    child_that(monkeypatch, f"import sys; sys.exit({TEMPORARY})")
    with pytest.raises(RuntimeError, match="code 75"):
        job(tmp_path)()
    assert not (tmp_path / "FAILED").exists()


STOPPED = """
import sys
from pathlib import Path
from gen.sweep.attempts import Outcome, note_end, note_start
folder = Path({folder!r})
note_start(folder, 0)
note_end(folder, Outcome.{outcome})
sys.exit(1)
"""


@pytest.mark.parametrize(("outcome", "has_failed"), [("stopped", False), ("failed", True)])
def test_of_several_processes_the_attempt_tells_that_the_disk_is_full(
    tmp_path: Path,
    no_git: None,
    monkeypatch: pytest.MonkeyPatch,
    outcome: str,
    has_failed: bool,
) -> None:
    child_that(monkeypatch, STOPPED.format(folder=str(tmp_path), outcome=outcome))
    with pytest.raises(RuntimeError, match="code 1"):  # torchrun makes 1 of 75
        job(tmp_path)()
    assert (tmp_path / "FAILED").exists() == has_failed


def test_how_an_earlier_attempt_ended_says_nothing_of_a_command_that_began_none(
    tmp_path: Path, no_git: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_start(tmp_path, 0)
    note_end(tmp_path, Outcome.stopped)
    child_that(monkeypatch, "import sys; sys.exit(1)")
    with pytest.raises(RuntimeError):
        job(tmp_path)()
    assert (tmp_path / "FAILED").exists()


TORCHRUN = """
import sys
told = ["error: run `x` is unknown", "  expected: y", *["E1122 failed (exitcode: 2)"] * 100]
sys.exit("\\n".join(told))
"""


def test_what_a_command_told_is_found_before_the_words_of_torchrun(
    tmp_path: Path, no_git: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    child_that(monkeypatch, TORCHRUN)
    with pytest.raises(RuntimeError):
        job(tmp_path)()
    assert (tmp_path / "FAILED").read_text() == "run `x` is unknown\n  expected: y\n"


def test_a_job_leaves_a_run_alone_that_is_held_elsewhere(
    tmp_path: Path, no_git: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    child_that(monkeypatch, "import sys; sys.exit('error: run `x` is held by another process')")
    with claim(FakeRun(tmp_path)), pytest.raises(RuntimeError):
        job(tmp_path)()
    assert not (tmp_path / "FAILED").exists()


def test_a_preemption_that_comes_before_the_child_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Queued(Exception):
        pass

    def queue(*_: object) -> None:
        raise Queued

    before = signal.signal(signal.SIGUSR2, queue), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(slurm_job, "git_state", lambda: signal.raise_signal(signal.SIGTERM) or "")
    child_that(monkeypatch, "import time; time.sleep(20)")
    begun = time.monotonic()
    try:
        with pytest.raises(Queued):
            job(tmp_path)()
    finally:
        signal.signal(signal.SIGUSR2, before[0])
        signal.signal(signal.SIGTERM, before[1])
    assert time.monotonic() - begun < 15


def test_a_child_that_does_not_end_is_killed() -> None:
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], {})
    time.sleep(0.2)  # until it is deaf
    end_process(pid, seconds=0.5)
    ended, status = os.waitpid(pid, os.WNOHANG)
    assert ended == pid
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    end_process(pid, seconds=0.5)  # one that is gone


@pytest.mark.parametrize(("state", "is_queued"), [("RUNNING", True), ("COMPLETING", False)])
def test_a_job_is_queued_again_unless_slurm_does_so_or_it_was_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, is_queued: bool
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setattr(slurm_job, "job_state", lambda _: state)
    asked = job(tmp_path)
    if is_queued:
        assert asked.checkpoint().function == asked
    else:
        with pytest.raises(SystemExit):
            asked.checkpoint()


PATIENT = """
import signal, sys, time
from pathlib import Path
folder = Path({folder!r})
def end(*_):
    (folder / "state").write_text("written")
    sys.exit(75)
signal.signal(signal.SIGTERM, end)
if (folder / "state").exists():
    sys.exit(0)
(folder / "begun").touch()
time.sleep(60)
"""


@dataclass
class Patient(RunJob):
    """A job whose command waits until it is asked to end, and then goes on."""

    program: str = field(default="")

    def __call__(self) -> str:
        slurm_job.command_line = lambda *_: [sys.executable, "-c", self.program]
        slurm_job.git_state = lambda: ""
        return super().__call__()


def test_submitit_calls_a_job_again_that_wrote_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the job finds `Patient`
    resources = ResourcesConfig(gpus=0, signal_seconds=10)
    program = PATIENT.format(folder=str(tmp_path))
    work = Patient(("run",), tmp_path, "", resources, program=program)
    submitted = submitit.LocalExecutor(tmp_path / "jobs")
    submitted.update_parameters(timeout_min=1)
    started = submitted.submit(work)
    until = time.monotonic() + 30
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    for process in (
        Path(f"/proc/{started.job_id}/task/{started.job_id}/children").read_text().split()
    ):
        os.kill(int(process), signal.SIGUSR2)
    assert started.result() == "done"
    assert (tmp_path / "state").read_text() == "written"
