"""Training objectives as pure functions, the lowest value each can reach, and that of a guess.

With several processes every one computes its own rows against all columns; the mean over the
processes is the loss of the global batch, and so is the averaged gradient. Letters: b pairs of
this process, B pairs of all processes, E embedding, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.special import xlogy
from torch.nn.functional import cross_entropy, logsigmoid

from gen.schema import Objective

MAX_LOGIT_SCALE = math.log(100)

PATIENCE = 200
"""steps over which a loss must stay at the value of a guess before it counts as stuck"""
PROGRESS = 0.02
"""share of the value of a guess by which one loss must be lower to count as progress"""

Gather = Callable[[torch.Tensor], torch.Tensor]
"""rows of this process [b, ...] → rows of all processes [B, ...], differentiable"""


def contrastive_loss(
    kind: Objective,
    images_bE: torch.Tensor,
    texts_bE: torch.Tensor,
    captions_b: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    gather: Gather,
    first: int,
    anchors_b: torch.Tensor | None = None,
) -> torch.Tensor:
    """This process's part of the loss over the global batch, in nats.

    `infonce` is the symmetric softmax of CLIP (Radford et al. 2021, Fig. 3), where another pair
    of the same caption is a wrong match. `sigmoid` is SigLIP (Zhai et al. 2023, Eq. 1), where it
    is one as well. In `multi_positive` all pairs P(i) of one caption are matches:
    -log Σ_{p∈P(i)} softmax_p, in both directions (MIL-NCE, Miech et al. 2020, Eq. 1). The other
    way to have several matches, a target that is uniform over them (SupCon's L_out), has the
    value of plain InfoNCE when equal captions have equal embeddings, as here.

    In a pair of texts, the first text stands where other pairs have their image. Where it is the
    caption of another pair the two are equal: a match for `multi_positive`, too.

    Args:
        kind: which loss.
        images_bE, texts_bE: normalised embeddings; row i of both is one pair.
        captions_b: int64, equal for equal captions (of a pair of texts: its second text).
        scale: factor of the cosines (the exponential of the learned logarithm), scalar.
        bias: added to the logits by `sigmoid`; without effect on a softmax.
        gather: gives the rows of all processes; its gradient sums over them.
        first: where this process's rows begin in the global batch.
        anchors_b: int64, for a pair of texts the number of its first text, else that of the
            caption; None where there are no pairs of texts.

    Raises:
        ValueError: `sigmoid` without a bias.
    """
    own_b = first + torch.arange(len(images_bE), device=images_bE.device)
    by_image_bB = scale * images_bE @ gather(texts_bE).T
    if kind is Objective.sigmoid:
        if bias is None:
            raise ValueError("the sigmoid objective needs a model with a bias")
        return _sigmoid(by_image_bB + bias, own_b)
    by_text_bB = scale * texts_bE @ gather(images_bE).T
    if kind is Objective.infonce:
        return (cross_entropy(by_image_bB, own_b) + cross_entropy(by_text_bB, own_b)) / 2
    anchors_b = captions_b if anchors_b is None else anchors_b
    captions_B, anchors_B = gather(captions_b), gather(anchors_b)
    equal_bB = captions_b[:, None] == captions_B
    of_image_bB = equal_bB | (anchors_b[:, None] == captions_B)
    of_text_bB = equal_bB | (captions_b[:, None] == anchors_B)
    return (_any_match(by_image_bB, of_image_bB) + _any_match(by_text_bB, of_text_bB)) / 2


def classifier_loss(logits_bC: torch.Tensor, labels_b: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats; its mean over the processes is that of the global batch."""
    return cross_entropy(logits_bC, labels_b)


def loss_floor(kind: Objective, captions: np.ndarray, anchors: np.ndarray | None = None) -> float:
    """Lowest loss that any model can reach on a batch with repeated captions, in nats.

    A caption that stands n times in the batch gives n equal logits in a row. A softmax puts at
    best 1/n on the right one: ln n. Of n sigmoids that share one logit, one should be 1 and n - 1
    should be 0: at best all are 1/n, and the row costs -ln(1/n) - (n - 1) ln(1 - 1/n). With
    several matches nothing is lost. The first text of a pair of texts has its largest logit with
    a caption that is equal to it, which counts among the n.

    Args:
        kind: which loss.
        captions, anchors: as in `contrastive_loss`, of the global batch, shape [B].
    """
    of_image, of_text = _matches(captions, anchors)
    if kind is Objective.multi_positive:
        return 0.0
    if kind is Objective.sigmoid:
        return float(_shared_logit(of_image).mean())
    return float(np.log(of_image * of_text).mean() / 2)


def guess_loss(kind: Objective, captions: np.ndarray, anchors: np.ndarray | None = None) -> float:
    """Loss of a model that tells nothing apart (all logits equal), in nats.

    For the softmax that is ln B, less ln n with n matches; for the sigmoid, whose best common
    logit has the probability 1/B, it is B ln B - (B - 1) ln(B - 1), about 1 + ln B.

    Args:
        kind: which loss.
        captions, anchors: as in `contrastive_loss`, of the global batch, shape [B].
    """
    batch = len(captions)
    if kind is Objective.multi_positive:
        of_image, of_text = _matches(captions, anchors)
        return float(math.log(batch) - np.log(of_image * of_text).mean() / 2)
    if kind is Objective.sigmoid:
        return float(_shared_logit(np.array(batch)))
    return math.log(batch)


def stuck(steps: Sequence[int], losses: Sequence[float], guess: float) -> bool:
    """Whether a loss stays where it is without any learning: the collapse of a tower.

    True when the losses reach back over PATIENCE steps at least, and none of those steps has a
    loss more than PROGRESS below a guess. A sound model leaves that value within its warm-up, or
    tens of steps after it.

    Args:
        steps: at which the losses were, increasing; only steps after the warm-up belong here.
        losses: as many.
        guess: `guess_loss` of the batches; for a classifier the logarithm of its classes.
    """
    if not steps or steps[-1] - steps[0] < PATIENCE:
        return False
    recent = [
        loss for step, loss in zip(steps, losses, strict=True) if step >= steps[-1] - PATIENCE
    ]
    return min(recent) >= (1 - PROGRESS) * guess


def _sigmoid(logits_bB: torch.Tensor, own_b: torch.Tensor) -> torch.Tensor:
    columns_B = torch.arange(logits_bB.shape[1], device=logits_bB.device)
    signed_bB = torch.where(columns_B == own_b[:, None], logits_bB, -logits_bB)
    return -logsigmoid(signed_bB).sum(dim=1).mean()


def _any_match(logits_bB: torch.Tensor, matches_bB: torch.Tensor) -> torch.Tensor:
    matching_b = logits_bB.masked_fill(~matches_bB, -torch.inf).logsumexp(dim=1)
    return (logits_bB.logsumexp(dim=1) - matching_b).mean()


def _matches(captions: np.ndarray, anchors: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """How many captions of the batch are each image's (or equal to the first text in its place),
    and how many images or first texts are each caption's; int64 [B] both."""
    anchors = captions if anchors is None else anchors
    values, number = np.unique(np.concatenate([captions, anchors]), return_inverse=True)
    of_caption, of_anchor = np.split(number, 2)
    other = of_anchor != of_caption
    copies = np.bincount(of_caption, minlength=len(values))
    equal = np.bincount(of_anchor[other], minlength=len(values))
    return copies[of_caption] + other * copies[of_anchor], (copies + equal)[of_caption]


def _shared_logit(copies: np.ndarray) -> np.ndarray:
    """-ln(1/n) - (n - 1) ln(1 - 1/n), written so that it is 0 at n = 1."""
    return xlogy(copies, copies) - xlogy(copies - 1, copies - 1)
