"""Equivalent shots: with how many labelled images per class does a probe match zero-shot?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class EquivalentShots:
    """Where a few-shot curve meets the zero-shot score, or why there is no such number.

    Attributes:
        value: images per class, within the shots of the curve; None outside of them.
        bound: `< 1` where the curve begins above zero-shot, `> 16` where it ends below (with the
            curve's own first and last shots); empty where there is a value.
    """

    value: float | None
    bound: str = ""

    def __str__(self) -> str:
        return self.bound if self.value is None else f"{self.value:.1f}"


def equivalent_shots(
    shots: Sequence[int], accuracies: Sequence[float], zero_shot: float
) -> EquivalentShots:
    """Images per class at which the few-shot curve first reaches `zero_shot`.

    Between two shots the accuracy is taken to be linear in ln k (Radford et al. 2021,
    Figure 7). Nothing is extrapolated.

    Args:
        shots: k of the curve, rising.
        accuracies: at these k (mean over draws of images).
        zero_shot: on the same test images and classes.

    Raises:
        ValueError: lengths differ, there are no shots, they do not rise from 1 or more, or a score
            is no number.
    """
    if not shots or len(shots) != len(accuracies):
        raise ValueError(f"{len(shots)} shots, {len(accuracies)} accuracies")
    if shots[0] < 1 or any(b <= a for a, b in pairwise(shots)):
        raise ValueError(f"shots {list(shots)} do not rise from 1 or more")
    if any(math.isnan(score) for score in (*accuracies, zero_shot)):
        raise ValueError("a score is no number")
    if accuracies[0] == zero_shot:
        return EquivalentShots(float(shots[0]))
    if accuracies[0] > zero_shot:
        return EquivalentShots(None, f"< {shots[0]}")
    for i in range(1, len(shots)):
        below, reached = accuracies[i - 1], accuracies[i]
        if reached >= zero_shot:
            share = (zero_shot - below) / (reached - below)
            return EquivalentShots(shots[i - 1] * (shots[i] / shots[i - 1]) ** share)
    return EquivalentShots(None, f"> {shots[-1]}")
