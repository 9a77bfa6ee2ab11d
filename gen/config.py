"""The one way to load a configuration.

A configuration is a dataclass of `gen.schema`, filled from a YAML file in `configs/` and then from
`key=value` pairs of the command line. Unknown keys and wrong types are errors that name the key,
the file and the nearest valid name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    OmegaConfBaseException,
    UnsupportedValueType,
)

from gen.schema import (
    CoverageConfig,
    DatasetKind,
    HeldOutList,
    IconsConfig,
    ImportConfig,
    ModelConfig,
    ResourcesConfig,
    ScenesConfig,
    StudyConfig,
)
from splits.errors import UserError, unknown

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

SCHEMAS: dict[str, type] = {
    "coverage": CoverageConfig,
    "datasets": ImportConfig,
    "held_out": HeldOutList,
    "models": ModelConfig,
    "profiles": ResourcesConfig,
    "studies": StudyConfig,
}
RENDERED: dict[str, type] = {
    DatasetKind.icons.name: IconsConfig,
    DatasetKind.scenes.name: ScenesConfig,
}
"""schemas of datasets that are made here, by their kind"""
SINGULAR = {
    "coverage": "coverage sweep",
    "datasets": "dataset",
    "held_out": "list of held-out classes",
    "models": "model",
    "profiles": "profile",
    "studies": "study",
}


def load_config(kind: str, name: str, overrides: Sequence[str] = ()) -> Any:
    """Load `configs/KIND/NAME.yaml` (or the YAML file at path `name`) with `key=value` overrides.

    Args:
        kind: `coverage`, `datasets`, `held_out`, `models`, `profiles` or `studies`.
        name: name of a configuration of that kind, or path of a YAML file.
        overrides: `key=value` pairs, keys with dots for nested values.

    Returns:
        An instance of the schema of that kind, complete and typed.

    Raises:
        UserError: the file is missing or broken, a key is unknown or missing, a type is wrong.
    """
    path = config_path(kind, name)
    return make_config(kind, _read_yaml(path), overrides, where=str(path))


def make_config(kind: str, content: Any, overrides: Sequence[str], *, where: str) -> Any:
    """Turn the content of a file (a mapping) and `key=value` overrides into a configuration.

    Args:
        kind, overrides: as in `load_config`.
        content: keys and values.
        where: where they come from, for errors.
    """
    content = OmegaConf.create(content)
    schema = schema_of(kind, content)
    return _make(_defaults(schema), content, overrides, schema, where=where)


def changed_config(kind: str, config: Any, name: str, overrides: Sequence[str] = ()) -> Any:
    """A configuration with those keys changed that a file names, and then the overrides.

    Args:
        kind, name, overrides: of the file, as in `load_config`.
        config: to be changed; an instance of the schema of that kind.
    """
    path = config_path(kind, name)
    content, before = _read_yaml(path), OmegaConf.structured(config)
    return _make(before, content, overrides, SCHEMAS[kind], where=str(path))


@cache
def _defaults(schema: type) -> Any:
    """A schema's defaults, into a copy of which files are merged."""
    return OmegaConf.structured(schema)


def _make(config: Any, content: Any, overrides: Sequence[str], schema: type, *, where: str) -> Any:
    """A configuration with the content of a file, and then the overrides, merged into it."""
    config = _merge(config, content, schema, where=where)
    for override in overrides:
        if "=" not in override or override.startswith("="):
            raise UserError(
                f"`{override}` is not a setting of a key",
                expected="key=value, for example training.batch_size=128",
                where="the command line",
            )
        try:
            layer = OmegaConf.from_dotlist([override])
        except Exception as error:  # YAML errors of the value come in many types
            raise UserError(f"`{override}`: {error}", where="the command line") from None
        key, _, value = override.partition("=")
        if not value:  # an empty text, not an absent value
            OmegaConf.update(layer, key, "")
        config = _merge(config, layer, schema, where=f"the command line: {override}")
    return _complete(config, where)


def schema_of(kind: str, content: Any) -> type:
    """The schema of a file's content: every kind of rendered dataset has one of its own."""
    rendered = RENDERED.get(str(content.get("kind"))) if kind == "datasets" else None
    return rendered or SCHEMAS[kind]


def config_path(kind: str, name: str) -> Path:
    """Path of a configuration given by name or by path."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"there is no file {path}", expected="a YAML file")
        return path
    path = CONFIGS / kind / f"{name}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in (CONFIGS / kind).glob("*.yaml"))
        raise unknown(SINGULAR[kind], name, names, where=str(CONFIGS / kind))
    return path


def resolved(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON-able values, enums by name."""
    return {field.name: _plain(getattr(config, field.name)) for field in fields(config)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return resolved(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.name if isinstance(value, Enum) else value


def _read_yaml(path: Path) -> Any:
    try:
        content = OmegaConf.load(path)
    except Exception as error:  # the YAML reader raises its own kinds; all mean "not YAML"
        raise UserError(f"{path} is not readable as YAML: {error}", where=str(path)) from None
    if not OmegaConf.is_dict(content):
        raise UserError(f"{path} holds no mapping of keys to values", where=str(path))
    return content


def _merge(config: Any, layer: Any, schema: type, *, where: str) -> Any:
    _check_shapes(OmegaConf.to_container(layer), schema, where=where)
    try:
        return OmegaConf.merge(config, layer)
    except ConfigKeyError as error:
        key = str(error.full_key)
        raise unknown("key", key, _keys_beside(key, schema), where=where) from None
    except (UnsupportedValueType, OmegaConfBaseException) as error:
        message = str(error.msg or error).split("\n")[0]
        raise UserError(f"key `{error.full_key}`: {message}", where=where) from None


def _check_shapes(values: Any, schema: type, prefix: str = "", *, where: str) -> None:
    """Lists stand where lists belong, and mappings where keys of their own belong."""
    hints = get_type_hints(schema)
    for name, value in values.items():
        kind, key = hints.get(name), f"{prefix}{name}"
        if value in (None, MISSING):
            continue
        inner: list[Any] = [item for item in get_args(kind) if is_dataclass(item)]
        if get_origin(kind) is list:
            _check_list(value, kind, key, where)
        if isinstance(kind, type) and is_dataclass(kind):
            _check_mapping(value, _keys(kind, f"{key}."), key, where)
            _check_shapes(value, kind, f"{key}.", where=where)
        if get_origin(kind) is dict:
            _check_mapping(value, [f"{key}.NAME"], key, where)
            _check_lists_by_name(value, kind, key, where)
        if get_origin(kind) is dict and inner:
            for given, content in value.items():
                _check_mapping(content, _keys(inner[0], f"{key}.{given}."), f"{key}.{given}", where)
                _check_shapes(content, inner[0], f"{key}.{given}.", where=where)


def _check_list(value: Any, kind: Any, key: str, where: str) -> None:
    """A list of values, or of mappings where the schema has these."""
    if not isinstance(value, list):
        raise UserError(f"key `{key}` is {value}", expected=f"a list: [{value}]", where=where)
    (item,) = get_args(kind)
    if get_origin(item) is dict:
        for number, content in enumerate(value):
            _check_mapping(content, [f"{key}[{number}].NAME"], f"{key}[{number}]", where)
    elif not is_dataclass(item) and any(isinstance(content, list | dict) for content in value):
        raise UserError(f"key `{key}` is {value}", expected="a list of values", where=where)


def _check_lists_by_name(values: Any, kind: Any, key: str, where: str) -> None:
    """Every name of a mapping to lists has a list; a name with dots is written in braces."""
    if get_origin(get_args(kind)[1]) is not list:
        return
    for given, content in values.items():
        expected = f"a list: [{content}]"
        if isinstance(content, dict):
            expected = f"a list, as in {key}={{{given}.{next(iter(content), 'NAME')}: […]}}"
        if not isinstance(content, list):
            found = f"key `{key}.{given}` is {content}"
            raise UserError(found, expected=expected, where=where)


def _check_mapping(value: Any, keys: list[str], key: str, where: str) -> None:
    if not isinstance(value, dict):
        expected = f"keys: {', '.join(keys)}"
        raise UserError(f"key `{key}` is {value}", expected=expected, where=where)


def _complete(config: Any, where: str) -> Any:
    """Turn a merged configuration into its dataclass; missing values are errors."""
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(
            f"key `{missing[0]}` has no value" + f" (nor have {missing[1:]})" * bool(missing[1:]),
            where=where,
            fix=f"add `{missing[0]}:` to the file, or {missing[0]}=… to the command line",
        )
    try:
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere, for example
        raise UserError(str(error).splitlines()[0], where=where) from None


def _keys_beside(key: str, schema: type) -> list[str]:
    """Keys that could have been meant by an unknown one."""
    first, *rest = key.split(".")
    inner = [kind for kind in get_args(get_type_hints(schema).get(first)) if is_dataclass(kind)]
    if len(rest) > 1 and inner:  # a mapping of names to settings of their own
        return _keys(inner[0], f"{first}.{rest[0]}.")  # type: ignore[arg-type]
    return _keys(schema)


def _keys(schema: type, prefix: str = "") -> list[str]:
    """All dotted keys of a schema."""
    hints = get_type_hints(schema)
    keys: list[str] = []
    for item in fields(schema):
        keys.append(prefix + item.name)
        if is_dataclass(hints[item.name]):
            keys += _keys(hints[item.name], f"{prefix}{item.name}.")
    return keys
