"""What a model makes of sentences at every site of what reads them.

Legend: T texts, L tokens, U units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from analysis.sites import Site, at_text_end, pool, probed_sites, taps, text_sites
from gen.evaluation.embed import BATCH, batch_size
from gen.models.clippo import Clippo
from gen.models.trained import Learner
from splits.errors import UserError

if TYPE_CHECKING:
    pass

EMBEDDING = "embedding"


@torch.inference_mode()
def sentence_activations(
    learner: Learner, texts: Sequence[str], device: torch.device
) -> dict[str, np.ndarray]:
    """Activations of sentences at every known site, the embedding (of any length) last.

    In the one tower of a CLIPPO the mean over positions, as for images; in a text tower what
    stands at the token from which the model makes its embedding. Of a text tower whose sites are
    not known the embedding alone.

    Args:
        learner: a model that reads texts.
        texts: all of which it can read.
        device: where to compute.

    Returns:
        By site, in the order of a text, float32 [T, U].

    Raises:
        ValueError: the model reads no text.
        UserError: a text cannot be encoded.
    """
    if learner.texts is None:
        raise ValueError("the model reads no text")
    model: Any = learner.model.to(device).eval()
    one_tower = isinstance(model, Clippo)
    sites = probed_sites(model)[:-1] if one_tower else _inner_sites(model)
    step = batch_size(learner.pixels) if one_tower else BATCH
    parts: dict[str, list[np.ndarray]] = {
        name: [] for name in [*(site.name for site in sites), EMBEDDING]
    }
    for start in range(0, len(texts), step):
        encoded = learner.texts.encode(texts[start : start + step]).to(device)
        found: dict[str, torch.Tensor] = {}
        with taps(sites, found.__setitem__):
            embedded = model.encode_text(encoded)
        for site, activations in found.items():
            taken = pool(activations) if one_tower else at_text_end(model, activations, encoded)
            parts[site].append(taken.float().cpu().numpy())
        parts[EMBEDDING].append(embedded.float().cpu().numpy())
    return {site: np.concatenate(batches) for site, batches in parts.items()}


def _inner_sites(model: Any) -> list[Site]:
    try:
        return [site for site in text_sites(model) if site.name != EMBEDDING]
    except UserError:  # of a tower that is none of open_clip's
        return []
