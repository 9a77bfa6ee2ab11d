"""The schema of configs/coverage: grids of small controlled models, each trained from scratch."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING


class Variant(Enum):
    """What the scene encoder of a controlled model sees."""

    symbols = "symbols"
    """the concepts of the objects, as tokens; queries are single concepts and objects"""
    pictures = "pictures"
    """drawings of 32 pixels; queries are captions"""


@dataclass
class ControlledTraining:
    """How a controlled model is built and trained; everything here decides its weights."""

    steps: int = 1500
    batch: int = 128
    """scenes of a step"""
    width: int = 64
    """of both encoders"""
    dimensions: int = 32
    """of the embedding: far fewer than there are objects, else functions that are fitted to it
    (docs/binding_function.md) tell nothing of its rule"""
    layers: int = 2
    heads: int = 4
    learning_rate: float = 1e-3
    """after its warm-up; it falls to 0 along a half cosine"""
    warmup: float = 0.1
    """share of the steps"""
    weight_decay: float = 0.01
    single_share: float = 0.0
    """share of the scenes of a step that have one object only"""
    concept_weight: float = 0.3
    """of the loss of concept queries (symbols)"""
    ordered_captions: bool = False
    """captions name objects from left to right (pictures), not in random order: then the places of
    values tell a scene from its swap, and nothing has to be bound"""
    swap_weight: float = 3.0
    """of the margin between the objects of a scene and those of its swap (symbols)"""
    leak: bool = False
    """let unseen objects be negative queries of the training (symbols), as a published code does:
    the unseen objects are then no longer unseen"""


@dataclass
class CoverageGrid:
    """Conditions of one variant: coverages × shares of swapped pairs × seeds (× splits)."""

    variant: Variant = MISSING
    sizes: list[int] = MISSING
    """numbers of values of the concepts"""
    coverages: list[float] = MISSING
    """shares of the objects that training shows"""
    swap_shares: list[float] = field(default_factory=lambda: [0.0])
    """shares of the scenes of a step that come in pairs with their attribute swap"""
    seeds: list[int] = field(default_factory=lambda: [0])
    """of weights and batches"""
    split_seeds: list[int] = field(default_factory=list)
    """of the draws of objects; empty: every seed has a draw of its own, so that the spread over
    seeds is one over draws, too"""
    training: ControlledTraining = field(default_factory=ControlledTraining)


@dataclass
class CoverageConfig:
    """Grids of controlled models that one command trains and scores."""

    name: str = MISSING
    grids: dict[str, CoverageGrid] = MISSING
    """by a name that the table of scores shows"""
