"""Functions of rising complexity that predict a scene's embedding from its concepts alone.

Every class looks up tables by slot, concept and value, combines what it finds, and ends in a linear
head (Uselis et al. 2026). With u and v learned tables of one width, slots i and concepts k:

    additive    A(s) = Σ_i Σ_k u_ik[c_ik]
    per_object  A(s), P(s) = Σ_i ∏_k v_ik[c_ik]     a rule for objects, scenes are their sum
    global      A(s), P(s), G(s) = ∏_i ∏_k w_ik[c_ik]   objects interact, too
    mlp         GELU(A(s) + b)                      one hidden layer of the one-hot concepts
    forest      extremely randomised trees of the one-hot concepts: a learner of another kind

What stands side by side goes to the head side by side, so the first three classes hold one another.
(The paper's global product has no P: it can express one, but need not find it.) Products are taken
coordinate by coordinate.

Tables belong to slots, because slots are ordered: a caption names one object first, an image shows
one at the left, and an encoder may treat them unlike. Tables that slots share are the special case
of equal ones, and a model that needs no order costs only data.

Legend: n scenes, m slots, K concepts, d dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from torch import Tensor, nn

Kind = Literal["additive", "per_object", "global", "mlp", "forest"]
Values = NDArray[np.int64]
"""[n, m, K] values of the concepts of the objects of scenes"""
Predict = Callable[[Values], NDArray[np.float32]]
"""embeddings [n, d] that a fitted approximator expects of scenes"""

STEPS, RATE, DECAY = 400, 0.1, 3e-4
"""of Adam with a cosine schedule, on centred embeddings of unit root mean square; the decay is an
L2 penalty: without it products fit by large terms that cancel on the fitted scenes alone, as tensor
decompositions do (de Silva & Lim 2008)"""
SPREAD = 0.3
"""deviation of the first summands around 0, and of the first factors around 1 and -1"""
PRODUCTS = {"per_object": 1, "global": 2}
"""kinds of products beside the sum"""


@dataclass(frozen=True)
class Approximator:
    """A class of functions and its size."""

    kind: Kind
    width: int | None = None
    """units of the hidden layer, or trees; None: as many as the embedding has dimensions"""

    @property
    def name(self) -> str:
        return f"{self.kind}{self.width or ''}"


LADDER = (
    Approximator("additive"),
    Approximator("per_object"),
    Approximator("global"),
    Approximator("mlp", 64),
    Approximator("mlp", 256),
)
"""rising complexity; the paper has widths 64, 256, 1024 and 4096"""
FOREST = Approximator("forest", 100)


def fit_approximator(
    approximator: Approximator,
    sizes: Sequence[int],
    values: Values,
    embeddings: NDArray[np.float32],
    *,
    seed: int,
    steps: int = STEPS,
    device: torch.device | str = "cpu",
) -> Predict:
    """Least squares of embeddings on concepts, within one class of functions.

    Args:
        approximator: the class.
        sizes: number of values of every concept.
        values: [n, m, K].
        embeddings: [n, d] of the same scenes.
        seed: of the first tables, or of the trees.
        steps: of full-batch Adam; trees have none.
        device: on which to compute; trees are grown on the CPU.

    Returns:
        The fitted function.

    Raises:
        ValueError: there are no scenes, or shapes differ.
    """
    if values.ndim != 3 or values.shape[2] != len(sizes) or not len(values):
        raise ValueError(f"values of the shape {values.shape} for {len(sizes)} concepts")
    if len(embeddings) != len(values):
        raise ValueError(f"{len(embeddings)} embeddings for {len(values)} scenes")
    if approximator.kind == "forest":
        return _grown(approximator, sizes, values, embeddings, seed)
    centre = embeddings.mean(axis=0)
    size = float(np.sqrt(np.mean((embeddings - centre) ** 2))) or 1.0  # 0: all embeddings are equal
    random = torch.Generator().manual_seed(seed)
    shape = (values.shape[1], sizes)
    network = TableNetwork(approximator, shape, embeddings.shape[1], random).to(device)
    aims = torch.as_tensor((embeddings - centre) / size, dtype=torch.float32, device=device)
    _descend(network, torch.as_tensor(_one_hot(sizes, values), device=device), aims, steps)

    def predict(others: Values) -> NDArray[np.float32]:
        with torch.inference_mode():
            found = network(torch.as_tensor(_one_hot(sizes, others), device=device)).cpu().numpy()
        return np.asarray(found * size + centre, dtype=np.float32)

    return predict


class TableNetwork(nn.Module):
    """One of the classes that combine tables.

    Tables are read by products with one-hot rows, whose gradient is faster than that of a look-up.
    Factors begin near 1 or -1: products have all signs from the start, where factors near 1 would
    have to change theirs, and no heavy tails, as products of normal numbers have.

    Args:
        approximator: which; not a forest.
        shape: number of slots, and of values of every concept.
        dimensions: d, of the embeddings.
        random: draws the first tables.
    """

    def __init__(
        self,
        approximator: Approximator,
        shape: tuple[int, Sequence[int]],
        dimensions: int,
        random: torch.Generator,
    ) -> None:
        super().__init__()
        slots, sizes = shape
        self.kind = approximator.kind
        self.concepts = len(sizes)
        self.blocks = [int(size) for size in (*sizes,) * slots]
        width = approximator.width or dimensions
        rows, products = sum(self.blocks), PRODUCTS.get(self.kind, 0)
        self.sums = nn.Parameter(SPREAD * torch.randn(rows, width, generator=random))
        signs = 2.0 * torch.randint(2, (products, rows, width), generator=random) - 1
        self.factors = nn.Parameter(signs + SPREAD * torch.randn(signs.shape, generator=random))
        features = (1 + products) * width
        head = torch.randn(dimensions, features, generator=random) / features**0.5
        self.head = nn.Parameter(head)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, shown: Tensor) -> Tensor:
        """Embeddings [n, d] of scenes with the indicators `shown` [n, rows of the tables]."""
        sums = shown @ self.sums + self.bias
        found = [nn.functional.gelu(sums) if self.kind == "mlp" else sums]
        if len(self.factors) > 0:
            found.append(self._objects(shown, self.factors[0]).sum(dim=0))
        if len(self.factors) > 1:
            found.append(self._objects(shown, self.factors[1]).prod(dim=0))
        return torch.cat(found, dim=1) @ self.head.T

    def _objects(self, shown: Tensor, factors: Tensor) -> Tensor:
        """[m, n, width] product of the factors of every object."""
        blocks = zip(shown.split(self.blocks, dim=1), factors.split(self.blocks), strict=True)
        read = torch.stack([block @ table for block, table in blocks])
        return read.unflatten(0, (-1, self.concepts)).prod(dim=1)


def _descend(network: nn.Module, shown: Tensor, aims: Tensor, steps: int) -> None:
    """Full-batch Adam on the mean squared error and the penalty."""
    adam = torch.optim.Adam(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        adam.zero_grad(set_to_none=True)
        nn.functional.mse_loss(network(shown), aims).backward()
        adam.step()
        schedule.step()


def _grown(
    approximator: Approximator,
    sizes: Sequence[int],
    values: Values,
    embeddings: NDArray[np.float32],
    seed: int,
) -> Predict:
    """Trees of the one-hot concepts of all slots."""
    trees = ExtraTreesRegressor(n_estimators=approximator.width or 100, random_state=seed)
    trees.fit(_one_hot(sizes, values), embeddings)

    def predict(others: Values) -> NDArray[np.float32]:
        return np.asarray(trees.predict(_one_hot(sizes, others)), dtype=np.float32)

    return predict


def _one_hot(sizes: Sequence[int], values: Values) -> NDArray[np.float32]:
    """[n, m · Σ sizes] indicators of the values [n, m, K]."""
    columns = [np.eye(size, dtype=np.float32)[values[..., k]] for k, size in enumerate(sizes)]
    return np.concatenate(columns, axis=2).reshape(len(values), -1)
