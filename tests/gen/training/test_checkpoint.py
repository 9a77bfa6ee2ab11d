"""A state comes back as it was; damaged ones are passed over, and none can run code."""

from __future__ import annotations

import json
import os
import pickle
import signal
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from gen.training.checkpoint import (
    load_state,
    load_weights,
    milestone_path,
    milestone_samples,
    milestones,
    save_state,
    save_weights,
)
from splits.errors import UserError

IDENTITY = {"seed": 0, "model": {"layers": [1, 1]}, "training": {"learning_rate": 0.1}}


class Towers(nn.Module):
    """Wraps a model as the trained towers do."""

    def __init__(self, model):
        super().__init__()
        self.model = model


def fresh(seed=0, *, fused=False, width=4):
    """A small model in towers, and its optimizer with two groups."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 4, 2)]
    model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    groups = [{"params": vectors, "weight_decay": 0.0}, {"params": matrices}]
    return Towers(model), torch.optim.AdamW(groups, lr=0.01, fused=fused)


def train(towers, optimizer, steps):
    """Steps whose batches and rates depend on their numbers alone."""
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (step + 1)
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(8, 3, 4, 4, generator=generator)
        optimizer.zero_grad()
        towers.model(images).square().sum().backward()
        optimizer.step()


def trained(seed=0, steps=1, **options):
    towers, optimizer = fresh(seed, **options)
    train(towers, optimizer, range(steps))
    return towers, optimizer


def save(folder, samples_seen, towers, optimizer, identity=IDENTITY):
    save_state(folder, samples_seen, identity, towers, optimizer, write=True)


def bits(towers, optimizer):
    """Everything that training goes on from, as bytes."""
    tensors = list(towers.state_dict().values())
    for state in optimizer.state_dict()["state"].values():
        tensors += state.values()
    return [value.contiguous().numpy().tobytes() for value in tensors]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a state of 8 samples."""
    folder = tmp_path_factory.mktemp("state")
    save(folder, 8, *trained(seed=8))
    return (folder / "state-000000000008.safetensors").read_bytes()


@pytest.fixture
def folder(tmp_path, content):
    """A folder with the states of 4 and of 8 samples."""
    save(tmp_path, 4, *trained(seed=4))
    (tmp_path / "state-000000000008.safetensors").write_bytes(content)
    return tmp_path


def last(folder):
    return folder / "state-000000000008.safetensors"


def load(folder, identity=IDENTITY):
    return load_state(folder, identity, *fresh())


@pytest.mark.parametrize("fused", [False, True])
def test_continued_training_has_the_same_bits_as_uninterrupted_training(tmp_path, fused):
    whole = trained(fused=fused, steps=6)
    save(tmp_path, 3, *trained(fused=fused, steps=3))
    towers, optimizer = fresh(seed=1, fused=fused)
    assert load_state(tmp_path, IDENTITY, towers, optimizer) == 3
    train(towers, optimizer, range(3, 6))
    assert bits(towers, optimizer) == bits(*whole)


def test_loading_keeps_the_memory_layout_that_the_optimizer_works_with(tmp_path):
    save(tmp_path, 3, *trained())
    towers, optimizer = fresh()
    load_state(tmp_path, IDENTITY, towers, optimizer)
    weight = towers.model[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert optimizer.state[weight]["exp_avg"].stride() == weight.stride()


def test_a_state_is_plain_tensors_by_the_names_of_the_parameters(folder):
    names = load_file(last(folder)).keys()
    parameters = ["0.bias", "0.weight", "1.bias", "1.weight", "3.bias", "3.weight"]
    buffers = ["1.num_batches_tracked", "1.running_mean", "1.running_var"]
    fields = ["exp_avg", "exp_avg_sq", "step"]
    expected = [f"model.{name}" for name in parameters + buffers]
    expected += [f"optimizer.{name}.{field}" for name in parameters for field in fields]
    assert sorted(names) == sorted(expected)
    with safe_open(last(folder), framework="pt") as file:
        assert json.loads(file.metadata()["identity"]) == IDENTITY
        assert file.metadata()["samples_seen"] == "8"


def test_a_state_of_bare_towers_is_the_same_as_of_compiled_or_distributed_ones(tmp_path, folder):
    towers, optimizer = trained(seed=8)
    save(tmp_path / "compiled", 8, torch.compile(towers), optimizer)
    save(tmp_path / "model", 8, towers.model, optimizer)
    expected = load_file(last(folder))
    for name in ("compiled", "model"):
        found = load_file(last(tmp_path / name))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)


def test_the_last_two_states_are_kept(tmp_path):
    for samples in (5, 10, 100, 99_999_995):
        save(tmp_path, samples, *trained())
    assert sorted(os.listdir(tmp_path)) == [
        "state-000000000100.safetensors",
        "state-000099999995.safetensors",
    ]
    assert load(tmp_path) == 99_999_995


def test_states_later_than_the_newest_good_one_are_dropped(folder):
    last(folder).write_bytes(b"nothing")
    save(folder, 6, *trained())
    assert sorted(os.listdir(folder)) == [
        "state-000000000004.safetensors",
        "state-000000000006.safetensors",
    ]


def test_before_the_first_step_there_is_nothing_to_save(tmp_path):
    save(tmp_path / "checkpoints", 0, *fresh())
    assert not (tmp_path / "checkpoints").exists()


def test_without_a_folder_there_is_no_state_and_nothing_is_changed(tmp_path):
    towers, optimizer = fresh()
    before = bits(towers, optimizer)
    assert load_state(tmp_path / "checkpoints", IDENTITY, towers, optimizer) == 0
    assert bits(towers, optimizer) == before


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.999])
def test_a_truncated_state_is_named_and_the_one_before_is_taken(folder, content, share):
    last(folder).write_bytes(content[: int(share * len(content))])
    with pytest.warns(UserWarning, match=r"state-000000000008\.safetensors is damaged"):
        assert load(folder) == 4


def pass_over_flips(folder, content, places):
    """Flip one bit at each place in turn; the state before must be taken, with one warning."""
    towers, optimizer = fresh()
    for place in places:
        flipped = content[place] ^ (1 << place % 8)
        last(folder).write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            assert load_state(folder, IDENTITY, towers, optimizer) == 4, f"byte {place}"
        assert len(warned) == 1


def test_a_state_with_a_bit_flipped_is_passed_over(folder, content):
    header = 8 + int.from_bytes(content[:8], "little")
    places = [*range(0, header, 31), *range(header, len(content), 211), len(content) - 1]
    pass_over_flips(folder, content, places)


@pytest.mark.slow
def test_a_state_with_any_bit_flipped_is_passed_over(folder, content):
    pass_over_flips(folder, content, range(len(content)))


def test_a_damaged_state_leaves_what_the_one_before_had(folder, content):
    last(folder).write_bytes(content[:-9] + b"\x01" + content[-8:])
    towers, optimizer = fresh()
    with pytest.warns(UserWarning, match="does not have the hash that it states"):
        load_state(folder, IDENTITY, towers, optimizer)
    assert bits(towers, optimizer) == bits(*trained(seed=4))


def test_a_state_under_another_states_name_is_damaged(folder):
    last(folder).rename(folder / "state-000000000012.safetensors")
    with pytest.warns(UserWarning, match="it is of 8 samples, its name says otherwise"):
        assert load(folder) == 4


def test_without_any_good_state_there_is_none(folder):
    for path in folder.iterdir():
        path.write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="is damaged") as warned:
        assert load(folder) == 0
    assert len(warned) == 2


def test_killed_between_write_and_rename_the_states_before_are_untouched(folder):
    towers, optimizer = trained()
    process = os.fork()
    if process == 0:
        os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
        save(folder, 12, towers, optimizer)
    _, status = os.waitpid(process, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert len(list(folder.glob(".state-*.tmp"))) == 1  # whole, but without its name
    (folder / ".milestone-000000000012.safetensors.7.tmp").touch()
    assert load(folder) == 8
    assert not list(folder.glob(".*"))
    save(folder, 12, towers, optimizer)
    assert load(folder) == 12


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".pkl"])
def test_a_pickle_among_the_states_is_an_error_and_never_runs(folder, tmp_path, suffix):
    path = folder / f"state-000000000012{suffix}"
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "owned")))
    with pytest.raises(UserError, match=rf"state-000000000012\{suffix} is a pickle"):
        load(folder)
    assert not (tmp_path / "owned").exists()


def test_a_pickle_that_calls_itself_a_state_is_damaged_and_never_runs(folder, tmp_path):
    torch.save({"model": Malicious(tmp_path / "owned")}, last(folder))
    with pytest.warns(UserWarning, match="is damaged"):
        assert load(folder) == 4
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"learning_rate": 0.2}}, "`training.learning_rate` is 0.1, this run has 0.2"),
        ({"model": {"layers": [1, 2]}}, r"`model.layers` is \[1, 1\], this run has \[1, 2\]"),
        ({"new": None}, "`new` is nothing, this run has None"),
    ],
)
def test_a_state_of_another_identity_names_the_first_differing_key(folder, change, message):
    with pytest.raises(UserError, match=message):
        load(folder, IDENTITY | change)


def test_a_key_that_only_the_state_has_is_named(folder):
    with pytest.raises(UserError, match="`seed` is 0, this run has nothing"):
        load(folder, {key: value for key, value in IDENTITY.items() if key != "seed"})


def test_a_state_of_another_model_names_the_first_differing_tensor(folder):
    message = r"`model.0.weight` is float32 \[4, 3, 3, 3\], this model has float32 \[6, 3, 3, 3\]"
    with pytest.raises(UserError, match=message):
        load_state(folder, IDENTITY, *fresh(width=6))


def test_a_state_without_a_tensor_that_the_model_has_names_it(folder):
    towers, optimizer = fresh()
    towers.model.register_buffer("extra", torch.zeros(2))
    with pytest.raises(UserError, match=r"`model.extra` is absent, this model has float32 \[2\]"):
        load_state(folder, IDENTITY, towers, optimizer)


def test_weights_come_back_to_the_last_bit_and_equal_weights_give_equal_bytes(tmp_path):
    towers, _ = trained(seed=0)
    model = fresh(seed=1)[0].model
    save_weights(tmp_path / "a", towers)
    load_weights(tmp_path / "a", model)
    save_weights(tmp_path / "b", model)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert all(map(torch.equal, model.state_dict().values(), towers.state_dict().values()))


def test_weights_of_another_model_name_the_first_difference(tmp_path):
    save_weights(tmp_path / "a", fresh()[0])
    with pytest.raises(UserError, match=r"`0.weight` is float32 \[4, 3, 3, 3\], this model has"):
        load_weights(tmp_path / "a", fresh(width=6)[0].model)
    save_file(load_file(tmp_path / "a") | {"more": torch.zeros(1)}, tmp_path / "b")
    with pytest.raises(UserError, match=r"`more` is float32 \[1\], this model has absent"):
        load_weights(tmp_path / "b", fresh()[0].model)


def test_weights_that_cannot_be_read_are_an_error(tmp_path):
    (tmp_path / "a").write_bytes(b"nothing")
    with pytest.raises(UserError, match="a is damaged"):
        load_weights(tmp_path / "a", fresh()[0])


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("final.safetensors", "fix: +delete it; the next sweep trains"),
        ("milestone-000000000008.safetensors", "to do without this milestone; or delete .*check:"),
    ],
)
def test_what_to_do_about_damaged_weights_depends_on_what_they_are(name, fix, tmp_path):
    (tmp_path / "check").mkdir()
    (tmp_path / "check" / name).write_bytes(b"damaged")
    with pytest.raises(UserError, match=fix):
        load_weights(tmp_path / "check" / name, fresh()[0])


def test_milestones_are_log_spaced():
    assert milestone_samples(1024 * 8, 8, 10) == [8 * 2**power for power in range(10)]
    assert milestone_samples(10_000, 1, 4) == [1, 10, 100, 1000]
    assert milestone_samples(100, 10, 0) == []


@given(steps=st.integers(1, 10**6), batch=st.integers(1, 512), count=st.integers(0, 200))
def test_milestones_are_distinct_whole_batches_before_the_end(steps, batch, count):
    count = min(count, steps - 1)
    found = milestone_samples(steps * batch, batch, count)
    assert len(set(found)) == count
    assert found == sorted(found)
    assert all(samples % batch == 0 and 0 < samples < steps * batch for samples in found)


def test_more_milestones_than_steps_are_an_error():
    with pytest.raises(UserError, match=r"training\.milestones is 5, and the run has 5 steps"):
        milestone_samples(50, 10, 5)


def test_milestones_are_found_in_order_and_no_state_drops_them(tmp_path):
    for samples in (1000, 20, 3):
        save_weights(milestone_path(tmp_path, samples), fresh()[0])
    for samples in (1, 2, 3000):
        save(tmp_path, samples, *trained())
    assert milestones(tmp_path) == [(n, milestone_path(tmp_path, n)) for n in (3, 20, 1000)]


def plain_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3, bias=False))


def step_plain(towers, optimizer, step):
    """A step on a batch of which every process sees the whole, so that all have one gradient."""
    optimizer.zero_grad()
    generator = torch.Generator().manual_seed(step)
    towers(torch.randn(4, 6, generator=generator)).square().mean().backward()
    optimizer.step()


class Plain(Towers):
    def forward(self, x):
        return self.model(x)


def go_on(folder, kind, start, *, rank=0):
    """Go on from the state of `start` samples for two steps, and write the next state."""
    from torch.distributed.fsdp import fully_shard

    towers = Plain(plain_model())
    if kind == "ddp":
        towers = nn.parallel.DistributedDataParallel(towers)
    if kind == "fsdp":
        fully_shard(towers.model[0])
        fully_shard(towers)
    optimizer = torch.optim.AdamW(towers.parameters(), lr=0.01)
    assert load_state(folder, IDENTITY, towers, optimizer) == start
    for step in range(start, start + 2):
        step_plain(towers, optimizer, step)
    save_state(folder, start + 2, IDENTITY, towers, optimizer, write=rank == 0)
    save_weights(folder / f"weights-{kind}", towers, write=rank == 0)
    if kind != "one":  # the first process has written what the others are going to read
        torch.distributed.barrier()
    return towers, optimizer


def in_one_of_two(rank, folder):
    """Both sharded and whole, go on; a state that the first process refuses ends both."""
    torch.set_num_threads(1)
    place = f"file://{folder.parent}/meeting"
    torch.distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    go_on(folder, "fsdp", 2, rank=rank)
    towers, optimizer = go_on(folder, "ddp", 4, rank=rank)
    with pytest.raises(UserError, match="`seed` is 0" if rank == 0 else "first process"):
        load_state(folder, IDENTITY | {"seed": 1}, towers, optimizer)
    torch.distributed.destroy_process_group()


@pytest.mark.dist
def test_a_state_goes_on_in_any_number_of_processes(tmp_path):
    folder = tmp_path / "handed-on"
    folder.mkdir()
    go_on(folder, "one", 0)
    torch.multiprocessing.spawn(in_one_of_two, (folder,), nprocs=2)
    go_on(folder, "one", 6)
    towers = Plain(plain_model())
    optimizer = torch.optim.AdamW(towers.parameters(), lr=0.01)
    for step in range(8):
        step_plain(towers, optimizer, step)
    found = load_file(folder / "state-000000000008.safetensors")
    for name, value in towers.model.state_dict().items():
        torch.testing.assert_close(found[f"model.{name}"], value, rtol=1e-5, atol=1e-6)
    assert {float(found[name]) for name in found if name.endswith(".step")} == {8.0}
    load_weights(folder / "weights-fsdp", plain_model())
