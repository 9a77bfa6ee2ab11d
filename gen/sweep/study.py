"""A study: the grid (test domains × settings × draws × seeds) → mixtures → runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import polars as pl
from omegaconf import OmegaConf

from gen.config import load_config, resolved
from gen.datasets.samples import Dataset, load_dataset
from gen.models.checks import check_learner
from gen.models.pretrained import source_sha256
from gen.runs import Run, Target, identity, pretrained_identity, run_name
from gen.schema import ModelConfig, ModelKind, StudyConfig
from gen.sweep.checks import (
    check_base,
    check_dataset,
    check_prompts,
    check_study,
    check_testable,
)
from gen.sweep.grid import draws_of, grid_of
from splits.errors import UserError, unknown
from splits.files import write_text
from splits.mixture import Base, Mixture, build_mixture, load_mixture, manifest_of, save_mixture
from splits.pool import build_pool
from splits.settings import check_test_domain

PRETRAINED = "pretrained-"
"""begins the setting of a model that is there already"""


@dataclass(frozen=True)
class Study:
    """A study with everything resolved: its dataset, held-out classes, mixtures and runs.

    Attributes:
        draws: held-out classes of every draw.
        mixtures: by the name of their folder.
    """

    config: StudyConfig
    model: ModelConfig
    dataset: Dataset
    base: Dataset | None
    draws: tuple[tuple[str, ...], ...]
    folder: Path
    mixtures: dict[str, Mixture]
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of all settings, in the order of the grid; pretrained models stand last."""
        return tuple(dict.fromkeys(run.setting for run in self.runs))


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
    check_study(config)
    model: ModelConfig = load_config("models", config.model)
    dataset = load_dataset(config.dataset, data)
    check_dataset(dataset)
    base = load_dataset(config.base, data) if config.base else None
    if base:
        check_base(base)
    check_learner(model, config.training, base is not None, dataset.pixels)
    check_prompts(config, model)
    if config.pretrained and model.kind is ModelKind.classifier:
        raise UserError(
            "pretrained models, which read prompts, stand in a study of classifiers",
            expected="a study of models of kind clip or clippo",
            where=f"study {config.name}, pretrained",
        )
    draws = draws_of(config, dataset)
    for domain in config.test_domains:
        check_test_domain(dataset.world, domain)
    check_testable(dataset, config.test_domains, draws)
    mixtures = _mixtures(config, dataset, base, draws)
    folder = runs / config.name
    planned = _runs(config, model, dataset, list(mixtures.values()), folder)
    planned += _pretrained_runs(config, model, dataset, draws, folder)
    return Study(config, model, dataset, base, draws, folder, mixtures, planned)


def save_study(study: Study) -> list[str]:
    """Write the resolved configuration and every mixture that is not there yet.

    Returns:
        Names of the mixtures that were there, but changed or damaged, and were written again.
    """
    config = {"study": resolved(study.config), "model": resolved(study.model)}
    write_text(study.folder / "study.yaml", OmegaConf.to_yaml(config))
    again = []
    for name, mixture in study.mixtures.items():
        folder = study.folder / "mixtures" / name
        if not _is_saved(mixture, folder):
            again += [name] if folder.is_dir() else []
            save_mixture(mixture, folder)
    return again


def mixture_name(mixture: Mixture) -> str:
    """Name of a mixture's folder; the first draw of held-out classes goes without saying."""
    draw = f".d{mixture.draw}" if mixture.draw else ""
    return f"{mixture.setting.name}.{mixture.test_domain}{draw}"


def find_run(study: Study, name: str) -> Run:
    """The run of that name, or of the only name that starts so."""
    matches = [run for run in study.runs if run.name.startswith(name)]
    if not matches:
        names = [run.name for run in study.runs]
        raise unknown("run", name, names, where=f"study {study.name}")
    if len(matches) > 1:
        raise UserError(
            f"{len(matches)} runs start with `{name}`: {', '.join(run.name for run in matches)}",
            expected="the name of one run, or a beginning that no other has",
            where=f"study {study.name}",
        )
    return matches[0]


def _is_saved(mixture: Mixture, folder: Path) -> bool:
    if not (folder / "manifest.json").is_file():
        return False
    try:
        return manifest_of(load_mixture(folder)) == manifest_of(mixture)
    except UserError:  # damaged: written again from the table, which is its source
        return False


def _mixtures(
    config: StudyConfig, dataset: Dataset, base: Dataset | None, draws: Sequence[tuple[str, ...]]
) -> dict[str, Mixture]:
    """Every mixture of the grid, by name."""
    included = Base(base.name, base.sha256, int(base.manifest["samples"])) if base else None
    train = dataset.samples.filter(pl.col("split") == "train")
    pool = build_pool(train, dataset.world)
    mixtures: dict[str, Mixture] = {}
    for recipe in grid_of(config, dataset, draws, included):
        mixture = build_mixture(pool, recipe)
        name = mixture_name(mixture)
        if name in mixtures:
            raise UserError(
                f"setting `{recipe.setting.name}` stands more than once in the study's grid",
                where=f"study {config.name}",
                fix="name every setting once, and let no two variants make the same one",
            )
        mixtures[name] = mixture
    return mixtures


def _runs(
    config: StudyConfig,
    model: ModelConfig,
    dataset: Dataset,
    mixtures: Sequence[Mixture],
    folder: Path,
) -> tuple[Run, ...]:
    """Every (setting, seed) once per distinct mixture."""
    shared: dict[tuple[str, str], dict[Target, Mixture]] = {}
    for mixture in mixtures:
        target = Target(mixture.test_domain, mixture.draw)
        shared.setdefault((mixture.setting.name, mixture.sha256), {})[target] = mixture
    runs = []
    for (setting, _), served in shared.items():
        mixture = next(iter(served.values()))
        for seed in config.seeds:
            key = identity(model, config.training, seed, dataset.pixels, mixture)
            name = run_name(setting, list(served), seed, key)
            run = Run(
                folder=folder / name,
                setting=setting,
                held_out={target: m.held_out for target, m in served.items()},
                mixtures=served,
                model=model,
                training=config.training,
                seed=seed,
                pixels=dataset.pixels,
                evaluation=config.evaluation,
                dataset_sha256=dataset.sha256,
            )
            runs.append(run)
    return tuple(runs)


def _pretrained_runs(
    config: StudyConfig,
    model: ModelConfig,
    dataset: Dataset,
    draws: Sequence[tuple[str, ...]],
    folder: Path,
) -> tuple[Run, ...]:
    """A run per model that is there already; each serves every test domain and draw."""
    grid = product(config.test_domains, enumerate(draws))
    held_out = {Target(domain, draw): classes for domain, (draw, classes) in grid}
    runs = []
    for name, source in config.pretrained.items():
        setting = f"{PRETRAINED}{name}"
        digest = source_sha256(source, where=f"study {config.name}, pretrained.{name}")
        run = Run(
            folder=folder / run_name(setting, [], 0, pretrained_identity(digest)),
            setting=setting,
            held_out=held_out,
            mixtures={},
            model=model,
            training=config.training,
            seed=0,
            pixels=dataset.pixels,
            evaluation=config.evaluation,
            pretrained=source,
            source_sha256=digest,
            dataset_sha256=dataset.sha256,
        )
        runs.append(run)
    return tuple(runs)
