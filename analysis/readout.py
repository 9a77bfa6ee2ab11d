"""What a model's answer is read from: logits of all classes, and the margin of the right one.

Legend: B batch, C classes, E embedding channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import normalize

from gen.evaluation.zero_shot import logit_scale
from gen.models.classifier import Classifier

if TYPE_CHECKING:
    from gen.models.trained import Learner


@dataclass(frozen=True)
class Readout:
    """The last step of a model, from image embeddings to classes.

    Attributes:
        weights_CE: class texts, of length 1; of a classifier the rows of its head.
        bias_C: of a classifier; None of a model that reads texts, whose answers are cosines.
        temperature: τ, by which cosines are multiplied; 1 of a classifier.
    """

    weights_CE: torch.Tensor
    bias_C: torch.Tensor | None
    temperature: float

    @property
    def classes(self) -> int:
        return len(self.weights_CE)

    def to(self, device: torch.device) -> Readout:
        bias_C = None if self.bias_C is None else self.bias_C.to(device)
        return replace(self, weights_CE=self.weights_CE.to(device), bias_C=bias_C)

    def scores(self, features_BE: torch.Tensor) -> torch.Tensor:
        """How well every class fits, [B, C]: cosines, or a classifier's logits."""
        if self.bias_C is None:
            return normalize(features_BE, dim=-1) @ self.weights_CE.T
        return features_BE @ self.weights_CE.T + self.bias_C

    def margins(self, features_BE: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """s_y − (1/τ) log Σ_{c ≠ y} exp(τ s_c), [B]: above 0 where y beats all others together.

        Unlike the score s_y alone it gives no credit for what raises all classes alike.
        """
        scores_BC = self.scores(features_BE)
        is_own_BC = torch.nn.functional.one_hot(labels_B, self.classes).bool()
        others_BC = (self.temperature * scores_BC).masked_fill(is_own_BC, -torch.inf)
        return self.own(scores_BC, labels_B) - others_BC.logsumexp(dim=1) / self.temperature

    def own_scores(self, features_BE: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """s_y, [B]: the metric of Kempf et al. 2025, where it is the cosine to the own text."""
        return self.own(self.scores(features_BE), labels_B)

    @staticmethod
    def own(scores_BC: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return scores_BC.gather(1, labels_B[:, None])[:, 0]


def readout(learner: Learner, texts_CE: np.ndarray | None, classes: list[int]) -> Readout:
    """The readout of a trained model.

    Args:
        learner: the model.
        texts_CE: class texts of length 1, of the classes that count; None of a classifier.
        classes: positions of these classes among those of a classifier's head.

    Raises:
        ValueError: texts are missing, or a classifier has some.
    """
    model = learner.model
    if isinstance(model, Classifier) != (texts_CE is None):
        raise ValueError("class texts belong to models that read texts, and to no classifier")
    if isinstance(model, Classifier):
        weight, bias = (
            part.detach()[classes].float() for part in (model.head.weight, model.head.bias)
        )
        return Readout(weight, bias, 1.0)
    return Readout(torch.from_numpy(np.asarray(texts_CE, np.float32)), None, logit_scale(learner))
