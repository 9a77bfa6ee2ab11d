"""Training interrupted anywhere ends with the same bits; a loss that is no number stops it."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch
from small_run import CAPTIONS, CONFIG, SAMPLES, STEPS, small_model, small_training

from gen.models.classifier import Classifier
from gen.schema import Objective, Precision, Schedule, TextPairsConfig
from gen.training import loop, step
from gen.training.checkpoint import milestones
from gen.training.loop import train
from gen.training.metrics_log import NAME, read_metrics
from gen.training.order import batch_at
from gen.training.preemption import Preempted
from splits.errors import UserError


class Stopped(Exception):
    """What a kill looks like from inside."""


def weights(folder):
    return (folder / "checkpoints" / "final.safetensors").read_bytes()


def lines(folder):
    """The log without its only column that depends on the clock."""
    return [
        {key: value for key, value in row.items() if key != "samples_per_second"}
        for row in read_metrics(folder)
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train(small_training(folder))
    return folder


def stop_at(monkeypatch, number):
    """Let the next training end with an error in this step."""
    original = loop.take_step

    def stopping(training, step, batch):
        if step == number:
            raise Stopped
        return original(training, step, batch)

    monkeypatch.setattr(loop, "take_step", stopping)


def interrupted(folder, monkeypatch, number, **changes):
    """Train in `folder` up to a step that never ends."""
    with monkeypatch.context() as patch, pytest.raises(Stopped):  # noqa: PT012
        stop_at(patch, number)
        train(small_training(folder, **changes))


def test_a_run_leaves_its_weights_its_log_and_its_last_states(whole):
    assert sorted(os.listdir(whole)) == ["checkpoints", NAME]
    states = [f"state-{seen:012d}.safetensors" for seen in (32, 64)]
    assert sorted(os.listdir(whole / "checkpoints")) == ["final.safetensors", *states]
    assert [row["step"] for row in read_metrics(whole)] == [2, 4, 6, 8, 10, 12]
    assert [row["samples_seen"] for row in read_metrics(whole)] == [16, 32, 48, 64, 80, 96]


def test_the_log_has_the_promised_columns_with_possible_values(whole):
    columns = "step samples_seen loss loss_floor logit_scale lr samples_per_second"
    for row in read_metrics(whole):
        assert " ".join(row) == columns
        assert row["loss"] > row["loss_floor"] > 0  # eight samples have four captions
        assert 1 <= row["logit_scale"] <= 100
        assert 0 < row["lr"] <= CONFIG.learning_rate
        assert row["samples_per_second"] > 0


@pytest.mark.parametrize("number", [3, 9])
def test_interrupted_and_continued_a_run_ends_with_the_same_bits(
    whole, tmp_path, monkeypatch, number
):
    interrupted(tmp_path, monkeypatch, number)
    assert not (tmp_path / "checkpoints" / "final.safetensors").exists()
    assert len(read_metrics(tmp_path)) == number // 2
    train(small_training(tmp_path))
    assert weights(tmp_path) == weights(whole)
    assert lines(tmp_path) == lines(whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate": 2},
        {"objective": Objective.multi_positive, "schedule": Schedule.constant},
        {"clip_norm": 0.5},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_same_holds_for_other_ways_to_train(tmp_path, monkeypatch, whole, changes):
    train(small_training(tmp_path / "whole", **changes))
    interrupted(tmp_path / "parts", monkeypatch, 7, **changes)
    train(small_training(tmp_path / "parts", **changes))
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert weights(tmp_path / "whole") != weights(whole)


def test_pairs_of_texts_come_again_as_they_would_have_come(tmp_path, monkeypatch):
    changes = {"text_pairs": TextPairsConfig("captions", 0.25), "accumulate": 2}
    folders = [tmp_path / name for name in ("whole", "parts", "plain")]
    train(small_training(folders[0], model=small_model("clippo-tiny"), **changes))
    interrupted(folders[1], monkeypatch, 7, model=small_model("clippo-tiny"), **changes)
    train(small_training(folders[1], model=small_model("clippo-tiny"), **changes))
    train(small_training(folders[2], model=small_model("clippo-tiny"), accumulate=2))
    assert weights(folders[1]) == weights(folders[0])
    assert lines(folders[1]) == lines(folders[0])
    assert weights(folders[2]) != weights(folders[0])


def test_what_was_done_before_the_interruption_is_not_done_again(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 9)
    done, original = [], loop.take_step
    monkeypatch.setattr(loop, "take_step", lambda *a: (done.append(a[1]), original(*a))[1])
    train(small_training(tmp_path))
    assert done == [8, 9, 10, 11]


def test_a_damaged_last_state_costs_time_and_no_bits(whole, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 9)
    (tmp_path / "checkpoints" / "state-000000000064.safetensors").write_bytes(b"PK")
    with pytest.warns(UserWarning, match="is damaged"):
        train(small_training(tmp_path))
    assert weights(tmp_path) == weights(whole)
    assert lines(tmp_path) == lines(whole)


def test_the_states_of_another_run_are_refused(whole, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 9)
    with pytest.raises(UserError, match=r"`training\.learning_rate` is 0\.001, this run has 0\.1"):
        train(small_training(tmp_path, learning_rate=0.1))


def test_logging_and_keeping_do_not_change_the_weights(whole, tmp_path):
    train(small_training(tmp_path, log_every=1, checkpoint_every=1000, milestones=3))
    assert weights(tmp_path) == weights(whole)
    assert len(read_metrics(tmp_path)) == STEPS
    assert [seen for seen, _ in milestones(tmp_path / "checkpoints")] == [8, 16, 40]


def test_weights_do_not_depend_on_the_global_randomness_but_on_the_seed(whole, tmp_path):
    torch.manual_seed(99)
    train(small_training(tmp_path / "same"))
    train(small_training(tmp_path / "other", seed=1))
    assert weights(tmp_path / "same") == weights(whole)
    assert weights(tmp_path / "other") != weights(whole)


def test_a_repeated_caption_is_embedded_once(tmp_path, monkeypatch):
    rows = []
    model = small_model()
    original = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda t: (rows.append(len(t)), original(t))[1])
    train(small_training(tmp_path, model=model))
    assert len(rows) == STEPS
    assert max(rows) <= len(CAPTIONS)


def test_asked_to_end_a_training_writes_a_state_and_goes_on_from_it(whole, tmp_path, monkeypatch):
    original = loop.take_step

    def asked(training, number, batch):
        if number == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(training, number, batch)

    with monkeypatch.context() as patch, pytest.raises(Preempted, match="learned from 40 samples"):  # noqa: PT012
        patch.setattr(loop, "take_step", asked)
        train(small_training(tmp_path))
    train(small_training(tmp_path))
    assert weights(tmp_path) == weights(whole)


def test_asked_to_end_in_the_last_step_a_training_ends_and_says_so(whole, tmp_path, monkeypatch):
    original = loop.take_step

    def asked(training, number, batch):
        if number == STEPS - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(training, number, batch)

    monkeypatch.setattr(loop, "take_step", asked)
    with pytest.raises(Preempted, match="learned from 96 samples"):
        train(small_training(tmp_path))
    assert weights(tmp_path) == weights(whole)


@pytest.mark.parametrize("number", [7, STEPS - 1])
def test_weights_that_are_no_numbers_are_never_written(tmp_path, monkeypatch, number):
    original = loop.take_step

    def poisoned(training, step, batch):
        loss = original(training, step, batch)
        if step == number:  # as a gradient that is no number does, when the loss still was one
            with torch.no_grad():
                training.towers.model.text_projection[0, 0] = float("nan")
        return loss

    monkeypatch.setattr(loop, "take_step", poisoned)
    with pytest.raises(UserError, match=f"weights are no numbers any more in step {number},"):
        train(small_training(tmp_path))
    states = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert states == [
        f"state-{seen:012d}.safetensors" for seen in ((32,) if number == 7 else (32, 64))
    ]


def test_milestones_that_training_is_past_are_told(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 9)
    with pytest.warns(UserWarning, match="3 milestones lie before the state of 64 samples"):
        train(small_training(tmp_path, milestones=3))


def test_a_parameter_without_a_gradient_is_refused(tmp_path):
    model = small_model()
    model.idle = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(UserError, match=r"`model\.idle` the first"):
        train(small_training(tmp_path, model=model))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error_with_step_and_samples(tmp_path, monkeypatch, value):
    original, number = step.contrastive_loss, iter(range(STEPS))
    monkeypatch.setattr(
        step,
        "contrastive_loss",
        lambda *a, **k: original(*a, **k) * (value if next(number) == 6 else 1),
    )
    with pytest.raises(UserError, match=rf"the loss is {value} in step 6,"):
        train(small_training(tmp_path, checkpoint_every=8))
    _, positions = batch_at(6, 8, SAMPLES, 0)
    told = json.loads((tmp_path / "bad_batch.json").read_text())
    assert told["ids"] == [f"sample_{position}" for position in positions]
    states = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert states == [f"state-{seen:012d}.safetensors" for seen in (40, 48)]
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 6]


def test_a_loss_that_stays_at_a_guess_is_warned_about_once(tmp_path, monkeypatch):
    monkeypatch.setattr("gen.training.objective.PATIENCE", 4)
    with pytest.warns(UserWarning, match=r"tells nothing apart 2\.079") as warned:
        train(small_training(tmp_path, learning_rate=1e-9, log_every=1))
    assert len([w for w in warned if "tells nothing apart" in str(w.message)]) == 1


def test_the_log_is_readable_by_anyone(whole):
    for line in (whole / NAME).read_text().splitlines():
        assert json.loads(line, parse_constant=pytest.fail)  # no NaN, no Infinity


def test_bf16_autocast_trains_weights_that_stay_fp32(tmp_path):
    training = small_training(tmp_path, precision=Precision.bf16)
    train(training)
    assert {value.dtype for value in training.towers.parameters()} == {torch.float32}
    losses = [row["loss"] for row in read_metrics(tmp_path)]
    assert losses
    assert np.isfinite(losses).all()


def test_a_sigmoid_objective_learns_a_bias(tmp_path):
    model = small_model(bias=True)
    train(small_training(tmp_path, model=model, objective=Objective.sigmoid))
    assert model.logit_bias.item() != -10
    assert all(row["loss"] > row["loss_floor"] for row in read_metrics(tmp_path))


def test_a_classifier_learns_labels_and_logs_no_floor(tmp_path):
    model = Classifier(small_model().visual, 16, len(CAPTIONS))
    train(small_training(tmp_path, model=model, learning_rate=3e-3))
    columns = "step samples_seen loss lr samples_per_second"
    rows = read_metrics(tmp_path)
    assert all(" ".join(row) == columns for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"]
