"""What a person sees of a training: a live line on a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Mapping

from gen.progress import progress


class LiveLine:
    """The line: samples seen and their rate, time left, loss and its floor, and what else is known.

    Args:
        total: samples that the run sees.
        done: samples seen before this start.
    """

    def __init__(self, total: int, done: int) -> None:
        self._bar = progress(total, "training", " samples", done=done)

    def show(self, values: Mapping[str, float]) -> None:
        """Show the values of a step, as the logs get them; `samples_seen` moves the bar."""
        self._bar.set_postfix_str(describe(values), refresh=False)
        self._bar.update(values["samples_seen"] - self._bar.n)

    def close(self) -> None:
        """Leave the line as it is, and end it."""
        self._bar.close()


def describe(values: Mapping[str, float]) -> str:
    """The values of a step for people; those that are not there are left out."""
    parts = []
    if "loss" in values:
        floor = f" (floor {values['loss_floor']:.3f})" if "loss_floor" in values else ""
        parts.append(f"loss {values['loss']:.3f}{floor}")
    if "logit_scale" in values:
        parts.append(f"scale {values['logit_scale']:.1f}")
    if "lr" in values:
        parts.append(f"rate {values['lr']:.1e}")
    if "mfu" in values:
        parts.append(f"MFU {values['mfu']:.0%}")
    return ", ".join(parts)
