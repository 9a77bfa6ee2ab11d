"""Captions: a sentence that relates a class to a medium noun.

As in Kempf et al. 2025: six patterns, two generic nouns and two nouns per domain, all equally
likely, so that half of the captions name the domain; the full stop is dropped half of the time.
The *aligned* captions take generic nouns only. One caption per image, fixed for all epochs.
Styles: the `published` patterns, `short` ones for small models, and `bare` ones that name the class
alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import yaml

from gen.datasets.making import as_override
from gen.randomness import generator
from gen.schema import CaptionStyle
from splits.errors import UserError

CAPTIONS_FILE = Path(__file__).with_name("captions.yaml")


@lru_cache
def generic_nouns() -> tuple[str, ...]:
    """Nouns that fit any domain."""
    return tuple(_file()["generic"])


@lru_cache
def patterns(style: CaptionStyle) -> tuple[str, ...]:
    """The sentence patterns of a style, without full stop."""
    return tuple(_file()["styles"][style.name]["patterns"])


def domain_nouns(
    domain: str, style: CaptionStyle, nouns: Mapping[str, Sequence[str]] | None = None
) -> tuple[str, ...]:
    """The two nouns that name `domain`.

    Args:
        domain: name of the domain; capitals, and underscores for spaces, make no other name.
        style: whose nouns are known already.
        nouns: those of a dataset's configuration, which go before (by the exact name).

    Raises:
        UserError: nobody knows them, or they are not two.
    """
    check_nouns([domain], style, nouns)
    return tuple(_nouns_of(domain, style, nouns))


def check_nouns(
    domains: Sequence[str], style: CaptionStyle, nouns: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Refuse domains that have no two nouns; those that have none all at once."""
    missing = [domain for domain in domains if not _nouns_of(domain, style, nouns)]
    if missing:
        wanted = as_override("nouns", {domain: ["noun", "other noun"] for domain in missing})
        raise UserError(
            f"no words for the medium of {', '.join(f'`{domain}`' for domain in missing)} are known"
            ", for the captions",
            expected=f"two words each, as for {', '.join(_known_nouns(style))}",
            where=str(CAPTIONS_FILE),
            fix=f"with words of yours: {wanted} (or under `nouns:` in a configuration)",
        )
    for domain in domains:
        if len(set(found := _nouns_of(domain, style, nouns))) != 2:
            raise UserError(
                f"domain `{domain}` has the nouns {', '.join(found)}",
                expected="two different words",
            )


def _nouns_of(
    domain: str, style: CaptionStyle, nouns: Mapping[str, Sequence[str]] | None
) -> Sequence[str]:
    known = _known_nouns(style).get(domain.casefold().replace("_", " "), ())
    return (nouns or {}).get(domain, known)


def _known_nouns(style: CaptionStyle) -> dict[str, list[str]]:
    return {**_file()["domains"], **_file()["styles"][style.name].get("domains", {})}


def captions_sha256(
    domains: Sequence[str], style: CaptionStyle, nouns: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Hash of all words that decide the captions of a dataset; arguments as in `check_nouns`."""
    words = {
        "generic": generic_nouns(),
        "without_article": _file()["without_article"],
        "patterns": patterns(style),
        "domains": {domain: domain_nouns(domain, style, nouns) for domain in domains},
    }
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def caption(
    seed: int, sample_id: str, class_name: str, own: Sequence[str], style: CaptionStyle
) -> str:
    """The caption of a sample: a pure function of the arguments.

    Args:
        seed: of the dataset.
        sample_id: of the sample.
        class_name: what the image shows.
        own: nouns that name its domain, see `domain_nouns`; none for an aligned caption.
        style: of the sentences.
    """
    rng = generator(seed, "caption", not own, sample_id)
    nouns = (*generic_nouns(), *own)
    pattern = patterns(style)[rng.integers(len(patterns(style)))]
    sentence = _sentence(pattern, nouns[rng.integers(len(nouns))], class_name)
    return sentence + "." * int(rng.integers(2))


def captions(
    seed: int, sample_id: str, class_name: str, own: Sequence[str], style: CaptionStyle
) -> dict[str, str]:
    """Both captions of a sample, by the name of their column."""
    return {
        "caption": caption(seed, sample_id, class_name, own, style),
        "caption_aligned": caption(seed, sample_id, class_name, (), style),
    }


def prompts(class_name: str, style: CaptionStyle, nouns: Sequence[str] | None = None) -> list[str]:
    """All captions of a class with these nouns, without full stop: zero-shot prompts.

    Without `nouns` they are the generic ones, which name no domain.
    """
    nouns = generic_nouns() if nouns is None else nouns
    found = [_sentence(p, noun, class_name) for p in patterns(style) for noun in nouns]
    return list(dict.fromkeys(found))  # a pattern may say no noun


def _sentence(pattern: str, noun: str, class_name: str) -> str:
    return pattern.format(noun=noun, a_noun=_with_article(noun), name=class_name)


def _with_article(noun: str) -> str:
    if noun in _file()["without_article"]:
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


@lru_cache
def _file() -> dict:
    return yaml.safe_load(CAPTIONS_FILE.read_text(encoding="utf-8"))
