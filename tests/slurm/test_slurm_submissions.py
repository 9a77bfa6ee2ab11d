"""Submitting studies to a cluster: what is submitted, what is refused, what is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import ARRAY_LIMIT, Cluster, wait_for
from swept import Plan, Swept, outcomes

from gen.sweep import slurm
from gen.sweep.attempts import Outcome, read_attempts
from gen.sweep.queue import queued
from gen.sweep.states import State, standings

pytestmark = pytest.mark.slurm


def test_all_runs_are_done_once_and_the_report_is_written(undisturbed: Swept) -> None:
    for run in undisturbed.study.runs:
        assert outcomes(read_attempts(run.folder)) == [Outcome.done]
        assert read_attempts(run.folder)[0].job
    assert (undisturbed.study.folder / "report" / "index.html").is_file()
    assert queued(undisturbed.study.folder) == {}
    code, printed = undisturbed.clipgen("sweep", "--executor", "slurm")
    assert code == 0
    assert "nothing to submit: 2 done" in printed
    assert "report: nothing that it is made of has changed" in printed


def test_arrays_go_on_after_a_failure_on_machines_that_are_not_drained(
    cluster: Cluster, plan: Plan
) -> None:
    settings = ["natural_only", "leave_out_domain", "cg_low_diversity"]
    swept = plan("arrays", settings, training={"samples_seen": 128, "batch_size": 64})
    assert len(settings) == ARRAY_LIMIT + 1
    submission = swept.submit(parallel=1)
    assert submission is not None
    assert list(submission.jobs.values()) == [ARRAY_LIMIT, 1]
    waiting = queued(swept.study.folder)
    assert len(waiting) == len(settings)
    first, fails, last = swept.study.runs
    swept.path.unlink()  # the jobs have the study as it was
    fails.folder.mkdir(exist_ok=True)
    (fails.folder / "run.json").write_text("damaged")
    wait_for(lambda: cluster.running(), 30, "the first job")
    ((_, drained),) = cluster.running()
    cluster.ask("scontrol", "update", f"NodeName={drained}", "State=DRAIN", "Reason=test")
    seen = []

    def is_trained() -> bool:
        seen.append(cluster.running())
        return last.trained

    wait_for(is_trained, 200, f"the last run of {swept}")
    assert max(len(jobs) for jobs in seen) == 1
    nodes = dict(job for jobs in seen for job in jobs)
    assert [node == drained for _, node in sorted(nodes.items())] == [True, False, False]
    ends = [outcomes(read_attempts(run.folder)) for run in (first, fails)]
    assert ends == [[Outcome.done], [Outcome.failed]]
    assert "run.json is damaged" in fails.failure.read_text()


def test_what_is_queued_is_not_submitted_again_unless_it_was_cancelled(
    cluster: Cluster, plan: Plan
) -> None:
    for node in ("n1", "n2"):
        cluster.ask("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    swept = plan("twice", ["natural_only", "leave_out_domain"])
    first = swept.submit()
    assert first is not None
    before = cluster.jobs()
    assert swept.submit() is None
    assert cluster.jobs() == before
    (job,) = first.jobs
    cluster.ask("scancel", f"{job}_0")
    wait_for(lambda: f"{job}_0" not in cluster.jobs(), 30, "the end of the job")
    assert sorted(swept.states()) == ["new", "queued"]
    second = swept.submit()
    assert second is not None
    assert list(second.jobs.values()) == [1]


def test_a_job_refuses_other_code_and_other_configurations(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.yaml"
    model.write_text(Path("configs/models/rn-tiny.yaml").read_text())
    changed, edited = plan("changed"), plan("edited", model=str(model))
    edited.submit()
    model.write_text(model.read_text().replace("embed_dim: ", "embed_dim: 1"))
    monkeypatch.setattr(slurm, "git_state", lambda: "0123456")
    changed.submit()
    for swept, words in (
        (changed, "expected: 0123456, as when the job was submitted"),
        (edited, f"run `{edited.study.runs[0].name}` is unknown"),
    ):
        failure = swept.folder / "FAILED"
        wait_for(failure.is_file, 60, f"the failure of {swept}")
        assert words in failure.read_text()
        found, _ = standings(swept.study)
        assert found[swept.study.runs[0].name].state is State.failed


def test_what_slurm_refuses_is_told_in_its_words(plan: Plan) -> None:
    swept = plan("refused")
    words = ("--executor", "slurm", "resources.partition=nowhere")
    code, printed = swept.clipgen("sweep", *words)
    assert code == 2
    assert "Slurm refuses the jobs: " in printed
    assert "invalid partition specified: nowhere" in printed
    assert queued(swept.study.folder) == {}
