"""What the schema of a study's analyses cannot say: what belongs together, what towers have."""

from __future__ import annotations

from gen.schema import (
    AnalysisConfig,
    AnalysisKind,
    ModelConfig,
    ModelKind,
    SiteLevel,
    VisionConfig,
    VisionKind,
)
from splits.errors import UserError, unknown

FEWEST_IMAGES = 4
LEVELS = {
    VisionKind.resnet: {SiteLevel.residual, SiteLevel.channel},
    VisionKind.vit: {SiteLevel.residual, SiteLevel.head, SiteLevel.neuron},
    VisionKind.timm: set(SiteLevel),  # which of them, its architecture says
}
"""levels of sites that image towers may have"""


def check_analysis(analysis: AnalysisConfig, where: str) -> None:
    """Check the analyses of a study; similarity is always there: reports compare runs by it.

    Raises:
        UserError: similarity or its residual sites are missing, something stands twice, or there
            are too few images.
    """
    names = [kind.name for kind in analysis.kinds]
    if AnalysisKind.similarity not in analysis.kinds or len(set(names)) < len(names):
        raise UserError(
            f"key `analysis.kinds` is [{', '.join(names)}]",
            expected="similarity and others, each once",
            where=where,
        )
    levels = [level.name for level in analysis.levels]
    if SiteLevel.residual not in analysis.levels or len(set(levels)) < len(levels):
        raise UserError(
            f"key `analysis.levels` is [{', '.join(levels)}]",
            expected="residual and others, each once",
            where=where,
        )
    if analysis.images < FEWEST_IMAGES:
        raise UserError(
            f"key `analysis.images` is {analysis.images}",
            expected=f"at least {FEWEST_IMAGES}",
            where=where,
        )


def check_tower(analysis: AnalysisConfig, model: ModelConfig, where: str) -> None:
    """Refuse before training what the analyses would refuse after it.

    Towers of timm have what their architecture says, which nobody knows before they are built.

    Raises:
        UserError: the image tower has no sites of a level or not the primary site, or the model no
            texts for a lens.
    """
    if AnalysisKind.lens in analysis.kinds and model.kind is ModelKind.classifier:
        raise UserError(
            "analysis `lens` reads sites by the texts of classes, and a classifier has none",
            expected="a study of models of kind clip or clippo",
            where=f"{where}, key `analysis.kinds`",
        )
    missing = set(analysis.levels) - LEVELS[model.vision.kind]
    if missing:
        raise UserError(
            f"key `analysis.levels` names {', '.join(sorted(level.name for level in missing))}",
            expected=f"levels of a {model.vision.kind.name}: "
            + ", ".join(level.name for level in SiteLevel if level in LEVELS[model.vision.kind]),
            where=where,
        )
    _check_primary_site(analysis.primary_site, model.vision, where)


def _check_primary_site(site: str, vision: VisionConfig, where: str) -> None:
    known = residual_sites(vision)
    if site and known and site not in known[:-1]:
        raise unknown("site", site, known[:-1], where=f"{where}, key `analysis.primary_site`")


def residual_sites(vision: VisionConfig) -> list[str]:
    """Names of the residual sites of an image tower; none where its architecture decides them."""
    if vision.kind is VisionKind.timm:
        return []
    is_resnet = vision.kind is VisionKind.resnet
    stages, count = ("layer", 4) if is_resnet else ("block", vision.layers[0])
    return ["stem", *(f"{stages}{number}" for number in range(1, count + 1)), "embedding"]
