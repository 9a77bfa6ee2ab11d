"""Sites: named places in a tower where activations are read or edited (docs/sites.md).

Legend: B batch, T tokens, U units, H heads of d channels each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from gen.models.clippo import Clippo
from gen.schema import SiteLevel
from splits.errors import UserError, unknown

if TYPE_CHECKING:
    from gen.models.trained import Model

STAGES = ("layer1", "layer2", "layer3", "layer4")
"""of a ResNet, open_clip's or timm's"""
ACTIVATIONS = ("act1", "act2", "act3")
"""of a ResNet's stem and of its blocks, those that there are; a block's last is its output"""
POOLED = "pooled"
"""site behind a MAP head"""


@dataclass(frozen=True)
class Site:
    """A place where activations pass.

    Attributes:
        name: unique within a tower (`block1`, `block1.heads`, `layer1.0.act1`).
        level: what kind of place it is.
        depth: position along the tower, from 0, among the sites of its level.
        module: whose input or output the activations are.
        side: which of the two.
        heads: H of a site [B, T, H·d] whose channels are those of its heads in turn; 0 elsewhere.
    """

    name: str
    level: SiteLevel
    depth: int
    module: nn.Module = field(repr=False)
    side: Literal["in", "out"]
    heads: int = 0


def list_sites(model: Model | nn.Module, level: SiteLevel) -> list[Site]:
    """Sites of one level of an image tower, in the order in which an image passes them.

    Args:
        model: one with an image tower (`visual`), or the tower itself.
        level: residual: what `image_sites` names. head: what enters the output projection of every
            block's attention. neuron: what enters the second layer of every block's MLP. channel:
            what leaves the activation functions of a ResNet's stem and blocks.

    Raises:
        UserError: the tower has no such sites, or its stages cannot be read.
    """
    tower = _image_tower(model)
    sites = _sites(tower, level)
    if not sites:
        whole = level is SiteLevel.head and bool(_whole_blocks(tower))
        raise UserError(
            f"{_kind(tower)} has no sites of level `{level.name}`",
            expected="one of " + ", ".join(found.name for found in levels_of(tower)),
            where="key `analysis.levels`",
            fix="split its attention into heads (`split_heads`)" if whole else "",
        )
    return sites


def levels_of(model: Model | nn.Module) -> list[SiteLevel]:
    """Levels at which an image tower has sites.

    Raises:
        UserError: its stages cannot be read.
    """
    tower = _image_tower(model)
    return [level for level in SiteLevel if _sites(tower, level)]


def image_sites(model: Model | nn.Module) -> dict[str, nn.Module]:
    """Residual sites of a model's image tower, in the order in which an image passes them.

    ResNet: the stem and every residual stage. ViT, of CLIPPO and timm too: the patch embedding
    (before the blocks) and every block. Any other model of timm: the stages that timm lists as
    its features, under timm's names. All end with `embedding`, the tower's output.

    Raises:
        UserError: the tower's feature maps have their channels last, or it names no stages.
    """
    tower = _image_tower(model)
    return {**_inner_sites(tower), "embedding": tower}


def text_sites(model: Model) -> list[Site]:
    """Residual sites of what reads a model's texts, in the order in which a text passes them.

    Of a CLIPPO those of its one tower. Else the tokens with their positions (`stem`), every block,
    and `embedding` where one module returns it: `open_clip.CLIP` projects the last block's output
    in its own `encode_text`, which no hook reaches.

    Raises:
        UserError: the model reads no text, or by another tower than open_clip's transformer.
    """
    if isinstance(model, Clippo):
        return list_sites(model, SiteLevel.residual)
    tower: Any = getattr(model, "text", model)
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", None)
    if blocks is None:
        raise UserError(
            f"{_kind(model)} has no text tower whose sites are known",
            expected="open_clip's text transformer, or a CLIPPO",
        )
    places: list[tuple[str, nn.Module, Literal["in", "out"]]] = [("stem", blocks[0], "in")]
    places += [(f"block{number}", block, "out") for number, block in enumerate(blocks, start=1)]
    if tower is not model:
        places.append(("embedding", tower, "out"))
    return [
        Site(name, SiteLevel.residual, depth, module, side)
        for depth, (name, module, side) in enumerate(places)
    ]


def pooled_site(model: Model | nn.Module) -> Site | None:
    """What a MAP head hands to the projection that makes the embedding; None of other towers.

    Of timm's ViTs, and so of a CLIPPO: the answer to the learned query, [B, U]. It lies between the
    last block and `embedding`, and belongs to no level: most towers have nothing like it.
    """
    tower = _image_tower(model)
    trunk = getattr(tower, "trunk", tower)
    head = getattr(trunk, "attn_pool", None)
    if not hasattr(trunk, "norm_pre") or head is None:
        return None
    return Site(POOLED, SiteLevel.residual, len(_blocks(tower)) + 1, head, "out")


def probed_sites(model: Model | torch.nn.Module) -> list[Site]:
    """Residual sites of an image tower; before the embedding what a MAP head hands on."""
    sites = list_sites(model, SiteLevel.residual)
    pooled = pooled_site(model)
    return [*sites[:-1], pooled, sites[-1]] if pooled else sites


def at_text_end(model: Any, activations_TLU: torch.Tensor, tokens_TL: torch.Tensor) -> torch.Tensor:
    """Activations at the token from which the model makes its embedding, [T, U]."""
    from open_clip.transformer import text_global_pool  # takes seconds to import

    tower = getattr(model, "text", None)
    kind = model.text_pool_type if tower is None else tower.pool_type
    end = getattr(model, "text_eos_id", None) if tower is None else getattr(tower, "eos_id", None)
    return text_global_pool(activations_TLU, tokens_TL, kind, eos_token_id=end)


@contextmanager
def taps(
    sites: Sequence[Site],
    read: Callable[[str, torch.Tensor], None] | None = None,
    edit: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] | None = None,
) -> Iterator[None]:
    """While active, activations that pass the sites are read, and replaced where asked.

    No hook stays behind, whatever happens. What is read is what the rest of the tower goes on
    with: after the edit of the site, and overwritten by nothing later.

    Args:
        sites: of one tower, of any levels.
        read: called as read(name, activations) in every forward: [B, U, H, W] of a ResNet,
            [B, T, U] of a transformer, [B, U] of an embedding.
        edit: by name of a site, from its activations to what stands in their place, of equal
            shape. It returns a new tensor: the old one may be in use elsewhere.

    Raises:
        ValueError: two sites have one name.
        UserError: an edited site is not among them; at the end, no activations passed a site.
    """
    edit = edit or {}
    names = [site.name for site in sites]
    if len(set(names)) < len(names):
        raise ValueError(f"two sites have one name: {sorted(names)}")
    for name in edit.keys() - set(names):
        raise unknown("site", name, names)
    silent = dict.fromkeys(names)

    def passed(name: str, activations: torch.Tensor) -> torch.Tensor:
        silent.pop(name, None)
        if name in edit:
            activations = edit[name](activations)
        if read is not None:
            read(name, activations)
        return activations

    with ExitStack() as hooks:
        for site in sites:
            hooks.callback(_hook(site, passed).remove)
        yield
    if silent:
        raise UserError(
            f"no activations passed the sites {', '.join(silent)}",
            expected="modules that the tower calls (`list_sites`): nn.MultiheadAttention and "
            "AttentionPool2d use the weights of their projections without calling them",
        )


def pool(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Mean over positions: [B, U, H, W] or [B, T, U] → [B, U]; [B, U] stays.

    Of several outputs (CoCa's tower: its embedding, and tokens for a decoder) the first counts.
    """
    activations = output[0] if isinstance(output, tuple) else output
    if activations.ndim == 4:
        return activations.mean(dim=(2, 3))
    return activations.mean(dim=1) if activations.ndim == 3 else activations


def split_heads(model: Model | nn.Module) -> None:
    """Let the heads of an open_clip ViT be read: exchange the attention of its default blocks.

    The new blocks (open_clip's custom ones) share all weights with the old, under the same names,
    and compute the same up to rounding. Other towers, and blocks that are custom, stay as they are.
    """
    tower = _image_tower(model)
    for index in _whole_blocks(tower):
        blocks = tower.transformer.resblocks
        blocks[index] = _with_split_heads(blocks[index])


def _hook(site: Site, passed: Callable[[str, torch.Tensor], torch.Tensor]) -> RemovableHandle:
    """A hook that leaves what it got where `passed` returns the very same tensor."""

    def before(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        new = passed(site.name, inputs[0])
        return None if new is inputs[0] else (new, *inputs[1:])

    def after(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        several = isinstance(output, tuple)  # CoCa's tower: its embedding, and tokens
        old = output[0] if several else output
        new = passed(site.name, old)
        if new is old:
            return None
        return (new, *output[1:]) if several else new

    if site.side == "in":
        return site.module.register_forward_pre_hook(before)
    return site.module.register_forward_hook(after)


def _image_tower(model: Any) -> Any:
    return getattr(model, "visual", model)


def _kind(module: Any) -> str:
    """Class of a tower or model, for errors."""
    return type(getattr(module, "trunk", module)).__name__


def _sites(tower: Any, level: SiteLevel) -> list[Site]:
    """Sites of a level; none where the tower has none."""
    if level is SiteLevel.residual:
        return _numbered(level, image_sites(tower).items(), "out")
    if level is SiteLevel.channel:
        return _numbered(level, _channel_sites(tower), "out")
    blocks = list(enumerate(_blocks(tower), start=1))
    if level is SiteLevel.neuron:
        last = [(f"block{i}.neurons", _last_linear(block)) for i, block in blocks]
        return _numbered(level, last, "in")
    read = [(f"block{i}.heads", _projection(block)) for i, block in blocks]
    heads = [getattr(getattr(block, "attn", None), "num_heads", 0) for _, block in blocks]
    return _numbered(level, read, "in", heads)


def _numbered(
    level: SiteLevel,
    places: Iterable[tuple[str, nn.Module | None]],
    side: Literal["in", "out"],
    heads: Sequence[int] | None = None,
) -> list[Site]:
    """Sites with their depths; none at all where one of the modules is missing."""
    sites = []
    for depth, (name, module) in enumerate(places):
        if module is None:
            return []
        sites.append(Site(name, level, depth, module, side, heads[depth] if heads else 0))
    return sites


def _inner_sites(tower: Any) -> dict[str, nn.Module]:
    if hasattr(tower, "attnpool"):
        return {"stem": tower.avgpool, **{stage: getattr(tower, stage) for stage in STAGES}}
    if hasattr(tower, "transformer"):
        return _block_sites(tower.ln_pre, tower.transformer.resblocks)
    trunk = getattr(tower, "trunk", tower)  # timm's, alone or in open_clip's adapter
    if hasattr(trunk, "norm_pre") and hasattr(trunk, "blocks"):
        return _block_sites(trunk.norm_pre, trunk.blocks)
    return _listed_sites(trunk)


def _listed_sites(trunk: Any) -> dict[str, nn.Module]:
    names = [info["module"] for info in getattr(trunk, "feature_info", ())]
    modules = dict(trunk.named_modules())
    if (
        getattr(trunk, "output_fmt", "NCHW") != "NCHW"  # pooled over its channels otherwise
        or not names
        or not modules.keys() >= set(names)
    ):
        raise UserError(
            f"the stages of timm's {type(trunk).__name__} cannot be read",
            expected="a model of timm with feature_info and channels-first feature maps",
            where="key `vision.timm_model`",
        )
    return {name: modules[name] for name in names}


def _block_sites(stem: nn.Module, blocks: Iterable[nn.Module]) -> dict[str, nn.Module]:
    return {"stem": stem, **{f"block{i}": block for i, block in enumerate(blocks, start=1)}}


def _blocks(tower: Any) -> list[Any]:
    """The blocks of a ViT of open_clip or timm; none of another tower."""
    if hasattr(tower, "transformer"):
        return list(tower.transformer.resblocks)
    trunk = getattr(tower, "trunk", tower)
    return list(trunk.blocks) if hasattr(trunk, "norm_pre") and hasattr(trunk, "blocks") else []


def _projection(block: Any) -> nn.Linear | None:
    """The output projection of a block's attention, where a hook on it is called.

    `nn.MultiheadAttention` hands its weights to a function instead (PyTorch issue 78109).
    """
    attention = getattr(block, "attn", None)
    found = getattr(attention, "out_proj", getattr(attention, "proj", None))
    if isinstance(attention, nn.MultiheadAttention) or not isinstance(found, nn.Linear):
        return None
    heads = getattr(attention, "num_heads", 0)
    return found if heads and found.in_features % heads == 0 else None


def _last_linear(block: Any) -> nn.Linear | None:
    """The second layer of a block's MLP, of open_clip (`c_proj`) or timm (`fc2`).

    Its input, not the output of the activation function, is what all kinds of MLP make of their
    hidden units: gated ones multiply, some normalise.
    """
    mlp = getattr(block, "mlp", None)
    found = getattr(mlp, "c_proj", getattr(mlp, "fc2", None))
    return found if isinstance(found, nn.Linear) else None


def _channel_sites(tower: Any) -> list[tuple[str, nn.Module | None]]:
    """Activation functions of a ResNet; none of another tower.

    The output of a block's last normalisation cannot be read: the skip connection is added to it
    in place. That of the activation functions is overwritten by nothing.
    """
    trunk = getattr(tower, "trunk", tower)
    stages: list[Any] = [getattr(trunk, stage, None) for stage in STAGES]
    if not all(isinstance(blocks, nn.Sequential) for blocks in stages):
        return []
    parts = {"stem": trunk}
    for stage, blocks in zip(STAGES, stages, strict=True):
        parts |= {f"{stage}.{number}": block for number, block in enumerate(blocks)}
    return [
        (f"{part}.{name}", getattr(module, name, None))
        for part, module in parts.items()
        for name in ACTIVATIONS
        if hasattr(module, name) or name == "act1"  # of blocks of another kind nothing is read
    ]


def _whole_blocks(tower: Any) -> list[int]:
    """Positions of open_clip's blocks that compute their attention in one piece."""
    if not hasattr(tower, "transformer"):
        return []
    attentions = [getattr(block, "attn", None) for block in tower.transformer.resblocks]
    return [i for i, found in enumerate(attentions) if isinstance(found, nn.MultiheadAttention)]


def _with_split_heads(block: Any) -> nn.Module:
    from open_clip.transformer import CustomResidualAttentionBlock  # takes seconds to import

    whole = block.attn
    with torch.device("meta"):  # nothing is drawn and no room taken: all parts are replaced
        split = CustomResidualAttentionBlock(whole.embed_dim, whole.num_heads)
    split.attn.load_state_dict(whole.state_dict(), assign=True)
    for part in ("ln_1", "ls_1", "ln_2", "ls_2", "mlp"):
        setattr(split, part, getattr(block, part))
    return split.train(block.training)
