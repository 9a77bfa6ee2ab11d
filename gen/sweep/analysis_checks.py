"""What the schema of a study's analyses cannot say: what belongs together, what towers have."""

from __future__ import annotations

from collections.abc import Sequence

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
FEWEST_DOMAINS = 3
"""of causes: one is left out, two are told apart"""
OF_TEXTS = {
    AnalysisKind.lens: "reads sites by the texts of classes",
    AnalysisKind.modalities: "holds images against the texts of classes",
    AnalysisKind.binding: "holds images of scenes against their captions",
}
"""analyses of models that read texts, and what they do with them"""
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
        UserError: the image tower has no sites of a level or not the primary site, the model no
            texts that an analysis needs, or circuits of it were not published.
    """
    for kind, what in OF_TEXTS.items():
        if kind in analysis.kinds and model.kind is ModelKind.classifier:
            raise UserError(
                f"analysis `{kind.name}` {what}, and a classifier has none",
                expected="a study of models of kind clip or clippo",
                where=f"{where}, key `analysis.kinds`",
            )
    if AnalysisKind.published_circuits in analysis.kinds:
        _check_published(model, where)
    missing = set(analysis.levels) - LEVELS[model.vision.kind]
    if missing:
        raise UserError(
            f"key `analysis.levels` names {', '.join(sorted(level.name for level in missing))}",
            expected=f"levels of a {model.vision.kind.name}: "
            + ", ".join(level.name for level in SiteLevel if level in LEVELS[model.vision.kind]),
            where=where,
        )
    _check_primary_site(analysis.primary_site, model.vision, where)


def check_causes(analysis: AnalysisConfig, domains: Sequence[str], where: str) -> None:
    """Refuse causes where no domain can be left out; classes there are enough in every study.

    Raises:
        UserError: they are asked for, and the dataset has too few domains.
    """
    if AnalysisKind.causes in analysis.kinds and len(domains) < FEWEST_DOMAINS:
        raise UserError(
            f"analysis `causes` leaves a domain out and tells the others apart, and the dataset "
            f"has {len(domains)}: {', '.join(domains)}",
            expected=f"a dataset of at least {FEWEST_DOMAINS} domains",
            where=f"{where}, key `analysis.kinds`",
            fix="take `causes` out of analysis.kinds",
        )


def check_binding(analysis: AnalysisConfig, *, is_scenes: bool, where: str) -> None:
    """Refuse the analysis of binding where images do not say which objects they show.

    Raises:
        UserError: it is asked for, and the dataset holds no scenes.
    """
    if AnalysisKind.binding in analysis.kinds and not is_scenes:
        raise UserError(
            "analysis `binding` asks which concept goes with which object, and the dataset does "
            "not say what objects its images show",
            expected="a dataset of kind scenes, such as `scenes`",
            where=f"{where}, key `analysis.kinds`",
            fix="take `binding` out of analysis.kinds, or begin with `dataset: scenes`",
        )


def _check_published(model: ModelConfig, where: str) -> None:
    """Published circuits are of the cosines of a CLIP whose image tower is a ResNet of open_clip.

    Raises:
        UserError: the model is another.
    """
    if model.kind is not ModelKind.classifier and model.vision.kind is VisionKind.resnet:
        return
    is_classifier = model.kind is ModelKind.classifier
    tower = f"a tower of kind {model.vision.kind.name} has other sites"
    raise UserError(
        "analysis `published_circuits` is of the cosine to a class's text in a ResNet of open_clip,"
        f" and {'a classifier has no texts' if is_classifier else tower}",
        expected="a study of models of kind clip with vision.kind=resnet",
        where=f"{where}, key `analysis.kinds`",
        fix="take `published_circuits` out of analysis.kinds; `circuits` is for all towers",
    )


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
