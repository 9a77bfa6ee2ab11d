"""The user's labels and texts: made into prompts, and held against what a model can read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import partial

import polars as pl
import torch
from torch.nn.functional import normalize

from gen.evaluation.embed import embed_texts
from gen.evaluation.prompts import Wording, sentences, wording_of
from gen.models.pretrained import Tokens
from gen.models.rendering import Renderer
from gen.models.vocabulary import Vocabulary
from gen.schema import CaptionStyle, PromptSet
from gen.use.models import UsedModel
from splits.errors import UserError

PLACE = "{}"
"""stands for the label in a prompt of the user's"""
PIECES = re.compile(r"\w+|[^\w\s]+")
WORD = re.compile(r"\w+")
NAMED = 12
"""known words or classes that a message names at most"""


def check_labels(labels: Sequence[str]) -> None:
    """Raise a `UserError` unless there are two labels or more, all different."""
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UserError(f"label `{twice[0]}` stands more than once", where="the labels")
    if len(labels) < 2:
        raise UserError(
            f"there {'is 1 label' if labels else 'are no labels'}",
            expected="two or more: probabilities are over the labels that are given",
            fix='--labels "cat,dog", or `clipgen search` to find the images that fit a text best',
        )


def own_prompts(labels: Sequence[str], patterns: Sequence[str]) -> list[list[str]]:
    """The sentences of every label by patterns of the user's, such as `a photo of a {}`.

    Raises:
        UserError: a pattern has no place for the label, or several.
    """
    for pattern in patterns:
        if pattern.count(PLACE) != 1:
            raise UserError(
                f"the prompt {pattern!r} has {pattern.count(PLACE)} places for the label",
                expected="one `{}`",
                where="--prompt",
                fix="'a photo of a {}', for one",
            )
    return [[pattern.replace(PLACE, label) for pattern in patterns] for label in labels]


def known_prompts(
    labels: Sequence[str], prompt_set: PromptSet, model: UsedModel
) -> list[list[str]]:
    """The sentences of every label by a prompt set; docs/evaluation.md has their words.

    They are those of the dataset that the model's study is about. Of a model that was there
    already they are the published patterns, which name no domain.

    Raises:
        UserError: nobody knows the words for a domain of the dataset.
    """
    if model.dataset is None:
        wording = Wording(CaptionStyle.published, {})
    else:
        wording = wording_of(model.dataset)
    return [sentences(prompt_set, label, wording) for label in labels]


def embed_ensembles(
    model: UsedModel, ensembles: Sequence[Sequence[str]], device: torch.device
) -> torch.Tensor:
    """Normalised means of the sentences' normalised embeddings (Radford et al. 2021, 3.1.4).

    Args:
        model: reads texts.
        ensembles: L lists of P sentences each.
        device: where to compute.

    Returns:
        float32 [L, E], on the CPU.

    Raises:
        UserError: a sentence cannot be encoded.
    """
    texts = [text for ensemble in ensembles for text in ensemble]
    embedded = embed_texts(model.learner, texts, device)
    return normalize(embedded.unflatten(0, (len(ensembles), -1)).mean(dim=1), dim=-1)


def check_texts(model: UsedModel, texts: Sequence[str]) -> list[str]:
    """Refuse texts with words that say nothing to a model; warn of those that it never learned.

    A small model has tokens for the words of its dataset's captions and for no others, so that it
    cannot read another word at all. It can read a word of which it has the tokens, though the
    captions that it was trained on did not have it, and draw a word that it never saw.

    Returns:
        Warnings.

    Raises:
        UserError: names all words without tokens, and known words that look alike.
    """
    words = list(dict.fromkeys(word for text in texts for word in PIECES.findall(text.lower())))
    known = words_read(model)
    without = [word for word in words if _says_nothing(model, word)]
    if without:
        raise _no_tokens(without, model, known)
    return [*_never_read(words, known), *_drawn(model, texts)]


def words_read(model: UsedModel) -> frozenset[str] | None:
    """Words of the captions of the mixture that a model was trained on.

    None where they are not known here: of a model that was there already, or of a run that also
    reads the captions of a base or a stream, or pairs of texts.
    """
    run, dataset = model.run, model.dataset
    if run is None or dataset is None or run.mixture.base:
        return None
    if run.training.stream.shards or run.training.text_pairs.source:
        return None
    ids = run.mixture.ids.unique()
    shown = dataset.samples.filter(pl.col("id").is_in(ids.implode()))
    captions = shown[run.caption].unique()
    return frozenset(word for text in captions for word in WORD.findall(text.lower()))


def _says_nothing(model: UsedModel, word: str) -> bool:
    """Whether a model has no tokens for a word, or tokens from which it never learned."""
    texts = model.learner.texts
    if isinstance(texts, Vocabulary):
        try:
            texts.encode([word])
        except UserError:
            return True
    table = getattr(model.learner.model, "token_embedding", None)
    if isinstance(texts, Tokens) and table is not None:
        tokens = texts.encode([word])[0]
        return bool((table.weight[tokens.to(table.weight.device)] == 0).all(dim=1).any())
    return False


def _no_tokens(without: Sequence[str], model: UsedModel, known: frozenset[str] | None) -> UserError:
    classes = list(model.dataset.classes) if model.dataset is not None else []
    some = ", ".join(classes[:NAMED]) + (", …" if len(classes) > NAMED else "")
    return UserError(
        f"{model.name} has no tokens for {', '.join(map(partial(_named, known=known), without))}",
        expected="words of the captions of its dataset"
        + (f", whose classes are {some}" if classes else ""),
        fix="other words or prompts, or a model with CLIP's whole vocabulary (--model)",
    )


def _never_read(words: Sequence[str], known: frozenset[str] | None) -> Iterator[str]:
    if known is None:
        return
    strange = [word for word in words if WORD.fullmatch(word) and word not in known]
    if strange:
        named = ", ".join(_named(word, known) for word in strange)
        yield f"no caption of the model's mixture has {named}: it never learned what that means"


def _drawn(model: UsedModel, texts: Sequence[str]) -> Iterator[str]:
    """What a CLIPPO sees otherwise than it is written."""
    renderer = model.learner.texts
    if not isinstance(renderer, Renderer):
        return
    if boxes := renderer.unknown_glyphs(texts):
        yield f"the font lacks {' '.join(boxes)}: they are drawn as boxes"
    if renderer.cut and (cut := [text for text in texts if not renderer.fits(text)]):
        yield f"{len(cut)} texts do not fit, and their ends are not drawn: {cut[0]!r}, for one"


def _named(word: str, known: frozenset[str] | None) -> str:
    near = get_close_matches(word, sorted(known or ()), n=2)
    return f"`{word}`" + (f" (near: {', '.join(near)})" if near else "")
