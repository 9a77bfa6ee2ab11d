"""What the schema of a model cannot say: which keys belong together, and to which images.

Needs no torch for a model of open_clip's towers, so that a study is refused before anything heavy
is imported.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from gen.schema import ModelConfig, ModelKind, Objective, TrainingConfig, VisionConfig, VisionKind
from gen.training.schedule import check_text_rows, teaches_texts
from splits.errors import UserError, unknown

IDLE_IN_VISION = {
    VisionKind.resnet: ("patch_size", "timm_model"),
    VisionKind.vit: ("timm_model",),
    VisionKind.timm: ("layers", "width", "patch_size"),
}
"""keys that an image tower of the kind does not read"""
TEXT_SOURCES = ("captions", "super_categories")
"""of pairs of texts, beside files"""


def check_learner(
    model: ModelConfig, training: TrainingConfig, has_base: bool, pixels: int
) -> None:
    """Refuse a study's model before any data is touched.

    Args:
        model: what is trained.
        training: how.
        has_base: whether the mixtures include an image–caption dataset.
        pixels: height and width of the images.

    Raises:
        UserError: the configuration describes no model, or the model cannot be trained so.
    """
    check_model(model, pixels)
    if model.kind is ModelKind.classifier:
        _check_labels(training, has_base)
    _check_text_pairs(model, training)


def check_model(config: ModelConfig, pixels: int) -> None:
    """Refuse a configuration that describes no model for images of this size.

    Raises:
        UserError: a key is missing, out of range, or belongs to another kind.
    """
    if config.kind is ModelKind.clippo:
        from gen.models.clippo import check_clippo

        check_clippo(config, pixels)
    _check_idle(config)
    _check_positive({"embed_dim": config.embed_dim})
    _check_vision(config.vision, pixels)
    if config.kind is ModelKind.clip:
        _check_text(config)


def _check_labels(training: TrainingConfig, has_base: bool) -> None:
    """A classifier learns labels, which pairs of images and captions do not have."""
    if training.objective is not Objective.infonce:
        raise UserError(
            f"key `training.objective` is {training.objective.name}, and the model is a classifier",
            expected="no objective: a classifier is trained with cross-entropy",
        )
    for key, given in (("base", has_base), ("training.stream.shards", training.stream.shards)):
        if given:
            raise UserError(
                f"key `{key}` adds images with captions, and the model is a classifier",
                expected="labelled images only",
                fix=f"leave out `{key}`, or take a model of kind clip or clippo",
            )


def _check_text_pairs(model: ModelConfig, training: TrainingConfig) -> None:
    """Pairs of texts need one tower that reads both, and no stream beside them."""
    source, key = training.text_pairs.source, "key `training.text_pairs.source`"
    is_file = source.endswith(".tsv")
    if source and not is_file and source not in TEXT_SOURCES:
        raise unknown("source of pairs of texts", source, [*TEXT_SOURCES, "FILE.tsv"], where=key)
    if not teaches_texts(training):
        return
    if model.kind is not ModelKind.clippo:
        raise UserError(
            f"{key} is {source}, and the model is a {model.kind.name}",
            expected="a model of kind clippo: its one tower reads both texts of a pair",
            fix="training.text_pairs.share=0 for this model",
        )
    if training.stream.shards:
        raise UserError(
            f"{key} is {source}, and `training.stream.shards` is given",
            expected="one of the two: a stream cannot be resumed to the same bits",
        )
    if is_file and not Path(source).is_file():
        raise UserError(f"there is no file {source}", expected="two texts a line", where=key)
    check_text_rows(training)


def _check_idle(config: ModelConfig) -> None:
    """No key may stand there without effect: whoever wrote it expects one."""
    kind, vision, text = config.kind.name, config.vision, config.text
    owner = f"an image tower of kind {vision.kind.name}"
    idle = {f"vision.{key}": (getattr(vision, key), owner) for key in IDLE_IN_VISION[vision.kind]}
    if config.kind is not ModelKind.clip:
        idle |= {
            f"text.{key}": (getattr(text, key), f"a {kind}") for key in ("layers", "width", "heads")
        }
    if config.kind is not ModelKind.clippo and config.font != ModelConfig.font:
        idle["font"] = (config.font, f"a {kind}")
    if config.kind is not ModelKind.clippo and config.cut_texts:
        idle["cut_texts"] = ("true", f"a {kind}")
    for key, (value, reader) in idle.items():
        if value:
            raise UserError(f"key `{key}` is {value}", expected=f"no such key: {reader} has none")


def _check_positive(values: dict[str, int]) -> None:
    for key, value in values.items():
        if value < 1:
            missing = " or missing" if value == 0 else ""
            raise UserError(f"key `{key}` is {value}{missing}", expected="a positive number")


def _check_vision(vision: VisionConfig, pixels: int) -> None:
    if vision.kind is VisionKind.timm:
        _check_timm_name(vision.timm_model)
        return
    _check_positive({"vision.width": vision.width, "vision.head_width": vision.head_width})
    is_vit = vision.kind is VisionKind.vit
    wanted = 1 if is_vit else 4
    if len(vision.layers) != wanted or min(vision.layers) < 1:
        raise UserError(
            f"key `vision.layers` is {list(vision.layers)}{'' if vision.layers else ' or missing'}",
            expected=f"{wanted} positive number{'s' * (wanted > 1)} for a {vision.kind.name}",
        )
    if is_vit and (vision.patch_size < 1 or pixels % vision.patch_size):
        raise UserError(
            f"key `vision.patch_size` is {vision.patch_size}",
            expected=f"a divisor of the image size, {pixels} pixels",
        )
    if is_vit and vision.width % vision.head_width:
        raise UserError(
            f"key `vision.head_width` is {vision.head_width}",
            expected=f"a divisor of vision.width, {vision.width}",
        )
    # ModifiedResNet halves its input five times and counts its heads in units of head_width
    if not is_vit and (pixels % 32 or vision.width * 32 % vision.head_width):
        raise UserError(
            f"a resnet of width {vision.width}, heads of {vision.head_width}, {pixels} pixels",
            expected="pixels divisible by 32, and 32 × width divisible by head_width",
        )


def _check_timm_name(name: str) -> None:
    import timm  # takes seconds to import: only where a tower of timm is asked for

    if not name:
        raise UserError("key `vision.timm_model` is missing", expected="the name of a timm model")
    names = timm.list_models()
    if name not in names:
        close = get_close_matches(name, names, n=1)
        raise UserError(
            f"timm has no model `{name}`" + (f" (did you mean `{close[0]}`?)" if close else ""),
            expected="a name that timm.list_models() gives, without a tag of pretrained weights",
            where="key `vision.timm_model`",
        )


def _check_text(config: ModelConfig) -> None:
    text = config.text
    _check_positive(
        {"text.layers": text.layers, "text.width": text.width, "text.heads": text.heads}
    )
    if text.width % text.heads:
        raise UserError(
            f"key `text.heads` is {text.heads}",
            expected=f"a divisor of text.width, {text.width}",
        )
