"""The ways to train that a study may name: keys in which its arms may differ, and their values.

These keys are `model` and the keys of `training` that hold one value and decide weights. A value is
checked where every configuration is: by loading the study with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gen.config import resolved
from gen.runs import NOT_IDENTITY
from gen.schema import StudyConfig
from splits.errors import UserError, unknown

Values = dict[str, Any]
"""values by dotted keys, as they stand in JSON"""
Load = Callable[[tuple[str, ...]], StudyConfig]
"""loads a study with `key=value` pairs besides its own"""

MODEL, TRAINING, STREAM = "model", "training.", "training.stream."
TEXT_SHARE = "training.text_pairs.share"
NOT_IN_LABELS = r"[^\w.-]"


def values_of(config: StudyConfig) -> Values:
    """The values of all keys in which arms may differ, in the order of the schema."""
    leaves = dict(_leaves(resolved(config.training), TRAINING))
    differing = {key: value for key, value in leaves.items() if _decides(key)}
    return {MODEL: config.model} | differing


def check_key(key: str, known: Iterable[str], where: str) -> None:
    """Refuse a key that is not among the known ones.

    Raises:
        UserError: it is unknown, or decides no weights.
    """
    if key.startswith(TRAINING) and not _decides(key):
        raise UserError(
            f"key `{key}` decides no weights, and tells no arms apart",
            where=where,
            fix=f"set {key} for the whole study",
        )
    if key not in known:
        raise unknown("key", key, known, where=where)


def checked_value(key: str, value: Any, load: Load, where: str) -> Any:
    """A value of a key as the schema has it.

    Raises:
        UserError: it is not one value, or of a wrong type.
    """
    if value is None or isinstance(value, list | dict):
        raise UserError(
            f"a value of `{key}` is {value}", expected="a name or a number", where=where
        )
    return values_of(loaded({key: value}, load, where))[key]


def loaded(named: Values, load: Load, where: str) -> StudyConfig:
    """The study with these values instead of its own.

    Raises:
        UserError: one of them is wrong; told as being at `where`.
    """
    try:
        return load(tuple(f"{key}={json.dumps(value)}" for key, value in named.items()))
    except UserError as error:
        raise placed(error, where) from None


def placed(error: UserError, where: str) -> UserError:
    """The same error, found elsewhere."""
    return UserError(error.found, expected=error.expected, where=where, fix=error.fix)


def label_of(values: Values, keys: Iterable[str]) -> str:
    """What an arm is called: its values of `keys`, in the order of the schema, joined by `-`."""
    keys = set(keys)
    return "-".join(_told(key, value) for key, value in values.items() if key in keys)


def _told(key: str, value: Any) -> str:
    """A name as it is (of a model's file its stem); a number behind the last part of its key."""
    if isinstance(value, str):
        text = Path(value).stem if key == MODEL and value.endswith((".yaml", ".yml")) else value
    else:
        text = key.rpartition(".")[2] + str(value).lower()
    return re.sub(NOT_IN_LABELS, "_", text)


def _decides(key: str) -> bool:
    return key.removeprefix(TRAINING) not in NOT_IDENTITY


def _leaves(content: Values, prefix: str) -> Iterable[tuple[str, Any]]:
    """Dotted keys and values of nested mappings; lists are left out."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield prefix + key, value
