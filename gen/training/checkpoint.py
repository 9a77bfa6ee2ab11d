"""Training states on disk: whole or absent, the last two kept, a damaged one passed over."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from splits.files import replacing

KEPT = 2


def save_state(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state after `step` steps; drop all but the last KEPT."""
    state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    with replacing(folder / f"state-{step:08d}.pt") as temporary:
        torch.save(state, temporary)
    for old in _states(folder)[:-KEPT]:
        os.unlink(old)


def load_state(folder: Path) -> dict[str, Any] | None:
    """The newest state that can be read, or None; damaged ones are named in a warning."""
    for path in reversed(_states(folder)):
        try:
            return torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # a damaged pickle fails in any of a dozen ways
            warnings.warn(
                f"{path} is damaged ({error}); going back to the one before", stacklevel=2
            )
    return None


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's weights as safetensors."""
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    with replacing(path) as temporary:
        save_file(weights, temporary)


def load_weights(path: Path, model: nn.Module) -> None:
    """Read weights written by `save_weights` into a model of the same shape."""
    model.load_state_dict(load_file(path))


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("state-*.pt"))
