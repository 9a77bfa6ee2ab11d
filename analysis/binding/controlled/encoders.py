"""Small transformers that read tokens or pictures, all of one form.

Pre-norm blocks with GELU and no dropout, and a linear map to the joint space (after Uselis et al.
2026 and Radford et al. 2021).

Legend: B sequences, L tokens, T tokens that are computed, D width,
E dimensions of the joint space, S pixels of a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention

from analysis.binding.controlled.drawing import SIDE

PATCH = 8
"""pixels of a patch's side"""
WIDER = 4
"""hidden units of a block's MLP per unit of width"""


@dataclass(frozen=True)
class Shape:
    """Size of a transformer, and of the joint space that it maps to."""

    width: int
    layers: int
    heads: int
    dimensions: int


class TokenEncoder(nn.Module):
    """Embeddings of token sequences that end in the same mark, which reads out the sequence.

    Args:
        vocabulary: number of token ids.
        shape: of the transformer.
        longest: sequence, in tokens.
    """

    positions: Tensor

    def __init__(self, vocabulary: int, shape: Shape, longest: int) -> None:
        super().__init__()
        width = shape.width
        self.tokens = nn.Embedding(vocabulary, width)
        self.register_buffer("positions", sinusoids(longest, width), persistent=False)
        self.transformer = Transformer(width, shape.layers, shape.heads)
        self.out = nn.Linear(width, shape.dimensions, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, E] embeddings of length 1 of ids [B, L]."""
        x_BLD = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        return normalize(self.out(self.transformer(x_BLD, -1)), dim=-1)


class PictureEncoder(nn.Module):
    """Embeddings of pictures, read out at a token of their own.

    Args:
        shape: of the transformer.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.patches = nn.Linear(3 * PATCH**2, width)
        self.readout = nn.Parameter(torch.empty(1, width))
        self.positions = nn.Parameter(torch.empty((SIDE // PATCH) ** 2 + 1, width))
        self.transformer = Transformer(width, shape.layers, shape.heads)
        self.out = nn.Linear(width, shape.dimensions, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, E] embeddings of length 1 of pictures [B, 3, S, S]."""
        count, grid = len(pictures), SIDE // PATCH
        cut = pictures.reshape(count, 3, grid, PATCH, grid, PATCH).permute(0, 2, 4, 1, 3, 5)
        x_BLD = self.patches(cut.reshape(count, grid**2, -1))
        x_BLD = torch.cat([self.readout.expand(count, 1, -1), x_BLD], dim=1) + self.positions
        return normalize(self.out(self.transformer(x_BLD, 0)), dim=-1)


class Transformer(nn.Module):
    """Pre-norm blocks of which the last computes one token only, as nothing reads its others.

    Args:
        width, layers, heads: of the blocks.
    """

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BLD: Tensor, place: int) -> Tensor:
        """[B, D] normed token at `place`, from the front or, below 0, from the back."""
        *inner, last = self.blocks
        for block in inner:
            x_BLD = block(x_BLD, x_BLD, slice(None))
        row = slice(place, place + 1 or None)
        return self.norm(last(x_BLD[:, row], x_BLD, row))[:, 0]


class Block(nn.Module):
    """Attention, then an MLP, each added to its normed input's origin."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mix = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, WIDER * width), nn.Linear(WIDER * width, width)

    def forward(self, x_BTD: Tensor, all_BLD: Tensor, rows: slice) -> Tensor:
        """[B, T, D] what becomes of the tokens `rows` of a sequence.

        Args:
            x_BTD: those tokens.
            all_BLD: the sequence.
            rows: their places in it.
        """
        count, length, width = all_BLD.shape
        normed = self.norm(all_BLD)
        query = self.query(normed[:, rows]).view(count, -1, self.heads, width // self.heads)
        parts = self.key_value(normed).view(count, length, 2, self.heads, width // self.heads)
        key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        read = scaled_dot_product_attention(query.transpose(1, 2), key, value)
        x_BTD = x_BTD + self.mix(read.transpose(1, 2).reshape(x_BTD.shape))
        return x_BTD + self.narrow(gelu(self.wide(self.norm_mlp(x_BTD))))


def initialise(module: nn.Module, seed: int) -> None:
    """Draw all weights: matrices after Glorot & Bengio (2010), norms 1, biases 0.

    It depends on the seed alone, and on no global state.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            for name, weights in part.named_parameters(recurse=False):
                if weights.dim() > 1:
                    nn.init.xavier_uniform_(weights, generator=random)
                elif weights.dim() == 1:
                    is_gain = isinstance(part, nn.LayerNorm) and name == "weight"
                    nn.init.constant_(weights, float(is_gain))


def sinusoids(longest: int, width: int) -> Tensor:
    """[longest, width] sines and cosines of positions (Vaswani et al. 2017, section 3.5)."""
    position = torch.arange(longest)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-torch.log(torch.tensor(1e4)) / width))
    table = torch.zeros(longest, width)
    table[:, 0::2], table[:, 1::2] = torch.sin(position * rate), torch.cos(position * rate)
    return table
