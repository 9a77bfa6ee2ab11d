"""A study: the grid (arms × test domains × settings × draws × seeds) → mixtures → runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import polars as pl
from omegaconf import OmegaConf

from gen.config import load_config, resolved
from gen.datasets.samples import Dataset, load_dataset
from gen.models.pretrained import source_sha256
from gen.runs import Run, Target, identity, pretrained_identity, run_name, sha256_of
from gen.schema import ModelConfig, StudyConfig
from gen.sweep.analysis_checks import check_binding, check_causes
from gen.sweep.arms import Arm, planned_arms
from gen.sweep.checks import (
    check_arm,
    check_base,
    check_dataset,
    check_mirrored,
    check_study,
    check_testable,
)
from gen.sweep.grid import draws_of, grid_of
from gen.sweep.ways import placed
from splits.errors import UserError, unknown
from splits.files import write_text
from splits.mixture import (
    Base,
    Mixture,
    Recipe,
    build_mixture,
    load_mixture,
    manifest_of,
    save_mixture,
)
from splits.pool import build_pool
from splits.settings import check_test_domain

PRETRAINED = "pretrained-"
"""begins the setting of a model that is there already"""


@dataclass(frozen=True)
class Study:
    """A study with everything resolved: its dataset, held-out classes, mixtures and runs.

    Attributes:
        config, model: what the study's file says, whatever its arms are.
        draws: held-out classes of every draw.
        mixtures: that a run is trained on, by the name of their folder.
        runs: of one arm after the other, then the models that are there already.
        arms: the ways to train that are compared; one without a label where there is one.
    """

    config: StudyConfig
    model: ModelConfig
    dataset: Dataset
    base: Dataset | None
    draws: tuple[tuple[str, ...], ...]
    folder: Path
    mixtures: dict[str, Mixture]
    runs: tuple[Run, ...]
    arms: tuple[Arm, ...]

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
    draws = draws_of(config, dataset)
    for domain in config.test_domains:
        check_test_domain(dataset.world, domain)
    check_testable(dataset, config.test_domains, draws)
    recipes = _recipes(config, dataset, base, draws)
    arms = _arms(config, name, overrides, recipes)
    for arm in arms:
        _check_arm(arm, dataset, has_base=base is not None)
    mixtures = _mixtures(dataset, recipes)
    folder = runs / config.name
    planned = _runs(arms, dataset, list(mixtures.values()), folder)
    planned += _pretrained_runs(config, model, dataset, draws, folder)
    used = _used(mixtures, planned)
    return Study(config, model, dataset, base, draws, folder, used, planned, arms)


def arm_study(study: Study, label: str) -> Study:
    """The study as if one of its arms were the only one: its runs, and the pretrained models.

    Raises:
        UserError: no arm has that label.
    """
    arms = {arm.label: arm for arm in study.arms}
    if label not in arms:
        raise unknown("arm", label, arms, where=f"study {study.name}")
    arm = arms[label]
    runs = tuple(run for run in study.runs if run.pretrained is not None or run.arm == label)
    mixtures = _used(study.mixtures, runs)
    return replace(
        study, config=arm.config, model=arm.model, runs=runs, mixtures=mixtures, arms=(arm,)
    )


def save_study(study: Study) -> list[str]:
    """Write the resolved configuration and every mixture that is not there yet.

    Returns:
        Names of the mixtures that were there, but changed or damaged, and were written again.
    """
    models = {arm.label: resolved(arm.model) for arm in study.arms}
    trained = {"models": models} if len(models) > 1 else {"model": resolved(study.arms[0].model)}
    config = {"study": resolved(study.config), **trained}
    write_text(study.folder / "study.yaml", OmegaConf.to_yaml(config))
    again = []
    for name, mixture in study.mixtures.items():
        folder = study.folder / "mixtures" / name
        if not _is_saved(mixture, folder):
            again += [name] if folder.is_dir() else []
            save_mixture(mixture, folder)
    return again


def mixture_name(mixture: Mixture | Recipe) -> str:
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


def _recipes(
    config: StudyConfig, dataset: Dataset, base: Dataset | None, draws: Sequence[tuple[str, ...]]
) -> dict[str, Recipe]:
    """The recipe of every mixture, by name."""
    included = Base(base.name, base.sha256, int(base.manifest["samples"])) if base else None
    recipes: dict[str, Recipe] = {}
    for recipe in grid_of(config, dataset, draws, included):
        name = mixture_name(recipe)
        if name in recipes:
            raise UserError(
                f"setting `{recipe.setting.name}` stands more than once in the study's grid",
                where=f"study {config.name}",
                fix="name every setting once, and let no two variants make the same one",
            )
        recipes[name] = recipe
    return recipes


def _arms(
    config: StudyConfig, name: str, overrides: Sequence[str], recipes: dict[str, Recipe]
) -> tuple[Arm, ...]:
    """The arms of the study that `name` and `overrides` configure."""
    places = [
        (recipe.setting.name, Target(recipe.test_domain, recipe.draw))
        for recipe in recipes.values()
    ]

    def load(more: Sequence[str]) -> StudyConfig:
        loaded: StudyConfig = load_config("studies", name, [*overrides, *more])
        return loaded

    return planned_arms(config, load, places)


def _check_arm(arm: Arm, dataset: Dataset, *, has_base: bool) -> None:
    """Refuse an arm that cannot be trained; the error names it."""
    try:
        check_arm(arm.config, arm.model, dataset.pixels, has_base=has_base)
        check_mirrored(dataset, arm.config)
        where = f"study {arm.config.name}"
        check_causes(arm.config.analysis, dataset.domains, where)
        check_binding(arm.config.analysis, is_scenes=dataset.is_scenes, where=where)
    except UserError as error:
        if not arm.label:
            raise
        where = error.where or f"study {arm.config.name}"
        raise placed(error, f"{where}, arm {arm.label}") from None


def _mixtures(dataset: Dataset, recipes: dict[str, Recipe]) -> dict[str, Mixture]:
    train = dataset.samples.filter(pl.col("split") == "train")
    pool = build_pool(train, dataset.world)
    return {name: build_mixture(pool, recipe) for name, recipe in recipes.items()}


def _used(mixtures: dict[str, Mixture], runs: Iterable[Run]) -> dict[str, Mixture]:
    """The mixtures that a run is trained on."""
    names = {mixture_name(mixture) for run in runs for mixture in run.mixtures.values()}
    return {name: mixture for name, mixture in mixtures.items() if name in names}


def _runs(
    arms: Sequence[Arm], dataset: Dataset, mixtures: Sequence[Mixture], folder: Path
) -> tuple[Run, ...]:
    """The runs of all arms, each with the earlier one whose weights it takes over, if any."""
    first: dict[str, Run] = {}
    runs = []
    for arm in arms:
        for run, key in _arm_runs(arm, dataset, mixtures, folder):
            twin = first.setdefault(key, run)
            runs.append(run if twin is run else replace(run, twin=twin))
    return tuple(runs)


def _arm_runs(
    arm: Arm, dataset: Dataset, mixtures: Sequence[Mixture], folder: Path
) -> Iterator[tuple[Run, str]]:
    """Every (setting, seed) of an arm once per distinct mixture, and the hash of its identity.

    A run is named by all targets that its mixture serves, be they left out or not: what
    `exclude` takes away renames no run.
    """
    for setting, served in _shared(mixtures):
        mixture = next(iter(served.values()))
        for seed in arm.config.seeds:
            chosen = {t: m for t, m in served.items() if (setting, *t, seed) in arm.combinations}
            if not chosen:
                continue
            key = identity(arm.model, arm.config.training, seed, dataset.pixels, mixture)
            run = Run(
                folder=folder / run_name(setting, list(served), seed, key, arm=arm.label),
                setting=setting,
                held_out={target: m.held_out for target, m in chosen.items()},
                mixtures=chosen,
                model=arm.model,
                training=arm.config.training,
                seed=seed,
                pixels=dataset.pixels,
                evaluation=arm.config.evaluation,
                analysis=arm.config.analysis,
                dataset_sha256=dataset.sha256,
                arm=arm.label,
            )
            yield run, sha256_of(key)


def _shared(mixtures: Sequence[Mixture]) -> list[tuple[str, dict[Target, Mixture]]]:
    """Settings with the targets for which they give one mixture, which share a run."""
    shared: dict[tuple[str, str], dict[Target, Mixture]] = {}
    for mixture in mixtures:
        target = Target(mixture.test_domain, mixture.draw)
        shared.setdefault((mixture.setting.name, mixture.sha256), {})[target] = mixture
    return [(setting, served) for (setting, _), served in shared.items()]


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
            analysis=config.analysis,
            pretrained=source,
            source_sha256=digest,
            dataset_sha256=dataset.sha256,
        )
        runs.append(run)
    return tuple(runs)
