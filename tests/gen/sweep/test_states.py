"""The state of a run, told from its folder alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from socket import gethostname

import pytest
from planted_runs import beat, begin, finish, held, log, planned, study_of, train

from gen.runs import update_record
from gen.schema import EvaluationConfig, PretrainedConfig, PromptSet
from gen.sweep.attempts import Outcome, note_end, note_start
from gen.sweep.heartbeat import FRESH
from gen.sweep.queue import FOLDER, announce_jobs, announced
from gen.sweep.states import State, standings
from gen.sweep.work import reason_of
from splits.files import write_json, write_text


@pytest.fixture
def run(tmp_path):
    return planned(tmp_path)


def standing(run):
    """The run as the only one of its study."""
    return standings(study_of(run.folder.parent, run))[0][run.name]


def state(run):
    return standing(run).state


def test_a_run_without_a_folder_is_new(run):
    assert state(run) is State.new


def test_to_look_at_a_run_leaves_nothing_behind(run):
    state(run)
    assert not run.folder.exists()


def test_a_run_that_was_only_held_for_a_moment_is_new(run):
    with held(run.folder / "lock"):
        pass
    assert state(run) is State.new


def test_a_run_that_another_process_holds_is_running_until_that_is_killed(run):
    begin(run)
    with held(run.folder / "lock") as process:
        assert state(run) is State.running
        process.kill()
        process.wait()
        assert state(run) is State.interrupted


def test_a_killed_run_is_interrupted(run):
    note_start(run.folder, 0)
    assert state(run) is State.interrupted
    begin(run)
    log(run, 300)
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "samp')
    beat(run, age=1, host=gethostname())
    assert state(run) is State.interrupted


def test_an_interrupted_run_tells_the_error_that_it_will_be_tried_again_after(run):
    note_start(run.folder, 0)
    note_end(run.folder, Outcome.failed, "out of memory")
    assert standing(run).reason == "out of memory"


@pytest.mark.parametrize(
    ("age", "expected"), [(FRESH / 2, State.running), (FRESH * 2, State.interrupted)]
)
def test_a_heartbeat_of_another_machine_counts_as_long_as_it_is_fresh(run, age, expected):
    begin(run)
    beat(run, age)
    assert state(run) is expected


def test_a_failed_run_tells_its_last_error(run):
    begin(run)
    write_text(run.failure, "out of memory\n\nTraceback\n")
    found = standing(run)
    assert (found.state, found.reason) == (State.failed, "out of memory")


@pytest.mark.parametrize("name", ["FAILED", "DONE"])
def test_a_marker_that_goes_while_somebody_looks_is_no_error(run, name, monkeypatch):
    begin(run)
    write_text(run.folder / name, "text")
    is_file = Path.is_file

    def look(path):
        there = is_file(path)
        if path.name == name:
            path.unlink(missing_ok=True)
        return there

    monkeypatch.setattr(Path, "is_file", look)
    assert state(run) in (State.failed, State.stale)
    assert state(run) is State.interrupted or name == "DONE"
    write_text(run.failure, "why")
    assert reason_of(run) == "why"


def test_a_damaged_record_is_a_failure_that_says_how_to_mend_it(run):
    finish(run)
    write_text(run.folder / "run.json", '{"run": ')
    found = standing(run)
    assert found.state is State.failed
    assert "run.json is damaged" in found.reason
    assert f"delete {run.folder}" in found.reason


def test_a_run_with_everything_is_done(run):
    finish(run)
    assert state(run) is State.done


def test_a_run_that_lost_its_weights_is_interrupted_and_says_so(run):
    finish(run)
    run.final_weights.unlink()
    found = standing(run)
    assert (found.state, found.reason) == (State.interrupted, "its weights are gone")


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_is_queued_as_long_as_the_sweep_lives(run, begun):
    if begun:
        begin(run)
    with announced(run.folder.parent, [run.name]):
        found = standing(run)
        assert (found.state, found.by[:5]) == (State.queued, "sweep")
    assert state(run) is (State.interrupted if begun else State.new)


def test_a_sweep_that_was_killed_queues_nothing(run):
    path = run.folder.parent / FOLDER / "host-1.json"
    write_json(path, {"by": "sweep 1 on host", "since": "", "runs": {run.name: ""}})
    with held(path.with_suffix(".lock")):
        assert state(run) is State.queued
    assert state(run) is State.new


def test_a_run_is_queued_until_its_slurm_job_ends(run):
    announce_jobs(run.folder.parent, {run.name: "12_3"}, ended="ended/{job}")
    found = standing(run)
    assert (found.state, found.by) == (State.queued, "Slurm job 12_3")
    write_text(run.folder.parent / "ended" / "12_3", "")
    assert state(run) is State.new


def test_who_works_on_a_run_is_told(run):
    begin(run)
    beat(run, age=1)
    assert standing(run).by == "elsewhere, process 7"


def test_a_twin_is_done_with_weights_of_its_own_and_new_before(run):
    other = replace(planned(run.folder.parent, setting="other"), twin=run)
    train(run)
    assert state(other) is State.new
    finish(other)
    assert state(other) is State.done


def test_a_twin_of_a_run_that_was_trained_anew_is_stale_until_it_takes_over_again(run):
    other = replace(planned(run.folder.parent, setting="other"), twin=run)
    train(run)
    finish(other)
    update_record(run.folder, checkpoint="")  # at this moment its training goes on
    assert state(other) is State.done
    update_record(run.folder, checkpoint="1" * 64)
    found = standing(other)
    told = f"{run.name}, whose weights it has, was trained anew"
    assert (found.state, found.reason) == (State.stale, told)
    update_record(other.folder, checkpoint="")
    (other.folder / "DONE").unlink()
    assert state(other) is State.interrupted


# Results that are there, and no longer those that are asked for.


def test_results_for_other_prompts_are_stale(run):
    finish(run)
    asked = replace(run, evaluation=EvaluationConfig(prompts=[PromptSet.single]))
    found = standing(asked)
    assert found.state is State.stale
    assert "with other prompts" in found.reason


def test_results_without_the_probes_that_are_asked_for_are_stale(run):
    finish(run)
    found = standing(replace(run, evaluation=EvaluationConfig(probes=True)))
    told = "analysed for another dataset, other held-out classes, analyses or probes"
    assert (found.state, found.reason) == (State.stale, told)


def test_results_on_another_dataset_are_stale(tmp_path):
    source = {"pretrained": PretrainedConfig("local-dir:x"), "source_sha256": "a" * 64}
    model = replace(planned(tmp_path), mixtures={}, **source)
    finish(model)
    found = standing(replace(model, dataset_sha256="b" * 64))
    told = "evaluated on another dataset, for other held-out classes or with other prompts"
    assert (found.state, found.reason) == (State.stale, told)


def test_a_stale_run_that_is_being_evaluated_again_and_was_killed_is_interrupted(run):
    finish(run)
    (run.folder / "DONE").unlink()
    update_record(run.folder, evaluated="", analyzed="")
    asked = replace(run, evaluation=EvaluationConfig(prompts=[PromptSet.single]))
    assert state(asked) is State.interrupted


def test_a_marker_of_another_key_is_stale(run):
    finish(run)
    write_text(run.folder / "DONE", "another key")
    assert state(run) is State.stale


def test_a_run_of_another_configuration_makes_the_planned_one_stale_and_tells_the_keys(tmp_path):
    old = planned(tmp_path)
    faster = planned(tmp_path, training=replace(old.training, learning_rate=0.002))
    begin(old)
    found, strangers = standings(study_of(tmp_path, faster))
    assert found[faster.name].state is State.stale
    assert found[faster.name].reason == "training.learning_rate 0.001 → 0.002"
    assert strangers == ()


def test_of_several_earlier_runs_the_one_that_differs_least_is_compared(tmp_path):
    close = planned(tmp_path)
    far = planned(tmp_path, training=replace(close.training, learning_rate=0.1, beta2=0.9))
    wanted = planned(tmp_path, training=replace(close.training, learning_rate=0.002))
    begin(far, started="2026-02-02")
    begin(close, started="2026-01-01")
    found, strangers = standings(study_of(tmp_path, wanted))
    assert found[wanted.name].reason == "training.learning_rate 0.001 → 0.002"
    assert strangers == (far.name,)


def test_another_arm_or_seed_makes_nothing_stale(tmp_path):
    begin(planned(tmp_path, arm="vit"))
    begin(planned(tmp_path, seed=1))
    wanted = planned(tmp_path)
    found, strangers = standings(study_of(tmp_path, wanted))
    assert found[wanted.name].state is State.new
    assert len(strangers) == 2


def test_an_earlier_run_without_a_readable_configuration_is_told_by_name(tmp_path):
    old = planned(tmp_path)
    begin(old)
    write_text(old.folder / "config.yaml", "a: [")
    wanted = planned(tmp_path, training=replace(old.training, learning_rate=0.002))
    found, _ = standings(study_of(tmp_path, wanted))
    assert old.name in found[wanted.name].reason
