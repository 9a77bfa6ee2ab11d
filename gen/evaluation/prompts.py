"""Prompt sets: the sentences from which a class's text embedding is made.

All but `openai` are made of the caption patterns of the dataset; they differ in the nouns for the
medium. docs/evaluation.md shows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gen.datasets.captions import domain_nouns, generic_nouns, prompts
from gen.datasets.samples import Dataset
from gen.models.texts import Texts
from gen.schema import CaptionStyle, PromptSet
from splits.errors import UserError

ANY_DOMAIN = ""
"""stands for the domain where a prompt set has the same sentences for all of them"""
ENCODED_AT_A_TIME = 500


@dataclass(frozen=True)
class Wording:
    """What the captions of a dataset are made of.

    Attributes:
        style: of the sentences.
        nouns: the two that name a domain, by domain.
    """

    style: CaptionStyle
    nouns: Mapping[str, tuple[str, ...]]


def wording_of(dataset: Dataset) -> Wording:
    """The patterns and nouns of a dataset's captions.

    Raises:
        UserError: nobody knows the nouns of a domain.
    """
    style, own = dataset.caption_style, dataset.manifest["config"].get("nouns", {})
    return Wording(style, {name: domain_nouns(name, style, own) for name in dataset.domains})


def sentences(
    prompt_set: PromptSet, class_name: str, wording: Wording, domain: str = ANY_DOMAIN
) -> list[str]:
    """The sentences of a class, each once.

    Args:
        prompt_set: which ones.
        class_name: what they are about.
        wording: patterns and nouns of the dataset's captions.
        domain: of the test images, for the set `domain`; the others do not look at it.

    Raises:
        KeyError: the set is `domain`, and the domain has no nouns.
    """
    if prompt_set is PromptSet.openai:
        import open_clip  # takes seconds to import: only where it is needed

        return [template(class_name) for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    style, nouns = wording.style, generic_nouns()
    if prompt_set is PromptSet.domain:
        nouns = wording.nouns[domain]
    elif prompt_set is PromptSet.ensemble:
        nouns += tuple(noun for own in wording.nouns.values() for noun in own)
    found = prompts(class_name, style, tuple(dict.fromkeys(nouns)))
    return found[:1] if prompt_set is PromptSet.single else found


def domains_of(prompt_set: PromptSet, wording: Wording) -> tuple[str, ...]:
    """The domains for which a prompt set has sentences of their own, or ANY_DOMAIN."""
    return tuple(wording.nouns) if prompt_set is PromptSet.domain else (ANY_DOMAIN,)


def all_sentences(prompt_set: PromptSet, classes: Sequence[str], wording: Wording) -> Iterator[str]:
    """The sentences of all classes and domains."""
    for domain in domains_of(prompt_set, wording):
        for name in classes:
            yield from sentences(prompt_set, name, wording, domain)


def check_encodable(
    prompt_sets: Sequence[PromptSet], classes: Sequence[str], wording: Wording, texts: Texts
) -> None:
    """Refuse prompt sets that a model cannot read, before it is trained.

    Raises:
        UserError: a sentence cannot be encoded.
    """
    for prompt_set in prompt_sets:
        found = list(dict.fromkeys(all_sentences(prompt_set, classes, wording)))
        for start in range(0, len(found), ENCODED_AT_A_TIME):
            try:
                texts.encode(found[start : start + ENCODED_AT_A_TIME])
            except UserError as error:
                raise unreadable(prompt_set, prompt_sets, error) from None


def check_captions(captions: Sequence[str], texts: Texts) -> None:
    """Refuse captions that a model cannot read, as `check_encodable` does prompts."""
    for start in range(0, len(captions), ENCODED_AT_A_TIME):
        try:
            texts.encode(captions[start : start + ENCODED_AT_A_TIME])
        except UserError as error:
            raise unreadable_captions(error) from None


def can_read(texts: Texts, text: str) -> bool:
    """Whether a text can be encoded."""
    try:
        texts.encode([text])
    except UserError:
        return False
    return True


def unreadable(
    prompt_set: PromptSet, prompt_sets: Sequence[PromptSet], error: UserError
) -> UserError:
    """The error (not raised) for a prompt set with a text that cannot be encoded."""
    others = [other.name for other in prompt_sets if other is not prompt_set]
    if not others and prompt_set is not PromptSet.domain_free:
        others = [PromptSet.domain_free.name]
    ways = [f"evaluation.prompts=[{', '.join(others)}]" if others else "", error.fix]
    return UserError(
        f"prompt set `{prompt_set.name}`: {error.found}",
        expected=error.expected,
        where="key `evaluation.prompts`",
        fix=", or ".join(filter(None, ways)),
    )


def unreadable_captions(error: UserError) -> UserError:
    """The error (not raised) for a test image's caption that cannot be encoded."""
    return UserError(
        f"retrieval: {error.found}",
        expected=error.expected,
        where="key `evaluation.retrieval`",
        fix=", or ".join(filter(None, ["evaluation.retrieval=false", error.fix])),
    )
