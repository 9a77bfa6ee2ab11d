"""The schema of configs/studies: mixtures, runs, and what they get."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from gen.schema.testing import AnalysisConfig, EvaluationConfig, PretrainedConfig
from gen.schema.training import TrainingConfig


@dataclass
class HeldOutConfig:
    """Classes removed from the test domain: a published list, a list, or stratified draws."""

    published: str = ""
    """name of a list in configs/held_out"""
    classes: list[str] = field(default_factory=list)
    count: int = 0
    """classes of a draw"""
    seed: int = 0
    """of the first draw; further ones take the seeds that follow"""
    draws: int = 1
    """number of draws"""


class BudgetRule(Enum):
    """How many samples a mixture holds, and which; docs/splits.md explains each."""

    published = "published"
    random = "random"
    balanced = "balanced"
    exposure_matched = "exposure_matched"
    fixed_total = "fixed_total"


@dataclass
class BudgetConfig:
    """How many samples a mixture holds, and which."""

    rule: BudgetRule = BudgetRule.random
    seed: int = 0
    """of the choice of samples within the cells (all rules but `published`)"""
    total: int = 0
    """samples of every mixture (rule fixed_total)"""
    top_up: bool = False
    """let a smaller mixture reach the budget by showing its samples several times"""


@dataclass
class VariantConfig:
    """A family of settings: those named in `of`, changed in every combination of the lists.

    An empty list leaves that part of the setting as it is.
    """

    of: list[str] = MISSING
    """settings to vary"""
    held_out: list[float] = field(default_factory=list)
    """shares of the held-out classes' samples in the test domain that are shown"""
    seen: list[float] = field(default_factory=list)
    """shares of the seen classes' samples in the test domain that are shown"""
    seen_classes: list[float] = field(default_factory=list)
    """shares of the seen classes that are shown in the test domain; smaller ones are nested"""
    domains: list[str] = field(default_factory=list)
    """the other domains that are shown, joined by +: [clipart, clipart+painting]"""
    diversity: list[int] = field(default_factory=list)
    """numbers of other domains that are shown: all subsets of that size, or `subsets` of them"""
    subsets: int = 0
    """how many subsets of each size to draw; 0 means all"""
    subset_seed: int = 0
    matrix: list[str] = field(default_factory=list)
    """CSV files (domain,class_name,exposure) that replace the exposure altogether"""
    budget: list[BudgetRule] = field(default_factory=list)
    top_up: list[bool] = field(default_factory=list)
    caption: list[str] = field(default_factory=list)


@dataclass
class ResourcesConfig:
    """What one run gets, here and on Slurm; no part of a run's identity."""

    gpus: int = 1
    """on each machine, where it has any; several share the run by torchrun"""
    cpus: int = 1
    """processors of a run without GPU, or of each of its GPUs; a slot of a sweep has as many"""
    nodes: int = 1
    """machines that share a run (Slurm only)"""
    memory_gb: int = 0
    """memory of a run on each machine (Slurm only); 0: what the partition gives"""
    minutes: int = 240
    """time limit (Slurm only); a run that reaches it is queued again, and goes on"""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    parallel: int = 0
    """runs at a time (Slurm only); 0: as many as Slurm lets run"""
    signal_seconds: int = 90
    """time that a run has to write its state before the time limit (Slurm only)"""
    requeues: int = 100
    """how often a run that reached its time limit is queued again (Slurm only)"""
    setup: list[str] = field(default_factory=list)
    """shell lines before the run, such as `module load …` (Slurm only)"""


@dataclass
class StudyConfig:
    """A grid of runs: arms × test domains × settings × draws of held-out classes × seeds.

    An arm is one way to train: a model and a training configuration. Without `grid` and `include`
    there is one.
    """

    name: str = MISSING
    dataset: str = MISSING
    """name of a dataset that is built"""
    base: str = ""
    """name of an image-caption dataset of which every mixture holds all"""
    model: str = MISSING
    """name of a file in configs/models"""
    test_domains: list[str] = MISSING
    settings: list[str] = MISSING
    variants: dict[str, VariantConfig] = field(default_factory=dict)
    """further settings, made from the named ones"""
    held_out: HeldOutConfig = field(default_factory=HeldOutConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    allow_empty_cells: bool = False
    """go on where a setting shows a (domain, class) cell that has no sample"""
    caption: str = "caption"
    """caption column of the sample table: `caption`, or `caption_aligned` (never names a domain)"""
    seeds: list[int] = field(default_factory=lambda: [0])
    """seeds of training: initial weights, order and augmentation"""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    """values of `model` and of keys of `training` (`training.objective`): every combination is an
    arm"""
    exclude: list[dict[str, Any]] = field(default_factory=list)
    """runs of the grid that are left out: those that fit all keys of an entry (keys as in `grid`,
    and `setting`, `test_domain`, `draw`, `seed`; a list fits any of its values)"""
    include: list[dict[str, Any]] = field(default_factory=list)
    """runs that are added after `exclude`: an entry with keys as in `grid` adds to the one arm of
    these values (all others being the study's own), any other entry to every arm of the grid; keys
    as in `exclude` choose which runs, and may name seeds that are not among `seeds`"""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    coverage: str = ""
    """name of a coverage sweep (`clipgen coverage`) whose models stand beside the study's in the
    report on binding"""
    pretrained: dict[str, PretrainedConfig] = field(default_factory=dict)
    """models that are there already, by the name that the study gives them"""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
