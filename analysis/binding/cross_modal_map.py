"""LABCLIP: does a linear map of the text side let a frozen model bind across modalities?

Koishigarina, Uselis & Oh (2026). The similarity becomes cos(x, A t), without a bias, A the identity
at the start, with a scale exp(τ), τ = 0 at the start. Swapped captions are the hard negatives:

    L = ½ (L_image + L_text)
    L_image = mean over i of -log softmax over the B captions and the B swaps of a batch
    L_text  = mean over i of -log softmax over the B images of a batch

If the map reaches what neither embedding shows across modalities, object information was there in
both, and only not aligned. Fitted on scenes whose swaps are made of train objects as well: no
unseen object is a negative.

Legend: n scenes, d dimensions, B scenes of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.rebindings import object_sets
from analysis.binding.recognition import divided
from analysis.binding.shares import missing
from analysis.binding.swap_retrieval import fair, parts, swap_accuracy
from gen.scenes.coverage import Part
from gen.scenes.swaps import swapped

RATE = 1e-2
EPOCHS = 50
BATCH = 128
FEWEST = 2
"""scenes to fit on"""


@dataclass(frozen=True)
class TextMap:
    """A linear map of texts.

    Attributes:
        matrix: [d, d] A.
        scale: exp(τ).
    """

    matrix: NDArray[np.float32]
    scale: float

    def applied(self, texts: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, d] A t of the texts [n, d], of length 1."""
        moved = texts @ self.matrix.T
        sizes = np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
        return np.asarray(moved / sizes, dtype=np.float32)


def map_rows(
    embedded: EmbeddedScenes, *, seed: int = 0, device: torch.device | str = "cpu"
) -> list[dict[str, Any]]:
    """Swap accuracy before and after the map, by part: rows of a table.

    Args:
        embedded: scenes with captions and swaps.
        seed: of the division into fitted and asked scenes, and of the batches.
        device: on which to fit.

    Returns:
        Rows of `Share` with `part` and `mapped`: False before, True after; on the same scenes, of
        which none was fitted.
    """
    before = asked(embedded, seed)
    names = [name for name, _ in before]
    fitted = fitted_rows(embedded, seed)
    if len(fitted) < FEWEST or not len(embedded.swaps) or not len(embedded.texts):
        reason = missing("too few scenes with captions and matched swaps to fit a map")
        return [reason.row(part=name, mapped=mapped) for name in names for mapped in (False, True)]
    found = fit_text_map(embedded.rows(fitted), seed=seed, device=device)
    rows = []
    for name, part in before:
        after = replace(part, texts=found.applied(part.texts), swaps=found.applied(part.swaps))
        rows.append(swap_accuracy(part).row(part=name, mapped=False))
        rows.append(swap_accuracy(after).row(part=name, mapped=True))
    return rows


def asked(embedded: EmbeddedScenes, seed: int) -> list[tuple[str, EmbeddedScenes]]:
    """Name and scenes of the parts, without the families that are fitted."""
    _, rows = divided(embedded.space, embedded.scenes, seed)
    return parts(embedded.rows(rows))


def fitted_rows(embedded: EmbeddedScenes, seed: int) -> NDArray[np.int64]:
    """Rows to fit on: of fitted families, of train objects, with matched swaps."""
    rows, _ = divided(embedded.space, embedded.scenes, seed)
    chosen = fair(embedded)[rows]
    if embedded.split is not None:
        chosen &= embedded.split.parts(embedded.scenes[rows]) == int(Part.train)
    return rows[chosen]


def fit_text_map(
    embedded: EmbeddedScenes, *, seed: int, device: torch.device | str = "cpu"
) -> TextMap:
    """Fit A and τ by Adam on all given scenes.

    Args:
        embedded: scenes with captions and swaps.
        seed: of the order of the batches.
        device: on which to fit.
    """
    images, texts, swaps = (
        torch.as_tensor(values, device=device)
        for values in (embedded.images, embedded.texts, embedded.swaps)
    )
    sets = torch.as_tensor(_sets(embedded), device=device)
    matrix = torch.eye(images.shape[1], device=device).requires_grad_()
    log_scale = torch.zeros((), device=device).requires_grad_()
    adam = torch.optim.Adam([matrix, log_scale], lr=RATE)
    random = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        order = random.permutation(len(images))
        for start in range(0, len(order), BATCH):
            rows = torch.as_tensor(order[start : start + BATCH], device=device)
            loss = hard_negative_loss(
                images[rows],
                texts[rows] @ matrix.T,
                swaps[rows] @ matrix.T,
                sets[rows],
                log_scale,
            )
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
    return TextMap(matrix.detach().cpu().numpy(), float(log_scale.detach().exp()))


def hard_negative_loss(
    images: torch.Tensor,
    texts: torch.Tensor,
    swaps: torch.Tensor,
    sets: torch.Tensor,
    log_scale: torch.Tensor,
) -> torch.Tensor:
    """L of a batch. Captions of the same objects, and swaps into them, are no negatives.

    Args:
        images, texts, swaps: [B, d], of whatever length; swap i is that of text i.
        sets: [B, 2] numbers of the sets of objects of every scene and of its swap.
        log_scale: τ.
    """
    x, t, s = (torch.nn.functional.normalize(values, dim=1) for values in (images, texts, swaps))
    own = torch.arange(len(x), device=x.device)
    same = (sets[:, None, 0] == sets[None, :, 0]) & (own[:, None] != own[None, :])
    captions = (log_scale.exp() * x @ t.T).masked_fill(same, -torch.inf)
    wrong = (log_scale.exp() * x @ s.T).masked_fill(sets[:, None, 0] == sets[:, 1], -torch.inf)
    by_image = torch.nn.functional.cross_entropy(torch.cat([captions, wrong], dim=1), own)
    by_text = torch.nn.functional.cross_entropy(captions.T, own)
    return (by_image + by_text) / 2


def _sets(embedded: EmbeddedScenes) -> NDArray[np.int64]:
    """[n, 2] numbers of the sets of objects of the scenes and of their swaps."""
    scenes = embedded.scenes
    both = object_sets(np.concatenate([scenes, swapped(embedded.space, scenes, 0)]))
    return both.reshape(2, -1).T.copy()
