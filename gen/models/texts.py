"""What turns texts into the tensors that a text tower reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch


class Texts(Protocol):
    """Of a CLIP: `gen.models.vocabulary`; of a CLIPPO: `gen.models.rendering`."""

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """One row per text: token ids, int64 [N, L], or renderings, uint8 [N, S, S].

        Raises:
            UserError: a text cannot be encoded; the message shows it.
        """
        ...
