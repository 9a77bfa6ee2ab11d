"""A state comes back as it was; damaged ones are passed over, and none can run code."""

from __future__ import annotations

import os
import warnings

import pytest
import torch

from gen.training.checkpoint import load_state, load_weights, save_state, save_weights


def trained(seed=0):
    """A small model and its optimizer after one step."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def equal(left, right):
    """Whether nested states hold the same values of the same types."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    return type(left) is type(right) and left == right


@pytest.fixture
def folder(tmp_path):
    """A folder with the states of steps 4 and 8."""
    for step in (4, 8):
        save_state(tmp_path / "checkpoints", step, *trained(step))
    return tmp_path / "checkpoints"


def test_a_state_comes_back_to_the_last_bit(tmp_path):
    model, optimizer = trained()
    save_state(tmp_path, 12, model, optimizer)
    state = load_state(tmp_path)
    assert state["step"] == 12
    assert equal(state["model"], dict(model.state_dict()))
    assert equal(state["optimizer"], optimizer.state_dict())


def test_a_state_loads_into_another_model_and_optimizer(tmp_path):
    save_state(tmp_path, 12, *trained(seed=0))
    state = load_state(tmp_path)
    model, optimizer = trained(seed=1)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    save_state(tmp_path, 13, model, optimizer)
    assert equal(load_state(tmp_path) | {"step": 12}, state)


def test_the_last_two_states_are_kept(tmp_path):
    for step in (5, 10, 100, 99_999_995):
        save_state(tmp_path, step, *trained())
    assert sorted(os.listdir(tmp_path)) == ["state-00000100.pt", "state-99999995.pt"]
    assert load_state(tmp_path)["step"] == 99_999_995


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_state_is_named_and_the_one_before_is_taken(folder, share):
    last = folder / "state-00000008.pt"
    content = last.read_bytes()
    last.write_bytes(content[: int(share * len(content))])
    with pytest.warns(UserWarning, match=r"state-00000008\.pt is damaged"):
        state = load_state(folder)
    assert state["step"] == 4


def test_a_state_with_any_byte_changed_is_never_a_crash(folder):
    last = folder / "state-00000008.pt"
    content = last.read_bytes()
    for place in range(0, len(content), 101):
        last.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with warnings.catch_warnings(action="ignore"):
            assert load_state(folder) is not None


def test_without_any_readable_state_there_is_none(folder):
    for path in folder.iterdir():
        path.write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="is damaged") as warned:
        assert load_state(folder) is None
    assert len(warned) == 2


def test_without_a_folder_there_is_no_state(tmp_path):
    assert load_state(tmp_path / "checkpoints") is None


def test_a_half_written_state_of_a_killed_process_is_not_looked_at(folder):
    (folder / ".state-00000012.pt.4711.tmp").write_bytes(b"PK")
    assert load_state(folder)["step"] == 8


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_state_that_would_run_code_is_refused(folder, tmp_path):
    state = {"step": 12, "model": Malicious(tmp_path / "owned"), "optimizer": {}}
    torch.save(state, folder / "state-00000012.pt")
    with pytest.warns(UserWarning, match=r"state-00000012\.pt is damaged"):
        assert load_state(folder)["step"] == 8
    assert not (tmp_path / "owned").exists()


def test_weights_come_back_to_the_last_bit_and_equal_weights_give_equal_bytes(tmp_path):
    model, other = trained(0)[0], trained(1)[0]
    save_weights(tmp_path / "a", model)
    load_weights(tmp_path / "a", other)
    assert equal(dict(other.state_dict()), dict(model.state_dict()))
    save_weights(tmp_path / "b", other)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
