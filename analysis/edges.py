"""How much every edge of a tower says for the right class: all edges in one forward and backward.

Edge attribution patching (Nanda 2023; Syed et al. 2023): the score of the edge from source s to
target v is Σ (z_s − z_s^base) · ∂m/∂x_v, where z_s is what s writes and x_v what enters v: to first
order what the margin m loses when v, and nobody else, reads the baseline of s. docs/edges.md has
what sources and targets are.

Legend: F folds, D domains, C classes, B batch, P pixels, S sources of a target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import polars as pl
import torch
from tqdm import tqdm

from analysis.block_edges import block_wiring
from analysis.cells import CellMeans, CellSums, cell_numbers, dealt
from analysis.edge_graph import EdgeGraph, Wiring
from analysis.interventions import Baselines
from analysis.readout import Readout
from analysis.sites import STAGES, taps
from analysis.vit_edges import vit_wiring
from gen.evaluation.embed import inputs_of

if TYPE_CHECKING:
    from gen.models.trained import Learner, Model


def edge_scores(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    samples: pl.DataFrame,
    domains: Sequence[str],
    classes: Sequence[str],
    readout: Readout,
    base: Baselines,
    device: torch.device,
    bar: tqdm | None = None,
) -> tuple[CellMeans, EdgeGraph]:
    """Mean scores of all edges of an image tower, per cell and fold.

    Args:
        learner: a model with a ResNet, or with a vision transformer whose heads can be read.
        batches: of the images, uint8, each of shape [b, 3, P, P].
        samples: the images' rows (`domain`, `class_id`), two or more of every cell.
        domains: names of the domains, the order of D.
        classes: names of the classes of the readout, by class id.
        readout: from embeddings to classes.
        base: of the source sites: `stem` and all head and neuron sites of a
            transformer, the last channel site of the stem and of every block of a ResNet.
        device: where to compute.
        bar: advanced by one per image.

    Returns:
        Cell means with one site per target, [F, D, C, S], S in the order of the graph's
        `sources_of(target)`; and the graph.

    Raises:
        UserError: the edges of such a tower are not known.
        ValueError: a cell has fewer than two images; more rows than images, or fewer.
    """
    learner.model.to(device).eval()
    wiring = wiring_of(learner.model)
    cells = cell_numbers(samples, domains, len(classes))
    sums = CellSums(*dealt(cells, len(domains) * len(classes)), device)
    values = {site.name: base.values[site.name].to(device) for site in wiring.sources}
    here, read = Baselines(base.kind, values), readout.to(device)
    numbers, enter, start = torch.from_numpy(cells).to(device), inputs_of(learner, device), 0
    for batch in batches:
        rows = numbers[start : start + len(batch)]
        start += len(batch)
        if len(rows) < len(batch):
            raise ValueError(f"{start} of {len(cells)} images")
        labels_B, domains_B = rows % len(classes), rows // len(classes)
        found = image_edges(learner.model, wiring, enter(batch), labels_B, domains_B, read, here)
        for target, scores_BS in found.items():
            sums.add(target, scores_BS)
        if bar is not None:
            bar.update(len(batch))
    return sums.cells(wiring.graph.targets, domains, classes), wiring.graph


def wiring_of(model: Model) -> Wiring:
    """How a model's image tower is wired.

    Raises:
        UserError: the edges of such a tower are not known.
    """
    trunk = getattr(model.visual, "trunk", model.visual)
    if all(hasattr(trunk, stage) for stage in STAGES):
        return block_wiring(model)
    return vit_wiring(model)


def image_edges(
    model: Model,
    wiring: Wiring,
    inputs: torch.Tensor,
    labels_B: torch.Tensor,
    domains_B: torch.Tensor,
    readout: Readout,
    base: Baselines,
) -> dict[str, torch.Tensor]:
    """Scores of all edges for every image, by target [B, S].

    Args:
        model: in evaluation mode: in training, batch normalisation would mix the images.
        wiring: of the model.
        inputs: normalised images, float [B, 3, P, P].
        labels_B, domains_B: of the images: whose baselines stand in, and whose margin counts.
        readout: from embeddings to classes.
        base: of the source sites, on the device.
    """
    activations: dict[str, torch.Tensor] = {}
    entered: dict[str, torch.Tensor] = {}
    sources = {site.name for site in wiring.sources}

    def read(name: str, found: torch.Tensor) -> None:
        if name in sources:
            activations[name] = found.detach()

    def branch(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def apart(found: torch.Tensor) -> torch.Tensor:
            # a tensor of the branch's own: what else reads the source is not in its gradient. A
            # second one goes on, for some activation functions overwrite what they get
            entered[name] = found.clone()
            return entered[name].clone()

        return apart

    edit = {site.name: branch(site.name) for site in wiring.branches}
    # the input asks for a gradient, so that branches have one in a tower whose weights are frozen
    with torch.enable_grad():
        with taps([*wiring.sources, *wiring.branches], read, edit):
            features = model.encode_image(inputs.detach().requires_grad_())
        margin = readout.margins(features, labels_B).sum()
    names = list(entered)
    gradients = torch.autograd.grad(margin, [entered[name] for name in names])
    with torch.no_grad():
        baselines = {name: base.of(name, domains_B, labels_B) for name in sources}
        return wiring.scores(activations, dict(zip(names, gradients, strict=True)), baselines)
