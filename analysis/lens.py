"""What the text tower could read off every layer, were it the last one.

The logit lens (nostalgebraist 2020) sends a block's tokens through the tower's own head; the tuned
lens (Belrose et al. 2023) through a linear map to the embedding, fitted on all domains but one.
Both are answered by the class with the nearest text. docs/lens.md has the protocol.

Legend: B batch, T tokens, N images, C classes, U units, E embedding channels, R strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from analysis.class_sets import ClassSet
from analysis.probes import Activations
from analysis.scores import class_set_scores
from analysis.sites import list_sites, taps
from analysis.statistics import Refused, paired_ratio_interval
from gen.evaluation.embed import embed_batches
from gen.schema import SiteLevel
from splits.errors import UserError

if TYPE_CHECKING:
    from gen.models.trained import Learner

EMBEDDING = "embedding"
STRENGTHS = np.logspace(-8, 3, 45)
"""of the ridge, as shares of the mean variance of a principal component"""
RESAMPLES = 1000
KEPT = ("kept", "kept_lo", "kept_hi")
LENS: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "lens": pl.String},
    **{"test_domain": pl.String, "domain": pl.String, "draw": pl.Int64, "classes": pl.String},
    **{"value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64},
    **{"n_classes": pl.Int64, "chance": pl.Float64, "own": pl.Float64},
    **dict.fromkeys(KEPT, pl.Float64),
    **{"note": pl.String},
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
    accuracies of all test domains are the same, to stand beside those of the tuned lens.

    Args:
        learner: a model with a vision transformer.
        batches: of the images, uint8, each of shape [b, 3, P, P].
        samples: the images' rows (`domain`, `class_id`).
        test_domains: as of the tuned lens.
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
    answers = _answers(learner, batches, read, texts, device)
    own = answers[EMBEDDING]
    rows: list[dict] = []
    for depth, (site, found) in enumerate(answers.items()):
        for test_domain in test_domains:
            key = {"site": site, "depth": depth, "lens": "logit", "test_domain": test_domain}
            scores = _scores(found, own, samples, class_sets, test_domain)
            rows += [key | row for row in scores]
    return _table(rows, len(texts_CE))


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

    The map is fitted on all domains but one and applied in all. Any domain loses by being left out:
    what a test domain loses says something beside what the others do, each left out in its turn.
    The site `embedding` has the model's own answers.

    Args:
        pool: images to fit on; their last site is `embedding`.
        tested: test images.
        test_domains: each is left out in turn; all domains, to be compared.
        class_sets: of class ids; the first holds all classes.
        texts_CE: their embeddings.

    Raises:
        ValueError: an image stands in both, or no other domain has images.
    """
    if set(pool.samples["id"]) & set(tested.samples["id"]):
        raise ValueError("images on which maps are fitted are tested, too")
    fitted = pool.samples["domain"].unique(maintain_order=True).to_list()
    for test_domain in test_domains:
        if set(fitted) <= {test_domain}:
            raise ValueError(f"{test_domain} is the only domain to fit a lens on")
    own = (tested.sites[EMBEDDING] @ texts_CE.T).argmax(axis=1)
    target_NE = _normalised(pool.sites[EMBEDDING])
    masks = {domain: (pool.samples["domain"] == domain).to_numpy() for domain in fitted}
    rows: list[dict] = []
    for depth, site in enumerate(pool.sites):
        shift_U = pool.sites[site].mean(axis=0, dtype=float)
        parts = {
            domain: moments(pool.sites[site][mask] - shift_U, target_NE[mask])
            for domain, mask in masks.items()
            if site != EMBEDDING
        }
        for test_domain in test_domains:
            found = own
            if site != EMBEDDING:
                others = [part for domain, part in parts.items() if domain != test_domain]
                read = ridge_map(reduce(Moments.__add__, others))
                found = (read(tested.sites[site] - shift_U) @ texts_CE.T).argmax(axis=1)
            key = {"site": site, "depth": depth, "lens": "tuned", "test_domain": test_domain}
            scores = _scores(found, own, tested.samples, class_sets, test_domain)
            rows += [key | row for row in scores]
    return _table(rows, len(texts_CE))


@dataclass(frozen=True)
class Moments:
    """All that a least-squares map needs of images; those of two sets of images can be added.

    Attributes:
        count: of the images.
        sum_U, sum_E: of features and of targets.
        features_UU, products_UE: sums of the outer products of features with features, targets.
        squares: sum of the squares of targets.
    """

    count: int
    sum_U: np.ndarray
    sum_E: np.ndarray
    features_UU: np.ndarray
    products_UE: np.ndarray
    squares: float

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count,
            self.sum_U + other.sum_U,
            self.sum_E + other.sum_E,
            self.features_UU + other.features_UU,
            self.products_UE + other.products_UE,
            self.squares + other.squares,
        )


def moments(features_NU: np.ndarray, targets_NE: np.ndarray) -> Moments:
    """Of some images; features about 0 lose no digits where means are taken away later."""
    x_NU, y_NE = features_NU.astype(float), targets_NE.astype(float)
    sums = x_NU.sum(axis=0), y_NE.sum(axis=0)
    return Moments(len(x_NU), *sums, x_NU.T @ x_NU, x_NU.T @ y_NE, float((y_NE**2).sum()))


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


def ridge_map(of: Moments) -> RidgeMap:
    """Ridge regression with a free intercept, its strength chosen by generalised cross-validation.

    GCV(λ) = (1/N) ‖(I − A)Y‖² / (tr(I − A)/N)² (Golub, Heath & Wahba 1979), where A Y is what the
    fit of strength λ says of Y: from the images fitted on alone, and one λ for all channels.
    Features that are all the same predict the mean.
    """
    centre_U, offset_E = of.sum_U / of.count, of.sum_E / of.count
    products_UE = of.products_UE - np.outer(of.sum_U, offset_E)
    total = of.squares - float(of.sum_E @ offset_E)
    variances, vectors = np.linalg.eigh(of.features_UU - np.outer(of.sum_U, centre_U))
    size = max(of.count, len(centre_U))
    kept = variances > size * np.finfo(np.float32).eps * max(variances[-1], 0.0)
    if not kept.any():
        nothing = np.zeros((len(centre_U), len(offset_E)))
        return RidgeMap(centre_U, nothing, offset_E, float(STRENGTHS[-1]))
    variances, vectors = variances[kept], vectors[:, kept]
    along_UE = vectors.T @ products_UE
    powers = (along_UE**2).sum(axis=1) / variances  # of the targets along each component
    lambdas_R = STRENGTHS * variances.mean()
    shrunk_RU = variances / (variances + lambdas_R[:, None])
    left_R = total - ((2 * shrunk_RU - shrunk_RU**2) * powers).sum(axis=1)
    left_R = np.maximum(left_R, np.finfo(float).eps * total)  # what rounding leaves of 0
    free_R = of.count - 1 - shrunk_RU.sum(axis=1)
    scores_R = np.where(free_R > 0, left_R / np.maximum(free_R, 1e-9) ** 2, np.inf)
    best = int(scores_R.argmin())
    weights_UE = vectors @ (along_UE / (variances + lambdas_R[best])[:, None])
    return RidgeMap(centre_U, weights_UE, offset_E, float(STRENGTHS[best]))


def _normalised(embeddings_NE: np.ndarray) -> np.ndarray:
    return embeddings_NE / np.linalg.norm(embeddings_NE, axis=1, keepdims=True)


def _scores(
    found: np.ndarray,
    own: np.ndarray,
    samples: pl.DataFrame,
    class_sets: Sequence[ClassSet],
    test_domain: str,
) -> Iterator[dict]:
    """Accuracy of answers in every domain, per set of classes, beside that of the model's own.

    Args:
        found: answers of a lens, [N]; `own` itself where there is none.
        own: the model's.
        samples: the images' rows.
        class_sets: of class ids; the first holds all classes.
        test_domain: in which the share of the own accuracy is taken.
    """
    labels, domains = samples["class_id"].to_numpy(), samples["domain"].to_numpy()
    right, own_right = found == labels, own == labels
    chance = 1 / len(class_sets[0].members)
    for domain in samples["domain"].unique(maintain_order=True):
        mask = domains == domain
        rows = [
            class_set_scores(answers[mask], labels[mask], class_sets)
            for answers in (right, own_right)
        ]
        for row, model, chosen in zip(*rows, class_sets, strict=True):
            members = mask & np.isin(labels, chosen.members)
            share: dict = dict.fromkeys(KEPT)
            if domain == test_domain and found is not own and members.any():
                share = _kept(right[members], own_right[members], labels[members], chance)
            noted = {"note": row["note"] or share.pop("note", "")}
            yield {"domain": domain, **row, "own": model["value"], **share, **noted}


def _kept(right: np.ndarray, own: np.ndarray, labels: np.ndarray, chance: float) -> dict:
    """What a lens keeps of the model's own accuracy, on the same images."""
    ratio = paired_ratio_interval(right, own, labels, chance, resamples=RESAMPLES)
    if isinstance(ratio, Refused):
        reason = ratio.reason.replace("the denominator", "the model's own accuracy")
        return dict.fromkeys(KEPT) | {"note": f"no share is kept: {reason}"}
    return dict(zip(KEPT, (ratio.value, ratio.lo, ratio.hi), strict=True))


def _table(rows: list[dict], classes: int) -> pl.DataFrame:
    key = {"level": SiteLevel.residual.value, "chance": 1 / classes}
    return pl.DataFrame([key | row for row in rows], schema=LENS)
