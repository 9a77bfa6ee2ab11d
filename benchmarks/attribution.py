"""What do all nodes and all edges of one cell cost?

    python benchmarks/attribution.py [--quick]

Side by side, for 20 images that stand for those of one class in one domain: attribution patching as
clipgen does it, all nodes by one forward and backward pass and all edges by another; and the
published algorithm of Kempf et al. 2025, which integrates gradients for every site and for every
downstream unit that it keeps. Passes are counted by a hook on the image tower. The goal is for
passes and seconds, on both models.

The two are different estimates of different sets of edges, and the record says which. That the
stated algorithm is the published one is checked beside it: its nodes must be those that clipgen's
own code finds by the same definition (`ig_layer` with baselines of zero).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.measured import finish, in_own_process

IMAGES, PIXELS, CLASSES = 20, 32, 75
MODELS = ("rn-tiny", "vit-tiny")
REPEATS = 5
CLOSE = 1e-4
"""of the largest effect of a site, within which two computations of one definition agree"""
GOAL = 100
COMPUTED = {
    "rn-tiny": {
        "ours": "nodes: channels behind all activation functions; edges: from every channel of "
        "a block's output to both branches of the next block, and to the readout",
        "published": "nodes: channels of the published sites; edges: between the tenth of the "
        "channels that are kept at one site and at the next, behind the input",
    },
    "vit-tiny": {
        "ours": "nodes: heads and neurons; edges: from the stem, every head and every MLP to "
        "every later attention, MLP and the readout",
        "published": "nodes: channels of stem, heads, neurons and embedding; edges: between the "
        "tenth of the channels that are kept at one of these sites and at the next",
    },
}


class Cell:
    """An untrained model, and images of one cell as they enter it.

    Images and class texts are noise: what they show costs nothing and decides nothing here.
    """

    def __init__(self, name: str) -> None:
        import torch

        from analysis.readout import Readout
        from gen.config import load_config
        from gen.evaluation.embed import inputs_of
        from gen.models.clip import build_clip
        from gen.models.trained import Learner
        from gen.models.vocabulary import build_vocabulary

        config, generator = load_config("models", name), torch.Generator().manual_seed(0)
        self.model = build_clip(config, build_vocabulary(["a photo"]), PIXELS, seed=0).eval()
        for module in self.model.visual.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.ones_(module.weight)  # fresh ones multiply a block's branches by 0
        self.learner = Learner(self.model, None, pixels=PIXELS)
        shape = (IMAGES, 3, PIXELS, PIXELS)
        pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        self.inputs = inputs_of(self.learner, torch.device("cpu"))(pixels)
        self.labels = torch.zeros(IMAGES, dtype=torch.int64)
        texts = torch.randn(CLASSES, config.embed_dim, generator=generator)
        self.readout = Readout(torch.nn.functional.normalize(texts), None, 10.0)

    def published_sites(self) -> list[Any]:
        """Where the published algorithm looks: in a ViT, for which there are none, where we do."""
        from analysis.published_circuits import published_sites
        from analysis.sites import list_sites
        from gen.schema import SiteLevel

        if hasattr(self.model.visual, "attnpool"):
            return published_sites(self.model)
        stem, *_, embedding = list_sites(self.model, SiteLevel.residual)
        levels = (SiteLevel.head, SiteLevel.neuron)
        blocks = zip(*(list_sites(self.model, level) for level in levels), strict=True)
        return [stem, *(site for block in blocks for site in block), embedding]

    def zeros(self, sites: list[Any]) -> Any:
        """Baselines of zero at some sites, as published."""
        import torch

        from analysis.interventions import Baselines, class_tokens, group_means
        from analysis.sites import taps

        found: dict[str, Any] = {}
        tokens, classes = class_tokens(self.model.visual), self.readout.classes

        def read(name: str, activations: torch.Tensor) -> None:
            shape = group_means(activations, tokens).shape[1:]
            found[name] = torch.zeros(1, classes, *shape)

        with torch.no_grad(), taps(sites, read):
            self.model.encode_image(self.inputs)
        return Baselines("zero", found)

    @contextmanager
    def counted(self) -> Iterator[list[int]]:
        """While active, how many images every forward pass of the image tower takes."""
        passes: list[int] = []
        hook = self.model.visual.register_forward_pre_hook(
            lambda _, inputs: passes.append(len(inputs[0]))
        )
        try:
            yield passes
        finally:
            hook.remove()


def ours(name: str) -> dict[str, Any]:
    """All nodes and all edges by attribution patching; and the published nodes by our own code."""
    import torch

    from analysis.attribution import Batch, scorer
    from analysis.edges import image_edges, wiring_of
    from analysis.sites import levels_of, list_sites
    from gen.schema import SiteLevel

    cell, cpu = Cell(name), torch.device("cpu")
    levels = [one for one in levels_of(cell.model) if one is not SiteLevel.residual]
    sites = [site for level in levels for site in list_sites(cell.model, level)]
    wiring, batch = wiring_of(cell.model), Batch(cell.inputs, cell.labels, cell.labels)
    places = {site.name: site for site in (*sites, *wiring.sources)}
    base = cell.zeros(list(places.values()))
    nodes = scorer(cell.learner, cell.readout, base, cpu, sites)
    times = []
    for _ in range(1 + REPEATS):  # the first warms up
        with cell.counted() as passes:
            start = time.perf_counter()
            scores = nodes.atp(batch)
            edges = image_edges(
                cell.model, wiring, cell.inputs, cell.labels, cell.labels, cell.readout, base
            )
            times.append(time.perf_counter() - start)
    places = {site.name: site for site in cell.published_sites()}
    flat = [_without_heads(site) for site in places.values()]
    theirs = scorer(cell.learner, cell.readout, cell.zeros(flat), cpu, flat, "own_score")
    layers = theirs.ig_layer(batch)
    return {
        "seconds": min(times[1:]),
        "passes": len(passes),
        "images": sum(passes),
        "nodes": sum(found.shape[1] for found in scores.values()),
        "edges": sum(found.shape[1] for found in edges.values()),
        "published nodes": {site: -found.mean(dim=0).numpy() for site, found in layers.items()},
    }


def _without_heads(site: Any) -> Any:
    """The channels of a site of heads, one by one."""
    from dataclasses import replace

    return replace(site, heads=0)


def published(name: str) -> dict[str, Any]:
    """Nodes and edges as published."""
    from analysis.published_circuits import INPUT, node_effects, published_circuit

    cell = Cell(name)
    sites = cell.published_sites()
    node_effects(cell.model, cell.inputs, cell.labels, cell.readout, sites[-1:])  # warms up
    with cell.counted() as passes:
        start = time.perf_counter()
        found = published_circuit(cell.model, cell.inputs, cell.labels, cell.readout, sites)
        seconds = time.perf_counter() - start
    kept = [len(units) for site, units in found.kept.items() if site != INPUT]
    return {
        "seconds": seconds,
        "passes": len(passes),
        "images": sum(passes),
        "nodes": sum(len(effects) for effects in found.effects.values()),
        "edges": sum(a * b for a, b in pairwise(kept)),
        "published nodes": {site: effects.numpy() for site, effects in found.effects.items()},
    }


def apart(sides: dict[str, dict[str, Any]]) -> float:
    """How far two computations of the published nodes lie from each other at most.

    As a share of the largest effect of a site.
    """
    found = [side.pop("published nodes") for side in sides.values()]
    return max(
        float(abs(values - found[1][site]).max() / abs(values).max())
        for site, values in found[0].items()
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the ResNet alone")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name in MODELS[:1] if options.quick else MODELS:
        sides = {side.__name__: in_own_process(side, name) for side in (ours, published)}
        far = apart(sides)
        if not far <= CLOSE:  # nor if it is no number
            print(f"{name}: the published nodes differ by {far:.1e}", file=sys.stderr)
            return 1
        results[name] = {"apart": far, "sides": sides, "computed": COMPUTED[name]}
        results[name] |= _compared(name, sides)
    fewer, times = (min(one[key] for one in results.values()) for key in ("fewer passes", "times"))
    verdict = (
        f"attribution: {fewer:,.0f} times fewer passes and {times:,.0f} times as fast as the "
        f"published algorithm (goal: ≥ {GOAL} both)"
    )
    fine = min(fewer, times) >= GOAL
    return finish(
        "attribution",
        {"images": IMAGES, "models": results},
        verdict,
        fine=fine,
        quick=options.quick,
    )


def _compared(name: str, sides: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How many times the published algorithm costs what ours does; both are printed."""
    for side, found in sides.items():
        print(
            f"{name}, {side:<10} {found['nodes']:6,} nodes and {found['edges']:6,} edges: "
            f"{found['passes']:5,} passes of {IMAGES} images, {found['seconds']:9.4f} s"
        )
    own, other = sides["ours"], sides["published"]
    return {
        "fewer passes": other["images"] / own["images"],
        "times": other["seconds"] / own["seconds"],
    }


if __name__ == "__main__":
    sys.exit(main())
