"""Scenes that a model has embedded: what every analysis of binding reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gen.scenes.coverage import ObjectSplit, Part
from gen.scenes.space import ConceptSpace, Objects


@dataclass(frozen=True)
class EmbeddedScenes:
    """Scenes of one number of objects, with the embeddings that a model gives them.

    Embeddings have length 1. What a model does not embed is an empty array [0, d].
    """

    space: ConceptSpace
    split: ObjectSplit | None
    """None: the model's training is not known, as of pretrained models"""
    scenes: Objects
    """[n, m] numbers of the objects of the scenes"""
    images: NDArray[np.float32]
    """[n, d] embeddings of the images of the scenes, or of a symbolic model's scene encoder"""
    texts: NDArray[np.float32]
    """[n, d] embeddings of the captions of the scenes"""
    swaps: NDArray[np.float32]
    """[n, d] embeddings of the captions in which the first two objects have exchanged their value
    of the first concept"""
    single_images: NDArray[np.float32]
    """[objects, d] embeddings of the scenes of one object, in the order of the space"""
    single_texts: NDArray[np.float32]
    """[objects, d] embeddings of their captions"""

    def __post_init__(self) -> None:
        if self.scenes.ndim != 2:
            raise ValueError(f"scenes have the shape {self.scenes.shape}, not [n, m]")
        if self.images.shape[:1] != self.scenes.shape[:1] or self.images.ndim != 2:
            raise ValueError(
                f"images have the shape {self.images.shape}, not [{len(self.scenes)}, d]"
            )
        for name, rows in (
            ("texts", len(self.scenes)),
            ("swaps", len(self.scenes)),
            ("single_images", self.space.objects),
            ("single_texts", self.space.objects),
        ):
            shape = getattr(self, name).shape
            if shape not in ((rows, self.images.shape[1]), (0, self.images.shape[1])):
                width = self.images.shape[1]
                raise ValueError(f"{name} have the shape {shape}, not [{rows} or 0, {width}]")
        for name in ("images", "texts", "swaps", "single_images", "single_texts"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} have embeddings that are not finite: the model diverged")

    def of(self, part: Part) -> EmbeddedScenes:
        """The scenes of one part alone; the scenes of one object stay.

        Raises:
            ValueError: the model's training is not known, so scenes have no parts.
        """
        if self.split is None:
            raise ValueError("scenes have no parts where the model's training is not known")
        return self.rows(np.flatnonzero(self.split.parts(self.scenes) == int(part)))

    def rows(self, chosen: NDArray[np.int64] | Sequence[int]) -> EmbeddedScenes:
        """The scenes of the chosen rows alone, in their order."""
        index = np.asarray(chosen, dtype=np.int64)
        return replace(
            self,
            scenes=self.scenes[index],
            images=self.images[index],
            texts=self.texts[index] if len(self.texts) else self.texts,
            swaps=self.swaps[index] if len(self.swaps) else self.swaps,
        )
