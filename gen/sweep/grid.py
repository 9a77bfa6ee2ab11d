"""The grid of a study: draws of held-out classes, settings with their variants, test domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from gen.config import CONFIGS, load_config
from gen.datasets.samples import Dataset
from gen.schema import (
    BudgetConfig,
    BudgetRule,
    HeldOutConfig,
    HeldOutList,
    StudyConfig,
    VariantConfig,
)
from splits.budget import Budget
from splits.errors import UserError
from splits.held_out import check_held_out, draw_held_out
from splits.mixture import Base, Recipe
from splits.settings import SETTINGS, Setting, World
from splits.variants import read_matrix, subsets_of_size, with_domains, with_share

SHARES = ("held_out", "seen", "seen_classes")


@dataclass(frozen=True)
class Choice:
    """One setting as a study asks for it: what is shown, how much of it, and which captions."""

    setting: Setting
    budget: Budget
    caption: str

    def named(self, suffix: str, described: str, **changes: Budget | str) -> Choice:
        """The choice with these changes, under a name that tells them."""
        name, description = f"{self.setting.name}-{suffix}", self.setting.description
        setting = replace(self.setting, name=name, description=f"{description}; {described}")
        return replace(self, setting=setting, **changes)  # type: ignore[arg-type]


def draws_of(config: StudyConfig, dataset: Dataset) -> tuple[tuple[str, ...], ...]:
    """The held-out classes of every draw, each sorted.

    Raises:
        UserError: the classes are given in no way or in several, or do not fit the dataset.
    """
    wanted = config.held_out
    given = {"published": wanted.published, "classes": wanted.classes, "count": wanted.count}
    ways = [key for key, value in given.items() if value]
    where = f"study {config.name}"
    if len(ways) != 1:
        raise UserError(
            "the held-out classes are given "
            + (f"twice: by {' and '.join(ways)}" if ways else "in no way"),
            expected="one of held_out.published=NAME, held_out.classes=[…], held_out.count=N",
            where=where,
        )
    if wanted.draws < 1 or (wanted.draws > 1 and not wanted.count):
        raise UserError(
            f"key `held_out.draws` is {wanted.draws}",
            expected="1, or more with held_out.count=N",
            where=where,
        )
    if wanted.count:
        return _seeded_draws(wanted, dataset.super_categories, where)
    names = wanted.classes or _published(wanted.published)
    check_held_out(names, dataset.classes)
    return (tuple(sorted(names)),)


def _seeded_draws(
    wanted: HeldOutConfig, super_categories: Mapping[str, str], where: str
) -> tuple[tuple[str, ...], ...]:
    """Draws by consecutive seeds; equal ones would count one draw as several."""
    seed_of: dict[tuple[str, ...], int] = {}
    for seed in range(wanted.seed, wanted.seed + wanted.draws):
        drawn = draw_held_out(super_categories, wanted.count, seed)
        if drawn in seed_of:
            raise UserError(
                f"seeds {seed_of[drawn]} and {seed} draw the same held-out classes",
                expected=f"{wanted.draws} different draws",
                where=where,
                fix="take another held_out.seed, a larger held_out.count, or fewer draws",
            )
        seed_of[drawn] = seed
    return tuple(seed_of)


def grid_of(
    config: StudyConfig, dataset: Dataset, draws: Sequence[tuple[str, ...]], base: Base | None
) -> Iterator[Recipe]:
    """The recipe of every mixture: settings × test domains × draws of held-out classes.

    Raises:
        UserError: a variant is impossible, or applies to no test domain.
    """
    for choice, test_domains in _choices(config, dataset.world):
        for test_domain, (draw, held_out) in product(test_domains, enumerate(draws)):
            yield Recipe(
                setting=choice.setting,
                test_domain=test_domain,
                held_out=held_out,
                draw=draw,
                budget=choice.budget,
                caption=choice.caption,
                dataset_sha256=dataset.sha256,
                base=base,
                allow_empty_cells=config.allow_empty_cells,
            )


def _choices(config: StudyConfig, world: World) -> Iterator[tuple[Choice, list[str]]]:
    """Every setting of a study with the test domains that it applies to."""
    budget = budget_of(config.budget)
    for name in config.settings:
        yield Choice(SETTINGS[name], budget, config.caption), config.test_domains
    for name, variant in config.variants.items():
        for choice, domains in _varied(variant, config, world, f"variants.{name}"):
            if not domains:
                raise UserError(
                    f"`{choice.setting.name}` applies to no test domain",
                    expected="a test domain that is not among the domains that it shows",
                    where=f"study {config.name}, {name}",
                )
            yield choice, domains


def _varied(
    variant: VariantConfig, config: StudyConfig, world: World, where: str
) -> Iterator[tuple[Choice, list[str]]]:
    """The settings of a variant: every combination of its lists."""
    _check_variant(variant, where)
    for name in variant.of:
        start = Choice(SETTINGS[name], budget_of(config.budget), config.caption)
        for setting, domains in _settings(variant, start.setting, config.test_domains, world):
            changed = replace(start, setting=setting)
            for choice in _treatments(variant, changed, config.budget.total):
                yield choice, domains


def _settings(
    variant: VariantConfig, setting: Setting, test_domains: list[str], world: World
) -> Iterator[tuple[Setting, list[str]]]:
    """The setting with every combination of shares, domains and matrices."""
    if variant.matrix:
        for path in map(_matrix_path, variant.matrix):
            described = f"the exposure matrix {path.name}"
            yield Setting(path.stem, described, cells=read_matrix(path)), test_domains
        return
    subsets = _subsets(variant, test_domains, world)
    varied = [key for key in SHARES if getattr(variant, key)]
    for shares in product(*(getattr(variant, key) for key in varied)):
        shared = replace(setting, seed=variant.subset_seed)
        for key, share in zip(varied, shares, strict=True):
            shared = with_share(shared, key, share)
        for subset, domains in subsets.items():
            yield shared if subset is None else with_domains(shared, subset), domains


def _subsets(
    variant: VariantConfig, test_domains: list[str], world: World
) -> dict[tuple[str, ...] | None, list[str]]:
    """Subsets of other domains, each with the test domains that are not in it."""
    if not variant.domains and not variant.diversity:
        return {None: test_domains}
    subsets: dict[tuple[str, ...] | None, list[str]] = {}
    for text in variant.domains:
        names = [name.strip() for name in text.split("+")]
        subset = tuple(sorted(names, key=lambda name: _place(name, world)))
        if len(set(names)) < len(names) or subset in subsets:
            raise UserError(
                f"a domain or a subset stands twice in {', '.join(variant.domains)}",
                expected="every subset once, and every domain once in it",
                where="`domains` of a variant",
            )
        subsets[subset] = [name for name in test_domains if name not in subset]
    for size, test_domain in product(variant.diversity, test_domains):
        for subset in subsets_of_size(
            world, test_domain, size, variant.subsets, variant.subset_seed
        ):
            subsets.setdefault(subset, []).append(test_domain)
    return subsets


def _matrix_path(text: str) -> Path:
    """A path from where the command is called, else from the folder of all configurations."""
    shipped = CONFIGS / text
    return shipped if shipped.is_file() and not Path(text).is_file() else Path(text)


def _treatments(variant: VariantConfig, start: Choice, total: int) -> Iterator[Choice]:
    """The choice with every combination of budgets, topping up and captions."""
    choices = [start]
    if variant.budget:
        choices = [_with_rule(start, rule.name, total) for rule in variant.budget]
    if variant.top_up:
        choices = [_topped_up(choice, flag) for choice in choices for flag in variant.top_up]
    if variant.caption:
        choices = [
            choice.named(caption, f"captions of column {caption}", caption=caption)
            for choice in choices
            for caption in variant.caption
        ]
    yield from choices


def _with_rule(choice: Choice, rule: str, total: int) -> Choice:
    budget = replace(choice.budget, rule=rule, total=total if rule == "fixed_total" else 0)
    return choice.named(rule, f"budget {rule}", budget=budget)


def _topped_up(choice: Choice, flag: bool) -> Choice:
    suffix = "topped_up" if flag else "not_topped_up"
    budget = replace(choice.budget, top_up=flag)
    return choice.named(suffix, suffix.replace("_", " "), budget=budget)


def _place(name: str, world: World) -> tuple[int, str]:
    """Sorts domains as the world does, unknown ones (refused later) behind."""
    known = name in world.domains
    return (world.domains.index(name) if known else len(world.domains), name)


def budget_of(config: BudgetConfig) -> Budget:
    """The study's own budget; a total may be there for its variants alone."""
    total = config.total if config.rule is BudgetRule.fixed_total else 0
    return Budget(config.rule.name, config.seed, total, config.top_up)


def _published(name: str) -> list[str]:
    content: HeldOutList = load_config("held_out", name)
    return content.classes


def _check_variant(variant: VariantConfig, where: str) -> None:
    """A variant changes something, and a matrix goes with no other exposure."""
    exposures = [*SHARES, "domains", "diversity"]
    if variant.matrix and any(getattr(variant, key) for key in exposures):
        raise UserError(
            "a matrix replaces the exposure, and shares or domains are given too",
            expected=f"`matrix`, or some of {', '.join(f'`{key}`' for key in exposures)}",
            where=where,
        )
    if variant.matrix and len(variant.of) != 1:
        raise UserError(
            f"`of` names {len(variant.of)} settings beside a matrix, which replaces them",
            expected="one setting",
            where=where,
        )
    if variant.domains and variant.diversity:
        raise UserError(
            "the other domains are given twice: by `domains` and by `diversity`",
            expected="named subsets, or a ladder; both are two variants",
            where=where,
        )
    if variant.subsets and not variant.diversity:
        raise UserError("`subsets` stands without `diversity`", where=where)
    lists = [*exposures, "matrix", "budget", "top_up", "caption"]
    if not variant.of or not any(getattr(variant, key) for key in lists):
        raise UserError(
            "the variant varies nothing",
            expected=f"settings in `of`, and values in at least one of {', '.join(lists)}",
            where=where,
        )
