"""Linear probes of scenes: which concepts and which objects does an embedding show?

A probe is a matrix without a bias, one row per concept value or per object, fitted by the soft
cross-entropy whose target is uniform over what a scene holds (Uselis et al. 2026). A scene counts
as recognised where everything that it holds outscores everything that it does not: recognition asks
for the whole set, which a ranking by popularity cannot give.

Legend: n scenes, d dimensions, k items (values of a concept, or objects).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import comb

from gen.scenes.space import ConceptSpace, Objects

STEPS, RATE = 300, 0.1
"""of Adam with a cosine schedule, on embeddings of unit root mean square"""
START = 1e-3
"""deviation of the first weights"""

Presence = NDArray[np.bool_]
"""[n, k] which items every scene holds"""
Embeddings = NDArray[np.float32]
"""[n, d]"""


def concept_presence(space: ConceptSpace, scenes: Objects) -> list[Presence]:
    """Per concept, [n, values]: which of its values the scenes [n, m] hold."""
    values = space.table[scenes]
    return [_presence(values[..., k], size) for k, size in enumerate(space.sizes)]


def object_presence(space: ConceptSpace, scenes: Objects) -> Presence:
    """[n, objects] which objects the scenes [n, m] hold."""
    return _presence(scenes, space.objects)


def fit_probe(
    embeddings: Embeddings,
    targets: Presence,
    *,
    seed: int = 0,
    steps: int = STEPS,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Weights W [k, d] that minimise the mean of −Σ_j p_j log softmax(W z)_j.

    p is uniform over the items of a scene. The steps are full-batch; the problem is convex, and the
    seed draws only where it begins.

    Args:
        embeddings: [n, d], of any scale; they are not centred, as a probe has no bias.
        targets: [n, k] which items every scene holds, at least one.
        seed: of the first weights.
        steps: of Adam.
        device: on which to compute.

    Raises:
        ValueError: shapes differ, there are no scenes, or a scene holds no item.
    """
    if len(embeddings) != len(targets) or not len(targets):
        raise ValueError(f"{len(embeddings)} embeddings for {len(targets)} targets")
    if not targets.any(axis=1).all():
        raise ValueError("a scene holds none of the items of its probe")
    size = float(np.sqrt(np.mean(np.square(embeddings, dtype=np.float64)))) or 1.0
    z = torch.as_tensor(embeddings, dtype=torch.float32, device=device) / size
    p = torch.as_tensor(targets, dtype=torch.float32, device=device)
    p = p / p.sum(dim=1, keepdim=True)
    random = torch.Generator().manual_seed(seed)
    weights = START * torch.randn(targets.shape[1], z.shape[1], generator=random)
    weights = weights.to(device).requires_grad_()
    adam = torch.optim.Adam([weights], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        adam.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(z @ weights.T, p).backward()
        adam.step()
        schedule.step()
    return (weights.detach() / size).cpu().numpy()


def recognised(scores: NDArray[np.floating], positives: Presence) -> NDArray[np.bool_]:
    """[n] whether every item of a scene strictly outscores every other item.

    A smaller bank (only the objects that training does not show) is a choice of columns of both.

    Args:
        scores: [n, k].
        positives: [n, k] which items every scene holds.

    Raises:
        ValueError: shapes differ, or a scene holds none or all of the items: see `askable`.
    """
    if scores.shape != positives.shape:
        raise ValueError(f"scores {scores.shape} for items {positives.shape}")
    if not askable(positives).all():
        raise ValueError("a scene holds none or all of the items: nothing is to be told apart")
    weakest = np.where(positives, scores, np.inf).min(axis=1)
    strongest = np.where(positives, -np.inf, scores).max(axis=1)
    return np.asarray(weakest > strongest)


def askable(positives: Presence) -> NDArray[np.bool_]:
    """[n] whether a scene holds some of the items [n, k] and lacks others."""
    return np.asarray(positives.any(axis=1) & ~positives.all(axis=1))


def chance(positives: Presence) -> NDArray[np.float64]:
    """[n] that a random order of the items [n, k] puts those of the scene first."""
    return 1 / comb(positives.shape[1], positives.sum(axis=1))


def bag_floor(
    space: ConceptSpace, scenes: Objects, bank: Objects | None = None
) -> NDArray[np.float64]:
    """[n] that the right objects come first where the values of a scene are known and no more.

    Every object all of whose values are in the scene is as likely as the others: of two objects
    that differ in both of two concepts, 4 objects are possible, and the floor is 1/6. It is 1
    where the values leave no choice, as with two objects of one colour.

    Args:
        space: the world.
        scenes: [n, m] numbers of objects.
        bank: objects that are ranked; all of them by default.
    """
    chosen = np.arange(space.objects) if bank is None else bank
    possible = np.ones((len(scenes), len(chosen)), dtype=bool)
    for k, present in enumerate(concept_presence(space, scenes)):
        possible &= present[:, space.table[chosen, k]]
    held = object_presence(space, scenes)[:, chosen]
    return 1 / comb(possible.sum(axis=1), held.sum(axis=1))


def _presence(items: Objects, count: int) -> Presence:
    """[n, count] which items are in each row of [n, m]."""
    present = np.zeros((len(items), count), dtype=bool)
    np.put_along_axis(present, items, True, axis=1)
    return present
