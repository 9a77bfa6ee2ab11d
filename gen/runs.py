"""The run folder: what identifies a run, what state it is in, and who works on it.

The folder is the database. A run's name ends in a hash of everything that decides its weights
(model, training, seed, mixture; of a pretrained model its source), and of nothing else: not of
paths, device or logging.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from gen.config import resolved
from gen.provenance import provenance
from gen.schema import (
    AnalysisConfig,
    AnalysisKind,
    EvaluationConfig,
    ModelConfig,
    ModelKind,
    PretrainedConfig,
    TrainingConfig,
)
from gen.training.schedule import teaches_texts
from splits.errors import UserError
from splits.files import text_of, write_json, write_text
from splits.mixture import Mixture

SCHEMA_VERSION = 1
FINAL_WEIGHTS = "final.safetensors"
NOT_IDENTITY = (
    *("deterministic", "compile", "sharding", "images", "readers"),
    *("log_every", "checkpoint_every", "milestones", "loggers"),
)
"""keys of the training's configuration that do not decide weights"""
ATTEMPTS = "attempts.jsonl"
"""in a run's folder: every start of work on it (`gen.sweep.attempts`)"""
STAGES = {"checkpoint": "train", "evaluated": "evaluate", "analyzed": "analyze"}
"""keys of run.json that tell that a stage is finished, and which"""
PROBE_KEYS = ("probe_images", "shots", "probe_seeds")
"""keys of the evaluation's configuration that say how probes are trained"""
OF_TEXTS = ("retrieval", "text_robustness")
"""tables of the evaluation that models have which read texts, by the keys that ask for them"""
CIRCUITS = ("circuit_sharing", "attribution_quality", "faithfulness", "circuit_parts")
ANALYSES = {
    **{kind: (kind.value,) for kind in AnalysisKind},
    AnalysisKind.sae: ("sae", "sae_sharing", "sae_images"),
    AnalysisKind.maps: ("maps", "map_distances"),
    AnalysisKind.modalities: ("modality_sharing", "modality_gaps"),
    AnalysisKind.binding: ("binding", "binding_function"),
    AnalysisKind.circuits: CIRCUITS,
}
"""names of the tables that a family of analyses writes"""
ONLY_REPORTED = ("primary_site", "primary_measure")
"""keys of the analyses' configuration that change no table of a run"""


class Target(NamedTuple):
    """What a run is tested on: a domain, and a draw of held-out classes."""

    test_domain: str
    draw: int


@dataclass(frozen=True)
class Run:
    """One model: (mixture, model, training, seed), or one that is there already; and its folder.

    A run serves every target for which its setting gives the same mixture. A pretrained model
    serves all targets of its study.
    """

    folder: Path
    setting: str
    held_out: dict[Target, tuple[str, ...]]
    """the held-out classes of every target that the run serves"""
    mixtures: dict[Target, Mixture]
    """of the same targets, all select the same samples; empty for a pretrained model"""
    model: ModelConfig
    """to be trained; of a pretrained model that of its study, and without meaning"""
    training: TrainingConfig
    """as `model`"""
    seed: int
    pixels: int
    """height and width of the dataset's images; a pretrained model has its own: `Learner.pixels`"""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    pretrained: PretrainedConfig | None = None
    """where the model comes from, if it is not trained here"""
    source_sha256: str = ""
    """hash of a pretrained model's source"""
    dataset_sha256: str = ""
    """hash of the dataset that the run is tested on"""
    arm: str = ""
    """which of its study's ways to train this is; empty where there is one"""
    twin: Run | None = None
    """an earlier run of the study with the same identity, whose weights this one takes over"""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def mixture(self) -> Mixture:
        """What the run is trained on.

        Raises:
            ValueError: it is a pretrained model.
        """
        for mixture in self.mixtures.values():
            return mixture
        raise ValueError(f"{self.name} is pretrained: nobody knows on what")

    @property
    def caption(self) -> str:
        """Column of the sample table with the captions that the run learns, or is tested with."""
        return self.mixture.caption if self.mixtures else "caption"

    @property
    def test_domains(self) -> list[str]:
        """The test domains that the run serves."""
        return list(dict.fromkeys(target.test_domain for target in self.held_out))

    @property
    def draws(self) -> dict[int, tuple[str, ...]]:
        """The held-out classes of every draw that the run serves."""
        return {target.draw: held_out for target, held_out in self.held_out.items()}

    @cached_property
    def results_key(self) -> str:
        """What all results depend on besides the weights: the hash of both keys below."""
        return sha256_of([self.evaluation_key, self.analyses_key])

    @cached_property
    def evaluation_key(self) -> str:
        """What the evaluation's tables depend on besides the weights."""
        off = [] if self.evaluation.text_robustness else ["text_robustness"]  # old results count
        left = ["probes", "text_probes", *PROBE_KEYS, *off]
        counted = {k: v for k, v in resolved(self.evaluation).items() if k not in left}
        return sha256_of({**self._tested, "evaluation": counted, "draws": self._held_out})

    @cached_property
    def analyses_key(self) -> str:
        """What the analyses' tables depend on besides the weights."""
        asked = resolved(self.analysis)
        analysis = {k: v for k, v in asked.items() if k not in ONLY_REPORTED}
        content = {**self._tested, "analysis": analysis, "draws": self._held_out}
        content["test_domains"] = sorted(self.test_domains)
        if self.evaluation.probes:
            evaluation = resolved(self.evaluation)
            content |= {key: evaluation[key] for key in PROBE_KEYS}
        content |= {"text_probes": True} if self.evaluation.text_probes else {}
        return sha256_of(content)

    @property
    def _tested(self) -> dict[str, Any]:
        """The model, as far as its weights are not the run's own, and the data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source_sha256,
            "dataset_sha256": self.dataset_sha256,
        }

    @property
    def _held_out(self) -> list:
        return [[draw, list(names)] for draw, names in sorted(self.draws.items())]

    @property
    def reads_texts(self) -> bool:
        """Whether the model embeds texts; a classifier does not."""
        return self.pretrained is not None or self.model.kind is not ModelKind.classifier

    @property
    def analyses(self) -> dict[str, Path]:
        """The analyses' tables that the study asks for, by name."""
        names = [name for kind in self.analysis.kinds for name in ANALYSES[kind]]
        names += ["probes"] if self.evaluation.probes else []
        names += ["text_probes"] if self.evaluation.text_probes and self.reads_texts else []
        return {name: self.analysis_table(name) for name in names}

    def analysis_table(self, name: str) -> Path:
        """Where a table of the analyses stands, asked for or not."""
        return self.folder / "analysis" / f"{name}.parquet"

    @property
    def failure(self) -> Path:
        """Where it is written why work on the run failed; there only if it did."""
        return self.folder / "FAILED"

    @property
    def trained(self) -> bool:
        """Whether there are final weights: its own, those of its twin, or a pretrained model's."""
        if self.pretrained is not None:
            return True
        return self.final_weights.is_file() and (self.twin is None or self._agrees_with(self.twin))

    @property
    def has_weights(self) -> bool:
        """Whether there is all that a run needs which takes over its weights."""
        return self.trained and bool(recorded(self.folder, "checkpoint"))

    def _agrees_with(self, twin: Run) -> bool:
        """Whether its final weights are known, and the twin has none or the same."""
        ours = recorded(self.folder, "checkpoint")
        return bool(ours) and recorded(twin.folder, "checkpoint") in ("", ours)

    @property
    def done(self) -> bool:
        marked = text_of(self.folder / "DONE") == self.results_key
        return marked and self.trained and self.evaluated and self.analyzed

    @property
    def evaluated(self) -> bool:
        """Whether every table of the evaluation is there, of this configuration."""
        names = ["predictions", "evaluation", "cells"]
        names += [n for n in OF_TEXTS if self.reads_texts and getattr(self.evaluation, n)]
        tables = [self.folder / f"{name}.parquet" for name in names]
        return self._holds(tables, "evaluated", self.evaluation_key)

    @property
    def analyzed(self) -> bool:
        """Whether every table of the analyses is there, of this configuration."""
        return self._holds(list(self.analyses.values()), "analyzed", self.analyses_key)

    def _holds(self, tables: list[Path], stage: str, key: str) -> bool:
        return all(table.is_file() for table in tables) and recorded(self.folder, stage) == key

    @property
    def final_weights(self) -> Path:
        return self.folder / "checkpoints" / FINAL_WEIGHTS


def run_name(
    setting: str, targets: Sequence[Target], seed: int, identity: dict[str, Any], arm: str = ""
) -> str:
    """Readable name of a run; a hash at its end makes it the run's identity.

    A test domain and a draw (but the first) are named where the mixture serves no other, and the
    arm where it has a label.
    """
    domains = {target.test_domain for target in targets}
    draws = {target.draw for target in targets}
    parts = [setting, *(domains if len(domains) == 1 else [])]
    parts += [f"d{draw}" for draw in draws if draw and len(draws) == 1]
    parts += [arm] if arm else []
    return "-".join([*parts, f"s{seed}", sha256_of(identity)[:12]])


def cell_of(name: str) -> str:
    """A run's name without the hash: equal of runs that are planned in place of each other."""
    return name.rpartition("-")[0]


def identity(
    model: ModelConfig, training: TrainingConfig, seed: int, pixels: int, mixture: Mixture
) -> dict[str, Any]:
    """Everything that decides a run's weights."""
    trained = {k: v for k, v in resolved(training).items() if k not in NOT_IDENTITY}
    built = resolved(model)
    # what is in a file, not where it lies
    if Path(model.font).is_file():
        built["font"] = file_sha256(Path(model.font))
    source = training.text_pairs.source
    if source.endswith(".tsv") and Path(source).is_file():
        trained["text_pairs"]["source"] = file_sha256(Path(source))
    # runs that are older than these keys keep their names
    if not teaches_texts(training):
        del trained["text_pairs"]
    if not model.cut_texts:
        del built["cut_texts"]
    return {
        "schema_version": SCHEMA_VERSION,
        "model": built,
        "training": trained,
        "seed": seed,
        "pixels": pixels,
        "mixture_sha256": mixture.sha256,
    }


def pretrained_identity(source_sha256: str) -> dict[str, Any]:
    """What decides the weights of a model that is there already: its source, by its hash."""
    return {"schema_version": SCHEMA_VERSION, "source_sha256": source_sha256}


def run_identity(run: Run) -> dict[str, Any]:
    """Everything that decides the weights of a run."""
    if run.pretrained is not None:
        return pretrained_identity(run.source_sha256)
    return identity(run.model, run.training, run.seed, run.pixels, run.mixture)


def sha256_of(content: Any) -> str:
    """Hash of JSON-able content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def void_results(run: Run, *stages: str) -> None:
    """Before a run's weights or tables change: what DONE and run.json vouch for counts no more.

    The seconds of a stage that was finished go with it: they were spent on what is gone.

    Args:
        run: whose.
        stages: keys of run.json that are emptied: `evaluated`, `analyzed`, `checkpoint`.
    """
    (run.folder / "DONE").unlink(missing_ok=True)
    record = read_record(run.folder)
    known = [stage for stage in stages if stage in record]
    if known:  # where nothing is known, no record is begun
        over = {STAGES.get(stage) for stage in known if record[stage]}
        spent = {k: v for k, v in record.get("seconds", {}).items() if k not in over}
        update_record(run.folder, **dict.fromkeys(known, ""), seconds=spent)


def mark_done(run: Run) -> None:
    """Write DONE, if every table that is asked for is there and of this configuration."""
    if run.trained and run.evaluated and run.analyzed:
        write_text(run.folder / "DONE", run.results_key)


def read_record(folder: Path) -> dict[str, Any]:
    """Content of a run's run.json; empty where there is none yet."""
    path = folder / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise UserError(
            f"{path} is damaged", fix=f"delete {folder}; the next sweep does the run again"
        ) from None


def recorded(folder: Path, key: str) -> str:
    """Text of a key of a run's run.json; empty where there is none, or nobody can read it."""
    try:
        return str(read_record(folder).get(key, ""))
    except UserError:  # damaged
        return ""


def update_record(folder: Path, **values: Any) -> None:
    """Set keys of a run's run.json."""
    write_json(folder / "run.json", read_record(folder) | values)


def describe_run(run: Run, **facts: Any) -> None:
    """Write what decides a run (config.yaml), and its name, start and origin (run.json).

    Args:
        run: to be described.
        facts: further keys of run.json.
    """
    write_text(run.folder / "config.yaml", OmegaConf.to_yaml(run_identity(run)))
    update_record(
        run.folder,
        run=run.name,
        arm=run.arm,
        setting=run.setting,
        test_domains=run.test_domains,
        draws=sorted(run.draws),
        seed=run.seed,
        mixture_sha256=run.mixture.sha256 if run.mixtures else "",
        started=read_record(run.folder).get("started", utc_now()),
        **facts,
        **provenance(),
    )


def utc_now() -> str:
    """This moment, as run.json tells it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextmanager
def timed_stage(folder: Path, stage: str) -> Iterator[None]:
    """Add the seconds of a stage to run.json: their sum over all starts that were not killed."""
    start = time.monotonic()
    try:
        yield
    finally:
        seconds = dict(read_record(folder).get("seconds", {}))
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - start, 3)
        update_record(folder, seconds=seconds)
