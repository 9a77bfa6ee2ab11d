"""Predictions over all classes: zero-shot with a set of prompts, or a classifier's own.

Legend: N images, E embedding channels, C classes, K guesses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
import torch
from torch.nn.functional import log_softmax, normalize

from gen.evaluation.embed import embed_batches, embed_images, embed_texts
from gen.evaluation.prompts import ANY_DOMAIN, Wording, domains_of, sentences, unreadable
from gen.models.classifier import Classifier
from gen.models.trained import Learner
from gen.schema import CaptionStyle, PromptSet
from splits.errors import UserError

TOP = 5
ROWS_AT_A_TIME = 4096

Heads = Mapping[str, torch.Tensor]
"""class embeddings [C, E] by the domain of the test images; ANY_DOMAIN where all have the same"""


def class_embeddings(
    learner: Learner,
    prompt_sets: Sequence[PromptSet],
    classes: Sequence[str],
    wording: Wording,
    device: torch.device,
) -> dict[PromptSet, Heads]:
    """The class embeddings of every prompt set; a sentence of several sets is embedded once.

    An embedding is the normalised mean of its sentences' normalised embeddings (Radford et al.
    2021, Section 3.1.4), float32 on the CPU.

    Raises:
        UserError: the model cannot read a sentence; names its set.
    """
    known: dict[str, torch.Tensor] = {}
    found: dict[PromptSet, Heads] = {}
    for prompt_set in prompt_sets:
        ensembles = {
            domain: [sentences(prompt_set, name, wording, domain) for name in classes]
            for domain in domains_of(prompt_set, wording)
        }
        try:
            _embed_new(learner, ensembles.values(), known, device)
        except UserError as error:
            raise unreadable(prompt_set, prompt_sets, error) from None
        found[prompt_set] = {
            domain: torch.stack([mean_embedding(texts, known) for texts in by_class])
            for domain, by_class in ensembles.items()
        }
    return found


def image_features(
    learner: Learner, batches: Iterable[torch.Tensor], device: torch.device
) -> torch.Tensor:
    """What classes are chosen by: normalised embeddings [N, E]; of a classifier see below.

    Args:
        learner: a trained model.
        batches: uint8 images, each of shape [b, 3, H, W].
        device: where to compute.

    Returns:
        float32, on the CPU. Of a classifier its log-probabilities, [N, C].
    """
    parts: list[torch.Tensor] = []
    model = learner.model

    def keep(features: torch.Tensor) -> None:
        if isinstance(model, Classifier):
            parts.append(log_softmax(model.head(features), dim=-1).cpu())
        else:
            parts.append(normalize(features, dim=-1).cpu())

    embed_batches(learner, batches, device, keep)
    return torch.cat(parts)


def predict(
    features: torch.Tensor, samples: pl.DataFrame, heads: Heads | None, scale: float
) -> pl.DataFrame:
    """The five best classes of every image.

    Args:
        features: of `image_features`, [N, E] or [N, C].
        samples: the images' rows of the sample table.
        heads: class embeddings of a prompt set; None for a classifier.
        scale: that of the model's logits, by which cosines become probabilities (softmax over all
            classes); 1 for a classifier.

    Returns:
        `id`, `split`, `domain`, `class_name`, `label`, `top5` (class ids, best first), `scores`
        (cosines, or log-probabilities) and `confidence` (probability of the first).
    """
    groups = rows_by_domain(samples, heads)
    classes = features.shape[1] if heads is None else len(next(iter(heads.values())))
    guesses = min(TOP, classes)
    top5 = np.empty((len(features), guesses), np.int64)
    scores, confidence = np.empty(top5.shape, np.float32), np.empty(len(top5), np.float32)
    for domain, rows in groups.items():
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            part = rows[start : start + ROWS_AT_A_TIME]
            values = features[torch.from_numpy(part)]
            values = values if heads is None else values @ heads[domain].T
            best = values.topk(guesses, dim=1)
            top5[part], scores[part] = best.indices.numpy(), best.values.numpy()
            confidence[part] = (values * scale).softmax(dim=1).amax(dim=1).numpy()
    return samples.select("id", "split", "domain", "class_name", label="class_id").with_columns(
        pl.Series("top5", top5).cast(pl.List(pl.Int64)),
        pl.Series("scores", scores).cast(pl.List(pl.Float32)),
        pl.Series("confidence", confidence),
    )


def logit_scale(learner: Learner) -> float:
    """What the model multiplies cosines by, for a softmax over classes; 1 for a classifier."""
    if isinstance(learner.model, Classifier):
        return 1.0
    return float(learner.model.logit_scale.detach().exp())


def class_scores(
    learner: Learner,
    images: np.ndarray,
    classes: Sequence[str],
    style: CaptionStyle,
    device: torch.device,
) -> torch.Tensor:
    """How well every class fits every image, by the prompts that name no domain.

    Args:
        learner: a trained model that reads texts.
        images: uint8, shape [N, H, W, 3].
        classes: class names, in the order of their ids.
        style: patterns of the prompts.
        device: where to compute.

    Returns:
        Cosines, float32 of shape [N, C], on the CPU.
    """
    wording = Wording(style, {})
    heads = class_embeddings(learner, [PromptSet.domain_free], classes, wording, device)
    return embed_images(learner, images, device) @ heads[PromptSet.domain_free][ANY_DOMAIN].T


def rows_by_domain(samples: pl.DataFrame, heads: Heads | None) -> dict[str, np.ndarray]:
    """Positions of the samples that are compared with the same class embeddings."""
    if heads is None or set(heads) == {ANY_DOMAIN}:
        return {ANY_DOMAIN: np.arange(samples.height)}
    domains = samples["domain"].to_numpy()
    return {domain: np.flatnonzero(domains == domain) for domain in np.unique(domains)}


def _embed_new(
    learner: Learner,
    ensembles: Iterable[Sequence[Sequence[str]]],
    known: dict[str, torch.Tensor],
    device: torch.device,
) -> None:
    """Embed the sentences that are not known yet."""
    distinct = dict.fromkeys(text for lists in ensembles for texts in lists for text in texts)
    new = [text for text in distinct if text not in known]
    if new:
        known.update(zip(new, embed_texts(learner, new, device), strict=True))


def mean_embedding(texts: Sequence[str], known: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Normalised mean of the embeddings of some texts, [E]."""
    return normalize(torch.stack([known[text] for text in texts]).mean(dim=0), dim=-1)
