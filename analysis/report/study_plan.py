"""What a study asks for: its runs, and what they are compared by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gen.runs import Target


@dataclass(frozen=True)
class PlannedRun:
    """A run that a study expects.

    Attributes:
        mixtures: name of the mixture's folder in `mixtures/`, by what the run is tested on;
            several where their mixtures are the same; empty names of a pretrained model, of which
            nobody knows what it was trained on.
        results_key: what the run's DONE must hold to count; anything where empty.
        mixture_sha256: what its mixtures' manifests must say; anything where empty.
        twin: name of the run whose weights it takes over, if any: both are one model.
    """

    name: str
    setting: str
    seed: int
    mixtures: dict[Target, str]
    results_key: str = ""
    mixture_sha256: str = ""
    twin: str = ""

    @property
    def is_pretrained(self) -> bool:
        """Whether the study only evaluates this model, and does not train it."""
        return not any(self.mixtures.values())

    @property
    def test_domains(self) -> list[str]:
        """The test domains that the run serves."""
        return list(dict.fromkeys(target.test_domain for target in self.mixtures))

    @property
    def draws(self) -> list[int]:
        """The draws of held-out classes that the run serves."""
        return sorted({target.draw for target in self.mixtures})


@dataclass(frozen=True)
class StudyPlan:
    """Everything about a study that is known before any run.

    Attributes:
        settings: all of them in their order, pretrained models last; one may apply to some test
            domains only.
        draws: held-out classes of every draw.
        tests: split → domain → classes that have test images there.
        runs: between them the grid of (setting, test domain, draw, seed).
        dataset_seconds: how long the dataset took to build.
        prompts: names of the prompt sets; the first one makes the headline scores.
        probes: whether linear probes are trained.
        text_robustness, text_probes: whether prompts are disturbed, and sentences probed.
        analyses: names of the families of analyses (`gen.schema.AnalysisKind`).
        primary: site and measure of sharing that are held against generalization; the site is
            empty for the last one before the embedding.
        dataset_sha256: hash of the dataset; empty where it is not known.
        arm: which of its study's ways to train this is; empty where it has one.
        siblings: names of the runs of its study's arms.
        coverage: name of the coverage sweep whose models stand beside the study's; empty: none.
    """

    name: str
    dataset: str
    natural: str
    test_domains: tuple[str, ...]
    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    draws: tuple[tuple[str, ...], ...]
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    tests: dict[str, dict[str, frozenset[str]]]
    runs: tuple[PlannedRun, ...]
    dataset_seconds: float | None = None
    prompts: tuple[str, ...] = ("domain_free",)
    probes: bool = False
    text_robustness: bool = False
    text_probes: bool = False
    analyses: tuple[str, ...] = ("similarity",)
    primary: tuple[str, str] = ("", "s_id_nc")
    dataset_sha256: str = ""
    arm: str = ""
    siblings: frozenset[str] = frozenset()
    coverage: str = ""

    @property
    def title(self) -> str:
        """The study's name, with the arm's."""
        return f"{self.name} ({self.arm})" if self.arm else self.name

    @property
    def depth(self) -> int:
        """Folders between the report's folder and the study's: that of the report on all arms."""
        return 1 if self.arm else 0

    @property
    def root(self) -> str:
        """Way from the report's folder to the study's, for links."""
        return "/".join([".."] * (1 + self.depth))

    @property
    def splits(self) -> tuple[str, ...]:
        """The test splits that the dataset has."""
        return tuple(self.tests)

    @property
    def is_replicated(self) -> bool:
        """Whether anything but the test samples tells how numbers vary."""
        return len(self.draws) > 1 or len(self.seeds) > 1

    @property
    def grid(self) -> set[tuple[str, Target]]:
        """Every setting with what it is tested on."""
        return {(run.setting, target) for run in self.runs for target in run.mixtures}

    def is_tested(self, split: str, domain: str, classes: Collection[str]) -> bool:
        """Whether any of these classes has test images of a split in a domain."""
        return not self.tests.get(split, {}).get(domain, frozenset()).isdisjoint(classes)

    def class_set(self, name: str, draw: int) -> frozenset[str]:
        """The `held_out` or `seen` classes of a draw, or `all`."""
        held_out, every = frozenset(self.draws[draw]), frozenset(self.classes)
        return {"held_out": held_out, "seen": every - held_out, "all": every}[name]
