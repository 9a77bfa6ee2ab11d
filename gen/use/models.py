"""The model that a command line names, with what tells it from every other one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gen.datasets.samples import Dataset
from gen.models.classifier import Classifier
from gen.models.export import CLIPPO_CONFIG, CLIPPO_WEIGHTS, load_clippo
from gen.models.pretrained import LOCAL, load_pretrained, source_sha256
from gen.models.trained import Learner, load_trained
from gen.runs import Run, file_sha256, run_identity
from gen.schema import PretrainedConfig
from splits.errors import UserError


@dataclass(frozen=True)
class UsedModel:
    """A model that is put to use.

    Attributes:
        name: for people.
        learner: the model, and how images and texts enter it.
        source: what decides it, besides its weights: JSON-able.
        run: that trained it; None of a model that was there already.
        dataset: of the run's study.
    """

    name: str
    learner: Learner
    source: Mapping[str, Any]
    run: Run | None = None
    dataset: Dataset | None = None

    @property
    def is_classifier(self) -> bool:
        return isinstance(self.learner.model, Classifier)

    @property
    def image_key(self) -> dict[str, Any]:
        """All that decides an image's embedding."""
        return {
            "source": dict(self.source),
            "weights_sha256": self.learner.checkpoint,
            "pixels": self.learner.pixels,
            "mean": list(self.learner.mean),
            "std": list(self.learner.std),
        }


def trained_model(run: Run, dataset: Dataset, study: str) -> UsedModel:
    """The model of a run of a study, which may also be one that was there already.

    Raises:
        UserError: it is not trained, or its weights cannot be read.
    """
    if run.pretrained is not None:
        return pretrained_model(run.pretrained)
    if not run.trained:
        fix = f"clipgen train {study} --run {run.name}"
        raise UserError(f"run {run.name} is not trained", where=str(run.folder), fix=fix)
    learner = load_trained(run, dataset)
    return UsedModel(f"{study}/{run.name}", learner, run_identity(run), run, dataset)


def pretrained_model(source: PretrainedConfig) -> UsedModel:
    """A model of open_clip, or what `clipgen export` wrote, a CLIPPO among them.

    Raises:
        UserError: there is no such model, or it cannot be opened.
    """
    folder = Path(source.model.removeprefix(LOCAL))
    if source.model.startswith(LOCAL) and not source.weights and (folder / CLIPPO_CONFIG).is_file():
        learner = load_clippo(folder)
        weights = file_sha256(folder / CLIPPO_WEIGHTS)
        described = {"config_sha256": file_sha256(folder / CLIPPO_CONFIG)}
        return UsedModel(source.model, replace(learner, checkpoint=weights), described)
    described = {"source_sha256": source_sha256(source, where="the command line")}
    name = f"{source.model} ({source.weights})" if source.weights else source.model
    return UsedModel(name, load_pretrained(source), described)
