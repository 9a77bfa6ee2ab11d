"""Captions: a sentence that relates a class to a medium noun.

As in Kempf et al. 2025: six patterns, two generic nouns and two nouns per domain, all equally
likely, so that half of the captions name the domain; the full stop is dropped half of the time.
The *aligned* captions take generic nouns only. One caption per image, fixed for all epochs.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import yaml

from gen.randomness import generator
from splits.errors import UserError

NOUNS_FILE = Path(__file__).with_name("nouns.yaml")

PATTERNS = (
    "{noun} of a {name}",
    "{noun} with a {name}",
    "{noun} showing a {name}",
    "a {name} in this {noun}",
    "a {name} as {noun}",
    "a {name}, {noun}",
)


@lru_cache
def generic_nouns() -> tuple[str, ...]:
    """Nouns that fit any domain."""
    return tuple(_nouns()["generic"])


@lru_cache
def domain_nouns(domain: str) -> tuple[str, ...]:
    """Nouns that name `domain`."""
    nouns = _nouns()["domains"]
    if domain not in nouns:
        raise UserError(
            f"domain `{domain}` has no medium nouns for its captions",
            expected=f"one of {', '.join(nouns)}",
            where=str(NOUNS_FILE),
            fix=f"add a line `{domain}: [noun, other noun]` under `domains:`",
        )
    return tuple(nouns[domain])


def caption(seed: int, sample_id: str, domain: str, class_name: str, *, aligned: bool) -> str:
    """The caption of a sample: a pure function of the seed and its id."""
    rng = generator(seed, "caption", aligned, sample_id)
    nouns = generic_nouns() + (() if aligned else domain_nouns(domain))
    pattern = PATTERNS[rng.integers(len(PATTERNS))]
    sentence = pattern.format(noun=nouns[rng.integers(len(nouns))], name=class_name)
    return sentence + "." * int(rng.integers(2))


def prompts(class_name: str) -> list[str]:
    """All captions of a class that name no domain, without full stop: the zero-shot prompts."""
    return [p.format(noun=noun, name=class_name) for p in PATTERNS for noun in generic_nouns()]


@lru_cache
def _nouns() -> dict:
    return yaml.safe_load(NOUNS_FILE.read_text(encoding="utf-8"))
