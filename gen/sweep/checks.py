"""What the schema of a study cannot say: names, ranges, repetitions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, product
from operator import attrgetter

import polars as pl

from gen.datasets.samples import Dataset
from gen.models.checks import check_learner
from gen.schema import (
    BudgetRule,
    EvaluationConfig,
    ModelConfig,
    ModelKind,
    PromptSet,
    ResourcesConfig,
    StudyConfig,
    TrainingConfig,
)
from gen.sweep.analysis_checks import check_analysis, check_tower
from gen.training.schedule import total_steps
from splits.errors import UserError, unknown
from splits.settings import SETTINGS

MIN_CLASSES = 5
"""what comparing domains by their class means needs"""
CAPTIONS = ("caption", "caption_aligned")
NAME = r"\w[\w.-]*"


def check_study(config: StudyConfig) -> None:
    """Check names, ranges and repetitions of a study's configuration.

    Raises:
        UserError: one of them is wrong.
    """
    where = f"study {config.name}"
    _check_known(config, where)
    _check_lists(config, where)
    _check_names(config, where)
    rules = [config.budget.rule, *(r for v in config.variants.values() for r in v.budget)]
    if config.budget.total and BudgetRule.fixed_total not in rules:
        raise UserError(
            f"key `budget.total` is {config.budget.total}, and no setting has a fixed total",
            expected="rule fixed_total, of the study (budget.rule) or of a variant",
            where=where,
        )
    _check_evaluation(config.evaluation, where)
    check_analysis(config.analysis, where)
    _check_ranges(config.training, where)
    _check_parts(config.training, where)
    check_resources(config.resources, where)


def check_resources(resources: ResourcesConfig, where: str) -> None:
    """Check ranges of what a run gets.

    Args:
        resources: to check.
        where: they stand, for errors.

    Raises:
        UserError: a number is too small.
    """
    least = {
        **dict.fromkeys(["cpus", "nodes", "minutes", "signal_seconds"], 1),
        **dict.fromkeys(["gpus", "memory_gb", "parallel", "requeues"], 0),
    }
    for key, smallest in least.items():
        if (value := getattr(resources, key)) < smallest:
            raise UserError(
                f"key `resources.{key}` is {value}", expected=f"at least {smallest}", where=where
            )


def _check_known(config: StudyConfig, where: str) -> None:
    """Settings and caption columns are among those that there are."""
    for setting in [*config.settings, *(name for v in config.variants.values() for name in v.of)]:
        if setting not in SETTINGS:
            raise unknown("setting", setting, SETTINGS, where=where)
    for caption in [config.caption, *(c for v in config.variants.values() for c in v.caption)]:
        if caption not in CAPTIONS:
            raise unknown("caption column", caption, CAPTIONS, where=where)


def _check_lists(config: StudyConfig, where: str) -> None:
    """Lists of the grid have values, and each once; no seed is negative."""
    for key in ("test_domains", "settings", "seeds"):
        values = getattr(config, key)
        may_be_empty = key == "settings" and config.variants
        if len(set(values)) != len(values) or not (values or may_be_empty):
            raise UserError(
                f"key `{key}` is {values}", expected="one or more values, each once", where=where
            )
    if min(config.seeds) < 0:
        raise UserError(f"key `seeds` is {config.seeds}", expected="no negative seed", where=where)


def _check_names(config: StudyConfig, where: str) -> None:
    """The names of the study and of models that are there already can name folders."""
    if not re.fullmatch(NAME, config.name):
        raise UserError(
            f"key `name` is {config.name!r}",
            expected="letters, digits, `_`, `.` and `-`",
            where=where,
        )
    for name in config.pretrained:
        if not re.fullmatch(NAME, name):
            raise UserError(
                f"`{name}` in `pretrained` is no name",
                expected="letters, digits, `_`, `.` and `-`",
                where=where,
            )


def check_arm(config: StudyConfig, model: ModelConfig, pixels: int, *, has_base: bool) -> None:
    """Check one way to train: what `check_study` checks, the model, and both together.

    Args:
        config: the study with this way as its only one.
        model: that is trained.
        pixels: height and width of the dataset's images.
        has_base: whether every mixture holds a base.

    Raises:
        UserError: something is wrong.
    """
    check_study(config)
    check_learner(model, config.training, has_base, pixels)
    check_prompts(config, model)
    check_tower(config.analysis, model, f"study {config.name}")
    if config.pretrained and model.kind is ModelKind.classifier:
        raise UserError(
            "pretrained models, which read prompts, stand in a study of classifiers",
            expected="a study of models of kind clip or clippo",
            where=f"study {config.name}, pretrained",
        )


def _check_evaluation(evaluation: EvaluationConfig, where: str) -> None:
    """Prompt sets, and what probes are trained on."""
    names = [prompt_set.name for prompt_set in evaluation.prompts]
    if not names or len(set(names)) < len(names):
        raise UserError(
            f"key `evaluation.prompts` is [{', '.join(names)}]",
            expected="one or more prompt sets, each once",
            where=where,
        )
    shots = list(evaluation.shots)
    if not shots or shots[0] < 1 or any(a >= b for a, b in pairwise(shots)):
        raise UserError(
            f"key `evaluation.shots` is {shots}",
            expected="one or more positive numbers, each larger than the one before",
            where=where,
        )
    for key, least in (("probe_images", 3), ("probe_seeds", 1)):
        if (value := getattr(evaluation, key)) < least:
            raise UserError(
                f"key `evaluation.{key}` is {value}", expected=f"at least {least}", where=where
            )


def check_prompts(config: StudyConfig, model: ModelConfig) -> None:
    """Refuse prompts in words that the study's models will not know.

    Raises:
        UserError: CLIP's own templates stand beside a vocabulary cut to the dataset's captions.
    """
    prompt_sets = config.evaluation.prompts
    whole = config.base or config.training.stream.shards
    if PromptSet.openai not in prompt_sets or model.kind is not ModelKind.clip or whole:
        return
    others = [other.name for other in prompt_sets if other is not PromptSet.openai]
    raise UserError(
        "prompt set `openai` needs CLIP's whole vocabulary, and the models have the words of their "
        "captions only",
        expected="a study with a base or a stream, whose models have it",
        where=f"study {config.name}, key `evaluation.prompts`",
        fix=f"evaluation.prompts=[{', '.join(others or [PromptSet.domain_free.name])}]",
    )


def _check_parts(training: TrainingConfig, where: str) -> None:
    """What is cut into parts must fall into them."""
    if training.batch_size % training.accumulate:
        raise UserError(
            f"a batch of {training.batch_size} does not fall into {training.accumulate} parts",
            expected="a training.batch_size that training.accumulate divides",
            where=where,
        )
    if training.milestones >= total_steps(training):
        raise UserError(
            f"key `training.milestones` is {training.milestones}, and a run has "
            f"{total_steps(training)} steps",
            expected="fewer milestones than steps",
            where=where,
        )


def _check_ranges(training: TrainingConfig, where: str) -> None:
    ranges = {
        "samples_seen": training.samples_seen >= 1,
        "batch_size": training.batch_size >= 2,
        "learning_rate": training.learning_rate > 0,
        "warmup": 0 <= training.warmup <= 1,
        "weight_decay": training.weight_decay >= 0,
        "beta1": 0 <= training.beta1 < 1,
        "beta2": 0 <= training.beta2 < 1,
        "epsilon": training.epsilon > 0,
        "clip_norm": training.clip_norm >= 0,
        "accumulate": training.accumulate >= 1,
        "crop_area": 0 < training.crop_area <= 1,
        "stream.share": 0 < training.stream.share < 1,
        "stream.buffer": training.stream.buffer >= 1,
        "stream.max_rejected": training.stream.max_rejected >= 0,
        "text_pairs.share": 0 <= training.text_pairs.share < 1,
        "readers": training.readers >= 0,
        "log_every": training.log_every >= 1,
        "checkpoint_every": training.checkpoint_every >= 0,
        "milestones": training.milestones >= 0,
    }
    for key, fine in ranges.items():
        if not fine:
            value = attrgetter(key)(training)
            raise UserError(f"key `training.{key}` is {value}, which is out of range", where=where)


def check_dataset(dataset: Dataset) -> None:
    """Refuse before training what could not be tested after it.

    Raises:
        UserError: too few classes have test images in every domain.
    """
    if dataset.is_base:
        raise UserError(
            f"dataset `{dataset.name}` has no classes to test",
            expected="a dataset of domains and classes; image–caption data goes into `base`",
            where=str(dataset.folder),
        )
    classes = dataset.comparable_classes
    if len(classes) < MIN_CLASSES:
        raise UserError(
            f"dataset `{dataset.name}` is too small for a study: {len(classes)} classes have two "
            "test images in every domain",
            expected=f"at least {MIN_CLASSES}",
            where=str(dataset.folder),
        )


def check_mirrored(dataset: Dataset, config: StudyConfig) -> None:
    """Refuse to mirror scenes whose captions name their objects from left to right.

    Raises:
        UserError: half of the captions would be those of another order.
    """
    columns = {config.caption, *(c for v in config.variants.values() for c in v.caption)}
    if dataset.is_scenes and config.training.flip and "caption" in columns:
        raise UserError(
            "key `training.flip` is true, and captions name the objects from left to right",
            expected="images that are not mirrored, or captions in any order",
            where=f"study {config.name}",
            fix="training.flip=false, or caption=caption_aligned",
        )


def check_testable(
    dataset: Dataset, test_domains: Sequence[str], draws: Sequence[Sequence[str]]
) -> None:
    """Refuse held-out classes of which no test domain image could tell anything.

    Raises:
        UserError: all held-out classes of a draw lack test images in a test domain.
    """
    test = dataset.samples.filter(pl.col("split") == "test")
    for domain, held_out in product(test_domains, draws):
        tested = test.filter(domain=domain)["class_name"].unique()
        if not set(held_out) & set(tested):
            raise UserError(
                f"none of the held-out classes has a test image in `{domain}`: "
                f"{', '.join(held_out)}",
                expected="a test image of at least one of them",
                where=str(dataset.folder),
                fix="hold out other classes (held_out), or test other domains (test_domains)",
            )


def check_base(base: Dataset) -> None:
    """Refuse a base that has classes of its own, which no audit would look for.

    Raises:
        UserError: it is not an image–caption dataset.
    """
    if not base.is_base:
        raise UserError(
            f"dataset `{base.name}` has classes and domains, and is no base",
            expected="an image–caption dataset (kind tsv or webdataset)",
            where=str(base.folder),
        )
