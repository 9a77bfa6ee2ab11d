"""Training states on disk: whole or absent, the last two kept, a damaged one passed over.

A state is one safetensors file: what the model and the optimizer hold, by the names of the
parameters, so that any number of processes can go on from it. Its metadata has the samples seen,
the run's identity, and a hash over everything. Nothing is ever unpickled: pickles can run code.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from gen.training.states import DIGITS, state_path, states
from splits.errors import UserError
from splits.files import replacing

KEPT = 2
STATE_VERSION = 1
MILESTONE = "milestone-"
PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
WRAPPER = "model."
"""prefix of all names in `gen.training.towers.Towers`"""
REFUSED = -1
"""what the first process tells the others instead of samples seen"""

Tensors = dict[str, torch.Tensor]


class _Damaged(Exception):
    """A state that cannot be used; says why."""


def save_state(
    folder: Path,
    samples_seen: int,
    identity: Mapping[str, Any],
    towers: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    write: bool,
) -> None:
    """Write the state after `samples_seen` samples; drop all but the last KEPT.

    Every process calls this; a state of 0 samples, from which there is nothing to go on, is none.

    Args:
        folder: of the run's checkpoints.
        samples_seen: over all processes.
        identity: everything that decides the run's weights, JSON-able.
        towers: what is trained, wrapped (DDP, FSDP2, compiled) or not.
        optimizer: of its parameters.
        write: whether this process writes; the others only give their shares. The first must.
    """
    if samples_seen == 0:
        return
    tensors = _whole_tensors(towers, optimizer)
    if not write:
        return
    metadata = {
        "format": str(STATE_VERSION),
        "samples_seen": str(samples_seen),
        "identity": _canonical(identity),
    }
    metadata["sha256"] = _digest(tensors, metadata)
    with replacing(state_path(folder, samples_seen)) as temporary:
        save_file(tensors, temporary, metadata)
    _drop_old(folder, samples_seen)


def load_state(
    folder: Path,
    identity: Mapping[str, Any],
    towers: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Put the newest good state into model and optimizer, to the last bit; the samples it has seen.

    Every process calls this, and all take the state that the first one finds good. A damaged state
    is named in a warning, and the one before is taken. Files of states, milestones or weights that
    a killed process had half written are removed, and states that it had no time to drop.

    Returns:
        Samples seen; 0 where there is no good state, and then nothing is changed.

    Raises:
        UserError: the folder has a pickle; the state is another run's, or of another model.
    """
    first = not _in_group() or torch.distributed.get_rank() == 0
    samples_seen = REFUSED
    try:
        if first:
            for left in folder.glob(".*.tmp"):  # by a process that was killed while it wrote
                left.unlink()
            samples_seen = _newest_good(folder, identity)
    finally:  # the others wait for an answer, whatever it is
        samples_seen = _from_first(samples_seen, towers)
    if samples_seen == REFUSED:
        raise UserError("the first process refused the states", where=str(folder))
    if samples_seen > 0:
        path = state_path(folder, samples_seen)
        _fill(_live_tensors(towers, optimizer), _read(path)[1], path)
        if first:
            _drop_old(folder, samples_seen)
    return samples_seen


def save_weights(path: Path, model: nn.Module, *, write: bool = True) -> None:
    """Write a model's weights as safetensors; equal weights give equal bytes.

    Args:
        path: of the file.
        model: a model, or the (wrapped) towers around it; then every process calls this.
        write: whether this process writes.
    """
    weights = _whole_weights(model)
    if write:
        with replacing(path) as temporary:
            save_file(weights, temporary)


def load_weights(path: Path, model: nn.Module) -> None:
    """Read weights written by `save_weights` into a model of the same shape.

    Raises:
        UserError: the file is damaged, or its weights are another model's.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({_first_line(error)})", fix=_mended(path)) from None
    _fill(model.state_dict(), weights, path)


def _mended(path: Path) -> str:
    """What to do about a damaged file of weights."""
    again = "the next sweep trains the run again"
    if path.name.startswith(MILESTONE):  # of a trained run, which is not trained again for it
        return f"delete it, to do without this milestone; or delete {path.parent}: {again}"
    return f"delete it; {again}"


def milestone_samples(total: int, batch: int, count: int) -> list[int]:
    """Samples seen at which weights are kept: log-spaced whole batches, from the first one on.

    Args:
        total: samples that the run sees, whole batches.
        batch: samples of a step.
        count: how many; the end of the run is not among them.

    Raises:
        UserError: the run has fewer steps before its last.
    """
    steps = total // batch
    if count > max(0, steps - 1):
        raise UserError(
            f"training.milestones is {count}, and the run has {steps} steps",
            expected=f"at most {max(0, steps - 1)}",
        )
    chosen: list[int] = []
    for place in range(count):
        nearest = round(steps ** (place / count))
        chosen.append(max(nearest, chosen[-1] + 1 if chosen else 1))
    return [step * batch for step in chosen]


def milestone_path(folder: Path, samples_seen: int) -> Path:
    """Where the weights after `samples_seen` samples are kept."""
    return folder / f"{MILESTONE}{samples_seen:0{DIGITS}d}.safetensors"


def milestones(folder: Path) -> list[tuple[int, Path]]:
    """(samples seen, file) of the weights kept on the way, in order."""
    found = folder.glob(f"{MILESTONE}*.safetensors")
    return sorted((int(path.stem.removeprefix(MILESTONE)), path) for path in found)


def _newest_good(folder: Path, identity: Mapping[str, Any]) -> int:
    """Samples seen of the newest state that is not damaged; 0 where there is none."""
    for path in sorted(folder.glob("*")):
        if path.suffix in PICKLES:
            raise UserError(
                f"{path} is a pickle; it can run code and is not opened",
                expected="states as state-<samples seen>.safetensors",
                fix="delete it or move it elsewhere",
            )
    for path in reversed(states(folder)):
        try:
            metadata, _ = _read(path)
        except _Damaged as error:
            warnings.warn(f"{path} is damaged ({error}); it is passed over", stacklevel=3)
            continue
        _check_identity(json.loads(metadata["identity"]), identity, path)
        return int(metadata["samples_seen"])
    return 0


def _read(path: Path) -> tuple[dict[str, str], Tensors]:
    """Metadata and tensors of a state whose hash is right."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise _Damaged(_first_line(error)) from None
    expected = metadata.pop("sha256", None)
    if _digest(tensors, metadata) != expected:
        raise _Damaged("its content does not have the hash that it states")
    if metadata["format"] != str(STATE_VERSION):
        raise UserError(
            f"{path} has format {metadata['format']}",
            expected=f"format {STATE_VERSION}",
            fix="delete it, or go on with the version of clipgen that wrote it",
        )
    if path != state_path(path.parent, int(metadata["samples_seen"])):
        raise _Damaged(f"it is of {metadata['samples_seen']} samples, its name says otherwise")
    return metadata, tensors


def _check_identity(found: Any, identity: Mapping[str, Any], path: Path) -> None:
    """Raise where a state's identity is not the run's."""
    wanted = json.loads(_canonical(identity))
    for key, ours in _leaves(wanted):
        theirs = dict(_leaves(found)).get(key, "nothing")
        if theirs != ours:
            raise _of_another_run(path, key, theirs, ours)
    for key, theirs in _leaves(found):
        if key not in dict(_leaves(wanted)):
            raise _of_another_run(path, key, theirs, "nothing")


def _of_another_run(path: Path, key: str, theirs: object, ours: object) -> UserError:
    return UserError(
        f"{path.name} is another run's: its `{key}` is {theirs}, this run has {ours}",
        where=str(path),
        fix=f"set `{key}` to {theirs} to go on with it, or delete {path.parent} to begin anew",
    )


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings; a list is one value."""
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _whole_tensors(towers: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """All tensors of a state, whole and in the processor's memory (of the first process)."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_optimizer_state_dict(towers, optimizer, options=options).get("state", {})
    tensors = {f"model.{name}": value for name, value in _whole_weights(towers).items()}
    return tensors | {name: value.contiguous() for name, value in _optimizer_tensors(state)}


def _whole_weights(model: nn.Module) -> Tensors:
    """All weights, whole and in the processor's memory (of the first process)."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = _unwrapped(get_model_state_dict(model, options=options))
    return {name: value.contiguous() for name, value in weights.items()}


def _live_tensors(towers: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """The tensors, or shares of them, that model and optimizer work with, by names in a state.

    The optimizer's are made here if it has none yet, by a step of length 0.
    """
    from torch.distributed.checkpoint.state_dict import (
        get_model_state_dict,
        get_optimizer_state_dict,
    )

    state = get_optimizer_state_dict(towers, optimizer)["state"]
    weights = _unwrapped(get_model_state_dict(towers))
    tensors = {f"model.{name}": value for name, value in weights.items()}
    return tensors | dict(_optimizer_tensors(state))


def _optimizer_tensors(state: Any) -> Iterator[tuple[str, torch.Tensor]]:
    for name, fields in _unwrapped(state).items():
        for field, value in fields.items():
            yield f"optimizer.{name}.{field}", value


def _unwrapped(by_name: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the model's own names, without the prefix of the towers around it."""
    inside = all(name.startswith(WRAPPER) for name in by_name)
    return {name.removeprefix(WRAPPER) if inside else name: by_name[name] for name in by_name}


@torch.no_grad()
def _fill(live: Mapping[str, torch.Tensor], tensors: Tensors, path: Path) -> None:
    """Copy tensors of a file into those of the same names, whose place and layout stay."""
    for name in [*live, *tensors]:
        ours, theirs = _form(live.get(name)), _form(tensors.get(name))
        if ours != theirs:
            raise UserError(
                f"{path.name} is of another model: its `{name}` is {theirs}, this model has {ours}",
                where=str(path),
                fix=f"delete it, or use the configuration and the version that made {path.name}",
            )
    for name, value in live.items():
        if isinstance(value, DTensor):  # every process takes its share, without a word
            placed = tensors[name].to(value.device)
            mesh, placements = value.device_mesh, value.placements
            value.copy_(distribute_tensor(placed, mesh, placements, src_data_rank=None))
        else:
            value.copy_(tensors[name])


def _form(tensor: torch.Tensor | None) -> str:
    """Type and shape of a tensor, for comparison and for people."""
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _digest(tensors: Tensors, metadata: Mapping[str, str]) -> str:
    """sha256 over metadata, and over name, type, shape and bytes of every tensor."""
    digest = hashlib.sha256(_canonical(metadata).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {_form(tensors[name])}\n".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)


def _drop_old(folder: Path, newest: int) -> None:
    """Keep the last states up to `newest`; later ones were damaged and passed over."""
    good = [path for path in states(folder) if path <= state_path(folder, newest)]
    for path in set(states(folder)).difference(good[-KEPT:]):
        path.unlink()


def _in_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _from_first(samples_seen: int, towers: nn.Module) -> int:
    """The number that the first process has, wherever its tensors can be sent."""
    if not _in_group():
        return samples_seen
    number = torch.tensor(samples_seen, device=next(towers.parameters()).device)
    torch.distributed.broadcast(number, src=0)
    return int(number)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
