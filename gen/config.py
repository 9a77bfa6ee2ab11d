"""The schema of every configuration, and the one way to load it.

A configuration is a dataclass below, filled from a YAML file in `configs/` and then from
`key=value` pairs of the command line. Unknown keys and wrong types are errors that name the key,
the file and the nearest valid name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    OmegaConfBaseException,
    UnsupportedValueType,
)

from splits.errors import UserError, unknown

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

Schema = TypeVar("Schema")


@dataclass
class DatasetConfig:
    """An icons dataset: which classes and domains, how many images, how large."""

    name: str = MISSING
    classes: int = MISSING
    """number of classes, drawn evenly over the super-categories; 0 means all"""
    domains: list[str] = MISSING
    drawings_per_family: int = 0
    """drawings of a class by one artist family, the first of its list; 0 means all"""
    natural: str = "real"
    """the domain that stands for ordinary photographs"""
    train: int = MISSING
    """images per (domain, class) cell in the training split"""
    test: int = MISSING
    """images per cell of the test split whose artist families training shows"""
    test_unseen_drawing: int = MISSING
    """images per cell by an artist family that training never shows, where a class has three"""
    pixels: int = MISSING
    """height and width of an image"""
    seed: int = 0


class VisionKind(Enum):
    """The image towers of open_clip that we configure."""

    resnet = "resnet"
    vit = "vit"


@dataclass
class VisionConfig:
    """Image tower (open_clip's ModifiedResNet or VisionTransformer)."""

    kind: VisionKind = MISSING
    layers: list[int] = MISSING
    """blocks of each of the four stages (resnet), or the one depth (vit)"""
    width: int = MISSING
    head_width: int = 64
    patch_size: int = 0
    """pixels per patch side (vit only)"""


@dataclass
class TextConfig:
    """Text tower (open_clip's transformer); its context is as long as the longest caption."""

    layers: int = MISSING
    width: int = MISSING
    heads: int = MISSING


@dataclass
class ModelConfig:
    """A CLIP model."""

    embed_dim: int = MISSING
    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)


class Precision(Enum):
    """Arithmetic of the towers; `auto` takes bf16 where the processor is fast at it."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


@dataclass
class TrainingConfig:
    """How every model of a study is trained: the same number of samples seen for all."""

    samples_seen: int = MISSING
    batch_size: int = 256
    learning_rate: float = 1e-3
    warmup: float = 0.05
    """share of the samples seen over which the learning rate rises; a cosine then lowers it to 0"""
    weight_decay: float = 0.2
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-6
    crop_area: float = 0.9
    """smallest share of the image's area that a random resized crop keeps"""
    flip: bool = True
    """mirror half of the images"""
    precision: Precision = Precision.auto
    log_every: int = 20
    """steps between lines of metrics.jsonl; not part of a run's identity"""
    checkpoint_every: int = 100
    """steps between checkpoints; not part of a run's identity"""


@dataclass
class HeldOutConfig:
    """Classes removed from the test domain: a list, or a stratified draw of `count`."""

    classes: list[str] = field(default_factory=list)
    count: int = 0
    seed: int = 0


@dataclass
class StudyConfig:
    """A grid of runs: test domains × settings × seeds."""

    name: str = MISSING
    dataset: str = MISSING
    """name of a dataset that is built"""
    model: str = MISSING
    """name of a file in configs/models"""
    test_domains: list[str] = MISSING
    settings: list[str] = MISSING
    held_out: HeldOutConfig = field(default_factory=HeldOutConfig)
    caption: str = "caption"
    """caption column of the sample table: `caption`, or `caption_aligned` (never names a domain)"""
    mixture_seed: int = 0
    """seed of the choice of samples in a mixture"""
    seeds: list[int] = field(default_factory=lambda: [0])
    """seeds of training: initial weights, order and augmentation"""
    training: TrainingConfig = field(default_factory=TrainingConfig)


SCHEMAS: dict[str, type] = {
    "datasets": DatasetConfig,
    "models": ModelConfig,
    "studies": StudyConfig,
}


def load_config(kind: str, name: str, overrides: Sequence[str] = ()) -> Any:
    """Load `configs/KIND/NAME.yaml` (or the YAML file at path `name`) with `key=value` overrides.

    Args:
        kind: `datasets`, `models` or `studies`.
        name: name of a configuration of that kind, or path of a YAML file.
        overrides: `key=value` pairs, keys with dots for nested values.

    Returns:
        An instance of the schema of that kind, complete and typed.

    Raises:
        UserError: the file is missing or broken, a key is unknown or missing, a type is wrong.
    """
    path = config_path(kind, name)
    schema = SCHEMAS[kind]
    config = OmegaConf.structured(schema)
    config = _merge(config, _read_yaml(path), schema, where=str(path))
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
        config = _merge(config, layer, schema, where=f"the command line: {override}")
    return _complete(config, path)


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
        singular = {"datasets": "dataset", "models": "model", "studies": "study"}[kind]
        raise unknown(singular, name, names, where=str(CONFIGS / kind))
    return path


def resolved(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON-able values, enums by name."""
    return OmegaConf.to_container(  # type: ignore[return-value]
        OmegaConf.structured(config), resolve=True, enum_to_str=True
    )


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
        raise unknown("key", key, _keys(schema), where=where) from None
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
        if get_origin(kind) is list and not isinstance(value, list):
            raise UserError(f"key `{key}` is {value}", expected=f"a list: [{value}]", where=where)
        if isinstance(value, list) and any(isinstance(item, (list, dict)) for item in value):
            raise UserError(f"key `{key}` is {value}", expected="a list of values", where=where)
        if isinstance(kind, type) and is_dataclass(kind):
            if not isinstance(value, dict):
                inner = ", ".join(_keys(kind, f"{key}."))
                raise UserError(f"key `{key}` is {value}", expected=f"keys: {inner}", where=where)
            _check_shapes(value, kind, f"{key}.", where=where)


def _complete(config: Any, path: Path) -> Any:
    """Turn a merged configuration into its dataclass; missing values are errors."""
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(
            f"key `{missing[0]}` has no value" + f" (nor have {missing[1:]})" * bool(missing[1:]),
            where=str(path),
            fix=f"add `{missing[0]}:` to the file, or {missing[0]}=… to the command line",
        )
    try:
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere, for example
        raise UserError(str(error).splitlines()[0], where=str(path)) from None


def _keys(schema: type, prefix: str = "") -> list[str]:
    """All dotted keys of a schema."""
    hints = get_type_hints(schema)
    keys: list[str] = []
    for item in fields(schema):
        keys.append(prefix + item.name)
        if is_dataclass(hints[item.name]):
            keys += _keys(hints[item.name], f"{prefix}{item.name}.")
    return keys
