"""What happens to jobs on a cluster: preemptions, time limits, dying machines."""

from __future__ import annotations

import os
import signal

import pytest
from cluster import Cluster, wait_for
from swept import Plan, Swept, outcomes, weights

from gen.sweep.attempts import Outcome

pytestmark = pytest.mark.slurm


def test_a_preempted_run_goes_on_from_its_state(
    cluster: Cluster, plan: Plan, undisturbed: Swept
) -> None:
    graceful, abrupt = plan("graceful"), plan("abrupt", ["leave_out_domain"])
    graceful.submit(partition="low", constraint="n1")
    abrupt.submit(partition="abrupt", constraint="n2")
    for swept, node in ((graceful, "n1"), (abrupt, "n2")):
        swept.wait_for_state()
        cluster.take_node(node, seconds=3)
    for swept in (graceful, abrupt):
        swept.wait_until_trained()
        assert outcomes(swept.attempts)[:-1] == [Outcome.stopped]
        assert len({attempt.job for attempt in swept.attempts}) == 1
        assert swept.attempts[1].samples_seen > 0
        assert weights(swept).items() <= weights(undisturbed).items()


def test_a_run_goes_on_after_its_time_limit_and_after_its_machine_died(
    cluster: Cluster, plan: Plan, undisturbed: Swept
) -> None:
    limited, struck = plan("limited"), plan("struck", ["leave_out_domain"])
    submission = limited.submit(constraint="n2", minutes=60, signal_seconds=110)
    assert submission is not None
    (job,) = submission.jobs
    limited.wait_for_state()
    # else it may be done before Slurm looks at the time, which then lets it go on
    os.kill(limited.attempts[0].pid, signal.SIGSTOP)
    cluster.limit_time(job, minutes=2)
    struck.submit()
    struck.wait_for_state()
    cluster.kill_node("n1")
    wait_for(lambda: "down" in cluster.node_states()[0], 60, "that Slurm misses n1")
    cluster.start_node("n1")
    wait_for(lambda: cluster.was_queued_again(job), 90, f"the time limit of {limited}")
    cluster.ask("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    for swept, end in ((limited, Outcome.stopped), (struck, Outcome.killed)):
        swept.wait_until_trained()
        assert weights(swept).items() <= weights(undisturbed).items()
        assert outcomes(swept.attempts)[:-1] == [end]
        assert swept.attempts[1].samples_seen > 0
    # a run that takes its machine down again and again is given up
    assert "forgiven" not in (struck.folder / "attempts.jsonl").read_text()


def test_a_cancelled_run_stays_so_and_goes_on_when_it_is_submitted_again(
    cluster: Cluster, plan: Plan
) -> None:
    swept = plan("cancelled")
    submission = swept.submit()
    assert submission is not None
    swept.wait_for_state()
    cluster.ask("scancel", *submission.jobs, submission.report)
    wait_for(lambda: not cluster.jobs(), 30, "the end of the job")
    assert outcomes(swept.attempts) == [Outcome.stopped]
    assert swept.states() == ["interrupted"]
    swept.submit()
    wait_for(lambda: len(swept.attempts) > 1, 60, f"another attempt of {swept}")
    assert swept.attempts[1].samples_seen > 0


def test_a_run_of_two_machines_is_queued_again_as_one(cluster: Cluster, plan: Plan) -> None:
    swept = plan("shared")
    submission = swept.submit(nodes=2)
    assert submission is not None
    swept.wait_for_state()
    cluster.ask("scancel", "--signal=USR2", *submission.jobs)
    swept.wait_until_trained()
    assert outcomes(swept.attempts)[:-1] == [Outcome.stopped]
    assert swept.attempts[1].samples_seen > 0
    assert '"processes": 2' in (swept.folder / "run.json").read_text()
