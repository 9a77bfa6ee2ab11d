"""What a scenes dataset is made of: its concepts, its objects and their looks, and the split."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from gen.datasets.captions import domain_nouns
from gen.datasets.icons.domains import DOMAINS
from gen.datasets.icons.drawings import Drawing, IconClass, load_classes
from gen.scenes.coverage import ObjectSplit, split_objects
from gen.scenes.drawing import SIZES, Look
from gen.scenes.layout import check_room
from gen.scenes.palette import PALETTE
from gen.scenes.space import ConceptSpace
from gen.scenes.wording import DOMAIN
from gen.schema import CaptionStyle, ScenesConfig
from splits.errors import UserError, unknown
from splits.held_out import draw_held_out

CLASS, COLOUR, SIZE = "class", "colour", "size"
"""names of the concepts beside `gen.scenes.wording.DOMAIN`"""


@dataclass(frozen=True)
class SceneWorld:
    """Everything that a configuration says of objects.

    Attributes:
        space: the concepts, in the order of captions: domain, size, colour, class.
        split: objects that training shows.
        classes: by their number in the space, which is sorted by name.
        looks: by the object's number.
    """

    space: ConceptSpace
    split: ObjectSplit
    classes: tuple[IconClass, ...]
    looks: tuple[Look, ...]


def scene_world(config: ScenesConfig) -> SceneWorld:
    """The world of a configuration.

    Raises:
        UserError: a name is unknown, a number makes no sense, or scenes do not fit.
    """
    where = f"dataset {config.name}"
    _check_numbers(config, where)
    classes = _classes(config, where)
    looks = {
        DOMAIN: _named(config.domains, DOMAINS, "domain", where),
        SIZE: _named(config.sizes, SIZES, "size", where),
        COLOUR: _colours(config.colours, where),
    }
    if looks[DOMAIN] and looks[COLOUR]:
        raise UserError(
            "objects have both domains and colours",
            expected="one of them: a domain decides its own colours",
            where=where,
            fix="colours=0, or domains=[]",
        )
    shown = {concept: values for concept, values in looks.items() if values}
    space = ConceptSpace(
        {concept: _words(concept, values) for concept, values in shown.items()}
        | {CLASS: tuple(item.name for item in classes)}
    )
    split = split_objects(space, config.coverage, config.coverage_seed)
    return SceneWorld(space, split, classes, _looks(shown, classes, config.drawings))


def _looks(
    shown: dict[str, tuple[str, ...]], classes: tuple[IconClass, ...], drawings: int
) -> tuple[Look, ...]:
    """Looks of all objects, in the order of their numbers."""
    return tuple(
        Look(_drawings(item, drawings), **dict(zip(shown, values, strict=True)))
        for values in product(*shown.values())
        for item in classes
    )


def _drawings(item: IconClass, count: int) -> tuple[Drawing, ...]:
    """The first drawing, a solid one, of every artist family, or of the first families."""
    first = {drawing.family: drawing for drawing in reversed(item.drawings)}
    return tuple(first[family] for family in item.families)[: count or None]


def _words(concept: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Words of a concept's values in captions; of a domain its first noun: photo for real."""
    if concept != DOMAIN:
        return values
    return tuple(domain_nouns(name, CaptionStyle.short)[0] for name in values)


def _classes(config: ScenesConfig, where: str) -> tuple[IconClass, ...]:
    """Classes by name, or a draw over the super-categories; sorted by name."""
    everything = {item.name: item for item in load_classes()}
    names = config.classes
    if isinstance(names, int):
        _check_count("classes", names, 2, len(everything), where)
        categories = {name: item.super_category for name, item in everything.items()}
        names = draw_held_out(categories, names, config.seed)
    _check_names("classes", names, where)
    return tuple(everything[name] for name in sorted(_named(names, everything, "class", where)))


def _colours(colours: Any, where: str) -> tuple[str, ...]:
    if isinstance(colours, int):
        _check_count("colours", colours, 0, len(PALETTE), where)
        return tuple(PALETTE)[:colours]
    _check_names("colours", colours, where)
    return _named(colours, PALETTE, "colour", where)


def _named(names: Any, known: Any, kind: str, where: str) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise unknown(kind, str(name), known, where=where)
    return tuple(names)


def _check_names(key: str, names: Any, where: str) -> None:
    if not isinstance(names, list | tuple):
        raise UserError(
            f"key `{key}` is {names!r}", expected="a number, or a list of names", where=where
        )


def _check_count(key: str, value: int, least: int, most: int, where: str) -> None:
    if not least <= value <= most:
        raise UserError(f"key `{key}` is {value}", expected=f"{least} to {most}", where=where)


def _check_numbers(config: ScenesConfig, where: str) -> None:
    """Counts are no less than what makes sense, and the largest scene has room."""
    numbers = {"pixels": 8, "object_pixels": 8, "drawings": 0, "coverage_seed": 0}
    for key, least in numbers.items():
        if (value := getattr(config, key)) < least:
            raise UserError(f"key `{key}` is {value}", expected=f"at least {least}", where=where)
    for key in ("train", "test"):
        counts = getattr(config, key)
        if not counts or min(counts) < 0 or not counts[0]:
            raise UserError(
                f"key `{key}` is {counts}",
                expected="numbers of scenes of 1, 2, … objects, of one object some",
                where=where,
            )
    if not 0 <= config.swap_share <= 1:
        raise UserError(
            f"key `swap_share` is {config.swap_share}",
            expected="a share from 0 to 1",
            where=where,
        )
    largest = max(len(config.train), len(config.test))
    check_room(largest, config.object_pixels, config.pixels, overlap=config.overlap)
