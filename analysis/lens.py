"""What the text tower could read off every layer, were it the last one.

The logit lens (nostalgebraist 2020) sends a block's tokens through the tower's own head; the tuned
lens (Belrose et al. 2023) through a linear map to the embedding, fitted on all domains but one.
Both are answered by the class with the nearest text. docs/lens.md has the protocol.

Legend: B batch, T tokens, N images, C classes, U units, E embedding channels, R strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from analysis.class_sets import ClassSet
from analysis.probes import Activations
from analysis.scores import class_set_scores
from analysis.sites import list_sites, taps
from gen.evaluation.embed import embed_batches
from gen.schema import SiteLevel
from splits.errors import UserError

if TYPE_CHECKING:
    from gen.models.trained import Learner

EMBEDDING = "embedding"
STRENGTHS = np.logspace(-8, 3, 45)
"""of the ridge, as shares of the mean variance of a principal component"""
LENS: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "lens": pl.String},
    **{"test_domain": pl.String, "domain": pl.String, "draw": pl.Int64, "classes": pl.String},
    **{"value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64},
    **{"n_classes": pl.Int64, "chance": pl.Float64, "note": pl.String},
}


def readout(tower: Any) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """How an image tower makes its embedding of the last block's tokens: [B, T, U] → [B, E].

    Its own normalisation, pooling and projection. None of a tower whose blocks are not all as wide
    as the last, as those of a ResNet.
    """
    if hasattr(tower, "transformer") and hasattr(tower, "_pool"):  # open_clip's

        def project(tokens: torch.Tensor) -> torch.Tensor:
            pooled = tower._pool(tokens)[0]
            return pooled if tower.proj is None else pooled @ tower.proj

        return project
    trunk = getattr(tower, "trunk", tower)
    if all(hasattr(trunk, name) for name in ("norm_pre", "blocks", "norm", "forward_head")):
        head = tower.head if trunk is not tower else torch.nn.Identity()  # of open_clip's adapter
        return lambda tokens: head(trunk.forward_head(trunk.norm(tokens)))
    return None


def logit_lens(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    samples: pl.DataFrame,
    test_domains: Sequence[str],
    class_sets: Sequence[ClassSet],
    texts_CE: np.ndarray,
    device: torch.device,
) -> pl.DataFrame:
    """Zero-shot accuracy of the tower's own head on the tokens of every block, and of the model.

    The site `embedding` has the model's own answers. Nothing is fitted and nothing left out: the
    rows of all test domains are the same, to stand beside those of the tuned lens.

    Args:
        learner: a model with a vision transformer.
        batches: of the images, uint8, each of shape [b, 3, P, P].
        samples: the images' rows (`domain`, `class_id`).
        test_domains: of the run.
        class_sets: of class ids; the first holds all classes.
        texts_CE: their embeddings.
        device: where to compute.

    Raises:
        UserError: the tower has no head that reads the tokens of its blocks.
    """
    tower: Any = learner.model.visual
    read = readout(tower)
    if read is None:
        raise UserError(
            f"the image tower {type(getattr(tower, 'trunk', tower)).__name__} has no logit lens",
            expected="a vision transformer, all of whose blocks are as wide as its last",
        )
    texts = torch.from_numpy(texts_CE).to(device)
    rows: list[dict] = []
    for depth, (site, found) in enumerate(_answers(learner, batches, read, texts, device).items()):
        key = {"site": site, "depth": depth, "lens": "logit"}
        rows += [key | row for row in _scores(found, samples, class_sets)]
    repeated = [{"test_domain": name} | row for name in test_domains for row in rows]
    return _table(repeated, len(texts_CE))


def _answers(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    read: Callable[[torch.Tensor], torch.Tensor],
    texts_CE: torch.Tensor,
    device: torch.device,
) -> dict[str, np.ndarray]:
    """The class with the nearest text at every site, int [N]; of all else nothing is kept."""
    sites = list_sites(learner.model, SiteLevel.residual)
    found: dict[str, list[torch.Tensor]] = {site.name: [] for site in sites}

    def answer(site: str, embeddings_BE: torch.Tensor) -> None:
        found[site].append((embeddings_BE.float() @ texts_CE.T).argmax(dim=1).cpu())

    inner = [site for site in sites if site.name != EMBEDDING]
    with taps(inner, lambda site, tokens: answer(site, read(tokens))):
        embed_batches(learner, batches, device, lambda features: answer(EMBEDDING, features))
    return {site: torch.cat(answers).numpy() for site, answers in found.items()}


def tuned_lens(
    pool: Activations,
    tested: Activations,
    test_domains: Sequence[str],
    class_sets: Sequence[ClassSet],
    texts_CE: np.ndarray,
) -> pl.DataFrame:
    """Zero-shot accuracy of embeddings that are predicted from every site by a linear map.

    The map is fitted on all domains but the test domain and applied in all: what it loses in the
    test domain beyond what it loses elsewhere is where this domain is held otherwise. The site
    `embedding` has the model's own answers.

    Args:
        pool: images to fit on; their last site is `embedding`.
        tested: test images.
        test_domains: each is left out in turn.
        class_sets: of class ids; the first holds all classes.
        texts_CE: their embeddings.

    Raises:
        ValueError: an image stands in both, or no other domain has images.
    """
    if set(pool.samples["id"]) & set(tested.samples["id"]):
        raise ValueError("images on which maps are fitted are tested, too")
    rows: list[dict] = []
    for test_domain in test_domains:
        fitted = (pool.samples["domain"] != test_domain).to_numpy()
        if not fitted.any():
            raise ValueError(f"{test_domain} is the only domain to fit a lens on")
        target_NE = _normalised(pool.sites[EMBEDDING][fitted])
        for depth, site in enumerate(pool.sites):
            embeddings_NE = tested.sites[site]
            if site != EMBEDDING:
                embeddings_NE = ridge_map(pool.sites[site][fitted], target_NE)(embeddings_NE)
            found = (embeddings_NE @ texts_CE.T).argmax(axis=1)
            key = {"site": site, "depth": depth, "lens": "tuned", "test_domain": test_domain}
            rows += [key | row for row in _scores(found, tested.samples, class_sets)]
    return _table(rows, len(texts_CE))


@dataclass(frozen=True)
class RidgeMap:
    """An affine map.

    Attributes:
        centre_U: mean of what it was fitted on.
        weights_UE: of the units.
        offset_E: mean of what it predicts.
        strength: λ, as a share of the mean variance of a principal component.
    """

    centre_U: np.ndarray
    weights_UE: np.ndarray
    offset_E: np.ndarray
    strength: float

    def __call__(self, features_NU: np.ndarray) -> np.ndarray:
        """Predictions, [N, E]."""
        return (features_NU - self.centre_U) @ self.weights_UE + self.offset_E


def ridge_map(features_NU: np.ndarray, targets_NE: np.ndarray) -> RidgeMap:
    """Ridge regression with a free intercept, its strength chosen by generalised cross-validation.

    GCV(λ) = (1/N) ‖(I − A)Y‖² / (tr(I − A)/N)² (Golub, Heath & Wahba 1979), where A Y is what the
    fit of strength λ says of Y: from the images fitted on alone, and one λ for all channels.
    Features that are all the same predict the mean.
    """
    centre_U, offset_E = features_NU.mean(axis=0, dtype=float), targets_NE.mean(axis=0, dtype=float)
    x_NU, y_NE = features_NU - centre_U, targets_NE - offset_E
    variances, vectors = np.linalg.eigh(x_NU.T @ x_NU)
    kept = variances > max(x_NU.shape) * np.finfo(np.float32).eps * variances[-1]
    if not kept.any():
        nothing = np.zeros((len(centre_U), len(offset_E)))
        return RidgeMap(centre_U, nothing, offset_E, float(STRENGTHS[-1]))
    variances, vectors = variances[kept], vectors[:, kept]
    along_UE = vectors.T @ (x_NU.T @ y_NE)
    powers = (along_UE**2).sum(axis=1) / variances  # of the targets along each component
    lambdas_R = STRENGTHS * variances.mean()
    shrunk_RU = variances / (variances + lambdas_R[:, None])
    total = (y_NE**2).sum()
    left_R = total - ((2 * shrunk_RU - shrunk_RU**2) * powers).sum(axis=1)
    left_R = np.maximum(left_R, np.finfo(float).eps * total)  # what rounding leaves of 0
    free_R = len(x_NU) - 1 - shrunk_RU.sum(axis=1)
    scores_R = np.where(free_R > 0, left_R / np.maximum(free_R, 1e-9) ** 2, np.inf)
    best = int(scores_R.argmin())
    weights_UE = vectors @ (along_UE / (variances + lambdas_R[best])[:, None])
    return RidgeMap(centre_U, weights_UE, offset_E, float(STRENGTHS[best]))


def _normalised(embeddings_NE: np.ndarray) -> np.ndarray:
    return embeddings_NE / np.linalg.norm(embeddings_NE, axis=1, keepdims=True)


def _scores(
    found: np.ndarray, samples: pl.DataFrame, class_sets: Sequence[ClassSet]
) -> Iterator[dict]:
    """Accuracy of answers in every domain, per set of classes."""
    labels, domains = samples["class_id"].to_numpy(), samples["domain"].to_numpy()
    right = found == labels
    for domain in samples["domain"].unique(maintain_order=True):
        mask = domains == domain
        for row in class_set_scores(right[mask], labels[mask], class_sets):
            yield {"domain": domain, **row}


def _table(rows: list[dict], classes: int) -> pl.DataFrame:
    key = {"level": SiteLevel.residual.value, "chance": 1 / classes}
    return pl.DataFrame([key | row for row in rows], schema=LENS)
