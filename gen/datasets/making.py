"""The commands that make a dataset, as a message offers them: they can be copied into a shell."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gen.config import CONFIGS, load_config, resolved
from gen.schema import DatasetKind, ImportConfig
from splits.errors import UserError, unknown

MODELS = {DatasetKind.icons.name: "icons-small", DatasetKind.scenes.name: "scenes"}
"""by its kind a rendered dataset of which any other one is a variation"""
NEEDED = {
    DatasetKind.folder: {"natural": "DOMAIN", "pixels": "224"},
    DatasetKind.tsv: {"table": "FILE.tsv", "pixels": "224"},
    DatasetKind.webdataset: {"pixels": "224"},
}
"""keys that an import without a configuration must have on the command line, with examples"""


def building_folder(target: Path) -> Path:
    """Where a dataset is while it is being built."""
    return target.with_name(f".{target.name}.building")


def configured_names() -> list[str]:
    """Names of the datasets in `configs/datasets`."""
    return sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))


def missing_dataset(name: str, data: Path) -> UserError:
    """The error (not raised) for a dataset that is not in `data`."""
    command, building = making_command(name, data), building_folder(data / name)
    if building.is_dir():
        verb = "import" if " import " in command else "build"
        return UserError(
            f"dataset `{name}` is not whole: its {verb} was broken off, or goes on still",
            where=str(building),
            fix=f"start the same {verb} again, it goes on where it stopped: {command}",
        )
    known = configured_names()
    if name in known:
        return UserError(f"dataset `{name}` is not built", where=str(data / name), fix=command)
    made = [path.parent.name for path in sorted(data.glob("[!.]*/manifest.json"))]
    error = unknown("dataset", name, dict.fromkeys([*made, *known]))
    return UserError(
        f"{error.found}: it is neither built nor configured",
        expected=error.expected,
        where=str(data / name),
        fix=command,
    )


def making_command(name: str, data: Path) -> str:
    """The command that makes the dataset `data/name` as it was, or as it is configured."""
    made, rejected = _made_with(name, data)
    base = resolved(load_config("datasets", name)) if name in configured_names() else None
    config = made or base
    if config is None:
        overrides = [f"{key}={value}" for key, value in NEEDED[DatasetKind.folder].items()]
        return _command("import", name, data, overrides)
    model = MODELS.get(config["kind"])
    if base is None or MODELS.get(base["kind"]) != model:
        base = resolved(load_config("datasets", model) if model else ImportConfig(name=name))
    overrides = [as_override(key, value) for key, value in config.items() if base.get(key) != value]
    if rejected > base.get("max_rejected", rejected):
        overrides.append(f"max_rejected={rejected}")
    return _command("build" if model else "import", str(base["name"]), data, overrides)


def verifying_command(folder: Path) -> str:
    """The command that checks the dataset in `folder`."""
    return " ".join(["clipgen dataset verify", shlex.quote(folder.name), *_place(folder.parent)])


def as_override(key: str, value: Any) -> str:
    """`KEY=VALUE`, quoted for a shell, that the command line reads as that value."""
    return shlex.quote(f"{key}=" + ("" if value == "" else _flow(value)))


def _command(verb: str, name: str, data: Path, overrides: list[str]) -> str:
    source = ["--from DIR"] if verb == "import" else []
    words = ["clipgen dataset", verb, shlex.quote(name), *source, *_place(data), *overrides]
    return " ".join(words)


def _place(data: Path) -> list[str]:
    return [] if str(data) == "data" else [f"--data {shlex.quote(str(data))}"]


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_word(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return _word(value) if isinstance(value, str) else json.dumps(value)


def _word(text: str) -> str:
    """A text in one-line YAML; in quotation marks where it would be read as something else."""
    try:
        typed = [f"alone={text}", f"inside={{{text}: [{text}]}}"]  # `-` alone begins a list
        read = OmegaConf.to_container(OmegaConf.from_dotlist(typed))
    except Exception:  # YAML errors come in many types
        read = None
    plain = read == {"alone": text, "inside": {text: [text]}}
    return text if plain else json.dumps(text, ensure_ascii=False)


def _made_with(name: str, data: Path) -> tuple[dict[str, Any] | None, int]:
    """Configuration of a dataset that stands or is half built, and the bad images it left out."""
    for path in (data / name / "manifest.json", building_folder(data / name) / "plan.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            config = dict(content["config"])
            DatasetKind[config["kind"]]
            return config, sum(content.get("rejected", {}).values())
        except (OSError, ValueError, TypeError, KeyError, AttributeError):  # not there, or damaged
            continue
    return None, 0
