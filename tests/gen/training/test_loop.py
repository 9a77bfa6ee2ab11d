"""Training interrupted anywhere ends with the same bits; a loss that is no number stops it."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

from gen.config import load_config
from gen.models.clip import build_clip
from gen.models.vocabulary import build_vocabulary
from gen.randomness import sample_keys
from gen.schema import Precision, TrainingConfig
from gen.training import loop
from gen.training.loop import build_optimizer, train
from gen.training.metrics_log import NAME, read_metrics
from gen.training.pairs import Pairs

SAMPLES = 40
CAPTIONS = ["a cat, image", "a dog, image", "picture of a cat", "picture of a bird"]
VOCABULARY = build_vocabulary(CAPTIONS)
CONFIG = TrainingConfig(
    samples_seen=96, batch_size=8, crop_area=0.5, log_every=2, checkpoint_every=4
)
STEPS = 12


class Stopped(Exception):
    """What a kill looks like from inside."""


def model(seed=0):
    overrides = ["vision.width=4", "vision.head_width=16", "text.width=16", "embed_dim=16"]
    return build_clip(load_config("models", "rn-tiny", overrides), VOCABULARY, 32, seed)


@pytest.fixture(scope="module")
def pairs():
    """Random images under four captions."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (SAMPLES, 3, 32, 32), dtype=torch.uint8, generator=generator)
    keys = sample_keys([f"sample_{number}" for number in range(SAMPLES)])
    tokens = VOCABULARY.encode(CAPTIONS)
    return Pairs(images, tokens, np.random.default_rng(0).integers(4, size=SAMPLES), keys)


def run(folder, pairs, *, seed=0, config=CONFIG):
    """Train a fresh model; return it."""
    folder.mkdir(exist_ok=True)
    built = model(seed)
    train(built, pairs, config, seed, folder, device=torch.device("cpu"), precision=Precision.fp32)
    return built


def weights(folder):
    return (folder / "checkpoints" / "final.safetensors").read_bytes()


def lines(folder):
    """The log without its only column that depends on the clock."""
    return [
        {key: value for key, value in row.items() if key != "samples_per_second"}
        for row in read_metrics(folder)
    ]


@pytest.fixture(scope="module")
def whole(pairs, tmp_path_factory):
    """The folder of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, pairs)
    return folder


def stop_at(monkeypatch, step):
    """Let the next training end with an error in `step`."""
    original = loop._step

    def stopping(*arguments):
        if arguments[5] == step:
            raise Stopped
        return original(*arguments)

    monkeypatch.setattr(loop, "_step", stopping)


def test_a_run_leaves_its_weights_its_log_and_its_last_states(whole):
    assert sorted(os.listdir(whole)) == ["checkpoints", NAME]
    states = ["final.safetensors", "state-00000004.pt", "state-00000008.pt"]
    assert sorted(os.listdir(whole / "checkpoints")) == states
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


@pytest.mark.parametrize("step", [3, 9])
def test_interrupted_and_continued_a_run_ends_with_the_same_bits(
    whole, pairs, tmp_path, monkeypatch, step
):
    with monkeypatch.context() as patch, pytest.raises(Stopped):  # noqa: PT012
        stop_at(patch, step)
        run(tmp_path, pairs)
    assert not (tmp_path / "checkpoints" / "final.safetensors").exists()
    assert len(read_metrics(tmp_path)) == step // 2
    run(tmp_path, pairs)
    assert weights(tmp_path) == weights(whole)
    assert lines(tmp_path) == lines(whole)


def test_what_was_done_before_the_interruption_is_not_done_again(pairs, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Stopped):  # noqa: PT012
        stop_at(patch, 9)
        run(tmp_path, pairs)
    done, original = [], loop._step
    monkeypatch.setattr(loop, "_step", lambda *a: (done.append(a[5]), original(*a))[1])
    run(tmp_path, pairs)
    assert done == [8, 9, 10, 11]


def test_a_damaged_last_state_costs_time_and_no_bits(whole, pairs, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Stopped):  # noqa: PT012
        stop_at(patch, 9)
        run(tmp_path, pairs)
    (tmp_path / "checkpoints" / "state-00000008.pt").write_bytes(b"PK")
    with pytest.warns(UserWarning, match="is damaged"):
        run(tmp_path, pairs)
    assert weights(tmp_path) == weights(whole)
    assert lines(tmp_path) == lines(whole)


def test_logging_and_checkpointing_do_not_change_the_weights(whole, pairs, tmp_path):
    often = TrainingConfig(**(vars(CONFIG) | {"log_every": 1, "checkpoint_every": 100}))
    run(tmp_path, pairs, config=often)
    assert weights(tmp_path) == weights(whole)
    assert len(read_metrics(tmp_path)) == STEPS


def test_weights_do_not_depend_on_the_global_randomness_but_on_the_seed(whole, pairs, tmp_path):
    torch.manual_seed(99)
    run(tmp_path / "same", pairs)
    run(tmp_path / "other", pairs, seed=1)
    assert weights(tmp_path / "same") == weights(whole)
    assert weights(tmp_path / "other") != weights(whole)


def test_a_repeated_caption_is_embedded_once(pairs, tmp_path, monkeypatch):
    rows = []
    original = type(model()).encode_text
    monkeypatch.setattr(
        "open_clip.CLIP.encode_text", lambda self, t: (rows.append(len(t)), original(self, t))[1]
    )
    run(tmp_path, pairs)
    assert len(rows) == STEPS
    assert max(rows) <= len(CAPTIONS)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error_with_step_and_samples(
    pairs, tmp_path, monkeypatch, value
):
    original, step = loop.info_nce, iter(range(STEPS))
    monkeypatch.setattr(
        loop, "info_nce", lambda *a: original(*a) * (value if next(step) == 6 else 1)
    )
    _, positions = loop.batch_at(6, 8, SAMPLES, 0)
    with pytest.raises(FloatingPointError, match=rf"{value} at step 6 ") as caught:
        run(tmp_path, pairs)
    assert str(positions.tolist()) in str(caught.value)
    assert not (tmp_path / "checkpoints" / "final.safetensors").exists()
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 6]


def test_weights_decay_but_gains_biases_and_the_logit_scale_do_not():
    built = model()
    free, decayed = build_optimizer(built, CONFIG).param_groups
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    assert free["weight_decay"] == 0
    assert decayed["weight_decay"] == CONFIG.weight_decay == 0.2
    free, decayed = ({names[id(p)] for p in group["params"]} for group in (free, decayed))
    assert free | decayed == set(names.values())
    assert not free & decayed
    assert {"logit_scale", "visual.bn1.weight", "ln_final.bias"} <= free
    assert all(name.endswith(("bias", "weight", "logit_scale")) for name in free)
    assert {"token_embedding.weight", "visual.conv1.weight", "text_projection"} <= decayed


def test_the_optimizer_has_the_numbers_of_its_configuration():
    config = TrainingConfig(beta1=0.8, beta2=0.95, epsilon=1e-5, learning_rate=0.1, weight_decay=0)
    for group in build_optimizer(model(), config).param_groups:
        assert (group["betas"], group["eps"], group["lr"]) == ((0.8, 0.95), 1e-5, 0.1)
        assert group["weight_decay"] == 0


def test_the_log_is_readable_by_anyone(whole):
    for line in (whole / NAME).read_text().splitlines():
        assert json.loads(line, parse_constant=pytest.fail)  # no NaN, no Infinity


def test_bf16_autocast_trains_weights_that_stay_fp32(pairs, tmp_path):
    built = model()
    train(built, pairs, CONFIG, 0, tmp_path, device=torch.device("cpu"), precision=Precision.bf16)
    assert {value.dtype for value in built.parameters()} == {torch.float32}
    losses = [row["loss"] for row in read_metrics(tmp_path)]
    assert losses
    assert np.isfinite(losses).all()
