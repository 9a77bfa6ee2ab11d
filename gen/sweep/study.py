"""A study: the grid (test domains × settings × seeds) → mixtures → runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from omegaconf import OmegaConf

from gen.config import ModelConfig, StudyConfig, load_config, resolved
from gen.datasets.samples import Dataset, load_dataset
from gen.runs import Run, identity, run_name
from splits.errors import UserError, unknown
from splits.files import write_text
from splits.held_out import check_held_out, draw_held_out
from splits.mixture import Mixture, build_mixture, load_mixture, save_mixture
from splits.settings import SETTINGS, World

MIN_CLASSES = 5
"""what comparing domains by their class means needs"""
CAPTIONS = ("caption", "caption_aligned")


@dataclass(frozen=True)
class Study:
    """A study with everything resolved: its dataset, held-out classes, mixtures and runs."""

    config: StudyConfig
    model: ModelConfig
    dataset: Dataset
    held_out: tuple[str, ...]
    folder: Path
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        return self.config.name


def load_study(name: str, overrides: Sequence[str], *, data: Path, runs: Path) -> Study:
    """Load a study and plan its runs; writes nothing.

    Args:
        name: a name in configs/studies, or the path of a YAML file.
        overrides: `key=value` pairs.
        data: folder of all datasets.
        runs: folder of all studies.

    Raises:
        UserError: anything in the configuration is wrong, or the dataset is not there.
    """
    config: StudyConfig = load_config("studies", name, overrides)
    _check(config)
    model: ModelConfig = load_config("models", config.model)
    dataset = load_dataset(config.dataset, data)
    _check_dataset(dataset)
    held_out = _held_out(config, dataset)
    folder = runs / config.name
    return Study(
        config, model, dataset, held_out, folder, _plan(config, model, dataset, held_out, folder)
    )


def mixture_folder(study_folder: Path, mixture: Mixture) -> Path:
    """Where a study keeps a mixture."""
    return study_folder / "mixtures" / f"{mixture.setting}.{mixture.test_domain}"


def save_study(study: Study) -> None:
    """Write the resolved configuration and every mixture that is not there yet."""
    config = {"study": resolved(study.config), "model": resolved(study.model)}
    write_text(study.folder / "study.yaml", OmegaConf.to_yaml(config))
    for run in study.runs:
        for mixture in run.mixtures.values():
            folder = mixture_folder(study.folder, mixture)
            if not _is_saved(mixture, folder):
                save_mixture(mixture, folder, study.dataset.samples)


def find_run(study: Study, name: str) -> Run:
    """The run of that name, or of the only name that starts so."""
    matches = [run for run in study.runs if run.name.startswith(name)]
    if len(matches) != 1:
        names = [run.name for run in study.runs]
        raise unknown("run", name, names, where=f"study {study.name}")
    return matches[0]


def _is_saved(mixture: Mixture, folder: Path) -> bool:
    if not (folder / "manifest.json").is_file():
        return False
    try:
        saved = load_mixture(folder)
    except UserError:  # damaged: written again from the table, which is its source
        return False
    return saved.sha256 == mixture.sha256 and saved.held_out == mixture.held_out


def _plan(
    config: StudyConfig,
    model: ModelConfig,
    dataset: Dataset,
    held_out: tuple[str, ...],
    folder: Path,
) -> tuple[Run, ...]:
    """Every (setting, seed) once per distinct mixture."""
    train = dataset.samples.filter(pl.col("split") == "train")
    world = World(dataset.domains, dataset.classes, dataset.natural)
    runs = []
    for setting in config.settings:
        shared: dict[str, dict[str, Mixture]] = {}
        for test_domain in config.test_domains:
            mixture = build_mixture(
                train,
                setting=setting,
                world=world,
                test_domain=test_domain,
                held_out=held_out,
                seed=config.mixture_seed,
                caption=config.caption,
                dataset_sha256=dataset.sha256,
            )
            shared.setdefault(mixture.sha256, {})[test_domain] = mixture
        for mixtures in shared.values():
            mixture = next(iter(mixtures.values()))
            for seed in config.seeds:
                key = identity(model, config.training, seed, mixture)
                name = run_name(setting, list(mixtures), seed, key)
                runs.append(Run(folder / name, setting, mixtures, model, config.training, seed))
    return tuple(runs)


def _check_dataset(dataset: Dataset) -> None:
    """Refuse before training what could not be analysed after it."""
    test = dataset.samples.filter(pl.col("split") == "test")
    cells = test.group_by("domain", "class_name").len()
    whole = cells.height == len(dataset.domains) * len(dataset.classes)
    if not whole or cells["len"].min() < 2 or len(dataset.classes) < MIN_CLASSES:  # type: ignore[operator]
        raise UserError(
            f"dataset `{dataset.name}` is too small for a study",
            expected=f"at least {MIN_CLASSES} classes, and two test images per domain and class",
            where=str(dataset.folder),
        )


def _held_out(config: StudyConfig, dataset: Dataset) -> tuple[str, ...]:
    wanted = config.held_out
    if bool(wanted.classes) == bool(wanted.count):
        raise UserError(
            "the held-out classes are given "
            + ("twice: as a list and as a count" if wanted.count else "neither as list nor count"),
            expected="held_out.classes=[…] or held_out.count=…",
            where=f"study {config.name}",
        )
    if wanted.classes:
        check_held_out(wanted.classes, dataset.classes)
        return tuple(sorted(wanted.classes))
    return draw_held_out(dataset.super_categories, wanted.count, wanted.seed)


def _check(config: StudyConfig) -> None:
    """What the schema cannot say: names, ranges, repetitions."""
    where = f"study {config.name}"
    for setting in config.settings:
        if setting not in SETTINGS:
            raise unknown("setting", setting, SETTINGS, where=where)
    if config.caption not in CAPTIONS:
        raise unknown("caption column", config.caption, CAPTIONS, where=where)
    for key in ("test_domains", "settings", "seeds"):
        values = getattr(config, key)
        if not values or len(set(values)) != len(values):
            raise UserError(
                f"key `{key}` is {values}", expected="one or more values, each once", where=where
            )
    if not re.fullmatch(r"\w[\w.-]*", config.name):
        raise UserError(
            f"key `name` is {config.name!r}",
            expected="letters, digits, `_`, `.` and `-`",
            where=where,
        )
    if min(config.seeds) < 0:
        raise UserError(f"key `seeds` is {config.seeds}", expected="no negative seed", where=where)
    training = config.training
    ranges = {
        "samples_seen": training.samples_seen >= 1,
        "batch_size": training.batch_size >= 2,
        "learning_rate": training.learning_rate > 0,
        "warmup": 0 <= training.warmup <= 1,
        "weight_decay": training.weight_decay >= 0,
        "beta1": 0 <= training.beta1 < 1,
        "beta2": 0 <= training.beta2 < 1,
        "epsilon": training.epsilon > 0,
        "crop_area": 0 < training.crop_area <= 1,
        "log_every": training.log_every >= 1,
        "checkpoint_every": training.checkpoint_every >= 1,
    }
    for key, fine in ranges.items():
        if not fine:
            value = getattr(training, key)
            raise UserError(f"key `training.{key}` is {value}, which is out of range", where=where)
