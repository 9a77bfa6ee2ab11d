"""Runs that coincide are trained once; the later one takes over what the first one has."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gen import stages, twins
from gen.config import load_config
from gen.runs import Run, Target, file_sha256, mark_done, read_record, update_record
from gen.schema import TrainingConfig
from splits.errors import UserError
from splits.files import write_text

FILES = ["final.safetensors", "milestone-000000000064.safetensors"]


@pytest.fixture
def first(tmp_path):
    """A run that is trained and evaluated."""
    mixture = SimpleNamespace(sha256="m" * 64, caption="caption")
    run = Run(
        folder=tmp_path / "cg_low_diversity-s0-0123",
        setting="cg_low_diversity",
        held_out={Target("sketch", 0): ("axe",)},
        mixtures={Target("sketch", 0): mixture},
        model=load_config("models", "rn-tiny"),
        training=TrainingConfig(samples_seen=640, milestones=1),
        seed=0,
        pixels=32,
    )
    train(run, "weights")
    update_record(run.folder, device="cpu", seconds={"train": 3.0}, versions={"torch": "1"})
    write_text(run.folder / "metrics.jsonl", '{"step": 1}\n')
    write_text(run.folder / "checkpoints" / "state-000000000640.safetensors", "state")
    return evaluated(run)


@pytest.fixture
def second(first):
    """A run of the same identity, under another name and for another target."""
    return replace(
        first,
        folder=first.folder.with_name("cg_low_diversity-held_out_0-s0-0123"),
        setting="cg_low_diversity-held_out_0",
        held_out={Target("sketch", 1): ("bed",)},
        mixtures={Target("sketch", 1): first.mixture},
        twin=first,
    )


def train(run, weights):
    for name in FILES:
        write_text(run.folder / "checkpoints" / name, f"{weights} {name}")
    update_record(run.folder, checkpoint=file_sha256(run.final_weights), samples_seen=640)


def evaluated(run):
    for name in ("predictions", "evaluation", "cells", "retrieval"):
        write_text(run.folder / f"{name}.parquet", "table")
    for table in run.analyses.values():
        write_text(table, "table")
    update_record(run.folder, evaluated=run.evaluation_key, analyzed=run.analyses_key)
    mark_done(run)
    assert run.done
    return run


def state(run):
    return run.evaluated, run.analyzed, run.done


def inodes(run):
    return {name: (run.folder / "checkpoints" / name).stat().st_ino for name in FILES}


def contents(run):
    return {path.name: path.read_text() for path in (run.folder / "checkpoints").iterdir()}


def test_a_twin_has_the_same_files_and_tells_whose_they_are(first, second):
    stages.train_run(second, None)
    assert second.trained
    assert inodes(second) == inodes(first)
    assert sorted(contents(second)) == FILES  # no state: there is nothing to go on from
    assert (second.folder / "metrics.jsonl").read_text() == '{"step": 1}\n'
    record = read_record(second.folder)
    assert record["same_weights_as"] == first.name
    assert (record["run"], record["draws"]) == (second.name, [1])
    for key in ("checkpoint", "samples_seen", "device", "versions"):
        assert record[key] == read_record(first.folder)[key]
    assert "seconds" not in record  # it took none


def test_a_log_of_one_run_is_not_the_other_s(first, second):
    stages.train_run(second, None)
    with (second.folder / "metrics.jsonl").open("a") as file:
        file.write("{}\n")
    assert (first.folder / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_a_twin_is_evaluated_itself(second):
    stages.train_run(second, None)
    assert state(second) == (False, False, False)
    evaluated(second)


def test_nothing_is_taken_over_twice(monkeypatch, second):
    stages.train_run(second, None)
    evaluated(second)
    monkeypatch.setattr(stages, "take_over", None)
    stages.train_run(second, None)
    assert second.done


@pytest.mark.parametrize("lacking", ["weights", "record"])
def test_what_is_not_trained_cannot_be_taken_over(lacking, first, second):
    if lacking == "weights":
        first.final_weights.unlink()
    else:  # killed between the weights and their record
        update_record(first.folder, checkpoint="")
    with pytest.raises(UserError, match=f"takes over the weights of {first.name}"):
        stages.train_run(second, None)
    assert not second.folder.exists()


def test_weights_of_a_twin_that_was_trained_anew_are_taken_over_again(first, second):
    stages.train_run(second, None)
    evaluated(second)
    train(first, "other weights")
    assert [second.trained, second.done] == [False, False]
    stages.train_run(second, None)
    assert contents(second)["final.safetensors"] == "other weights final.safetensors"
    assert second.trained
    assert state(second) == (False, False, False)


def test_results_outlive_the_twin_whose_weights_were_taken_over(first, second):
    stages.train_run(second, None)
    evaluated(second)
    first.final_weights.unlink()
    update_record(first.folder, checkpoint="")
    assert second.done
    stages.train_run(second, None)
    assert second.done


def test_a_run_that_was_trained_alone_counts_if_it_has_the_same_weights(second):
    train(second, "weights")
    assert second.trained
    train(second, "other weights")
    assert not second.trained


def test_milestones_of_a_former_training_go(first, second):
    former = second.folder / "checkpoints" / "milestone-000000000128.safetensors"
    write_text(former, "former")
    stages.train_run(second, None)
    assert not former.exists()


def test_files_are_copied_where_the_disk_knows_no_links(monkeypatch, first, second):
    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    stages.train_run(second, None)
    assert second.trained
    assert not set(inodes(first).values()) & set(inodes(second).values())
    assert {name: contents(first)[name] for name in FILES} == contents(second)


class Killed(BaseException):
    """Ends a process at once."""


@pytest.mark.parametrize("before", [False, True], ids=["from nothing", "over former results"])
def test_a_kill_at_any_moment_leaves_a_run_that_is_not_trained(before, monkeypatch, first, second):
    if before:
        stages.train_run(second, None)
        evaluated(second)
        train(first, "other weights")
    whole = [inodes(first), *([inodes(second)] if before else [])]
    steps = iter(range(0))

    def killed_at_last(call):
        def step(*arguments):
            if next(steps, None) is None:
                raise Killed
            call(*arguments)

        return step

    for name in ("replace", "link"):
        monkeypatch.setattr(os, name, killed_at_last(getattr(os, name)))
    kills = 0
    while not second.trained:
        steps = iter(range(kills))
        try:
            stages.train_run(second, None)
        except Killed:
            kills += 1
            assert [second.trained, second.done] == [False, False]
            assert not second.final_weights.exists() or inodes(second) in whole
    assert kills > len(FILES) + 1
    assert inodes(second) == inodes(first)
    assert sorted(contents(second)) == FILES
    assert state(second) == (False, False, False)
    assert read_record(second.folder)["same_weights_as"] == first.name


def test_weights_that_change_while_they_are_taken_over_are_refused(monkeypatch, first, second):
    link = twins._link

    def trained_anew(source, path):
        if source == first.final_weights:
            write_text(source, "of another training")
        link(source, path)

    monkeypatch.setattr(twins, "_link", trained_anew)
    with pytest.raises(UserError, match="are not those of its run"):
        stages.train_run(second, None)
    assert not second.trained
