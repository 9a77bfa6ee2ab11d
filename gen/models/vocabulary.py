"""The vocabulary of a world: open_clip's tokens, cut down to those that its captions use.

CLIP's table has 49,408 rows, which would be most of a small model. The used token ids are
renumbered in increasing order, so that the end-of-text token stays the largest (CLIP pools there)
and padding stays 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from splits.errors import UserError

FULL_SIZE, FULL_CONTEXT = 49408, 77
"""of CLIP's tokenizer (Radford et al. 2021)"""


@dataclass(frozen=True)
class Vocabulary:
    """A renumbering of open_clip's token ids.

    Attributes:
        token_ids: the used ids of open_clip's tokenizer, increasing, shape [V]; the position of
            an id is its new id.
        context_length: tokens of the longest text, start and end included.
    """

    token_ids: np.ndarray
    context_length: int

    @property
    def size(self) -> int:
        return len(self.token_ids)

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """New token ids of `texts`, int64 of shape [N, context_length].

        Raises:
            UserError: a text has a token that is not in the vocabulary, or is too long.
        """
        if not len(texts):
            return torch.zeros((0, self.context_length), dtype=torch.int64)
        tokens = _tokenize(texts)
        new_ids = np.searchsorted(self.token_ids, tokens).clip(max=self.size - 1)
        strange = (self.token_ids[new_ids] != tokens).any(axis=1)
        too_long = (tokens[:, self.context_length :] != 0).any(axis=1)
        if (strange | too_long).any():
            text = texts[int(np.flatnonzero(strange | too_long)[0])]
            raise UserError(
                f"the text {text!r} has words that no caption of the dataset has, or is longer",
                expected=f"at most {self.context_length - 2} tokens out of {self.size - 3} known",
            )
        return torch.from_numpy(new_ids[:, : self.context_length].astype(np.int64))


def build_vocabulary(texts: Sequence[str]) -> Vocabulary:
    """The smallest vocabulary that encodes all `texts`, in any order of them."""
    tokens = _tokenize(texts)
    lengths = (tokens != 0).sum(axis=1)
    return Vocabulary(np.union1d([0], tokens), int(lengths.max()))


def full_vocabulary() -> Vocabulary:
    """CLIP's own vocabulary and context length, for captions in anybody's words."""
    return Vocabulary(np.arange(FULL_SIZE), FULL_CONTEXT)


def _tokenize(texts: Sequence[str]) -> np.ndarray:
    """open_clip's token ids, int64 of shape [N, 77], padded with 0."""
    return _tokenizer()(list(texts)).numpy()


@cache
def _tokenizer() -> Callable[[list[str]], torch.Tensor]:
    import open_clip  # takes seconds to import: only where it is needed

    return open_clip.get_tokenizer("RN50")
