"""Zero-shot accuracy where the prompts are disturbed: typos, case, other fonts.

The images and their embeddings stay; docs/text_robustness.md has the protocol.
Legend: N images, C classes, E embedding channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import polars as pl
import torch

from gen.evaluation.disturbances import Disturbance, disturbances
from gen.evaluation.embed import embed_texts
from gen.evaluation.metrics import Estimate, balanced_accuracy
from gen.evaluation.paired import paired_difference
from gen.evaluation.prompts import Wording, can_read, domains_of, sentences
from gen.evaluation.score import ALL, HELD_OUT, SAME, SEEN
from gen.evaluation.zero_shot import ROWS_AT_A_TIME, mean_embedding, rows_by_domain
from gen.models.trained import Learner
from gen.progress import progress
from gen.schema import PromptSet
from splits.errors import UserError

TEXT_ROBUSTNESS: dict[str, type[pl.DataType]] = {
    **{"disturbance": pl.String, "strength": pl.Int64, "text_draw": pl.Int64},
    **{"split": pl.String, "domain": pl.String, "draw": pl.Int64, "classes": pl.String},
    **dict.fromkeys(["value", "lo", "hi"], pl.Float64),
    **{"n": pl.Int64, "n_classes": pl.Int64, "chance": pl.Float64},
    **dict.fromkeys(["difference", "difference_lo", "difference_hi"], pl.Float64),
    **{"unreadable": pl.Float64, "note": pl.String},
}
"""columns of text_robustness.parquet; docs/formats.md explains them"""
NOTHING_READ = "no prompt of any class can be read"
SOME_UNREAD = "some classes have no prompt that can be read, and are never the answer"


@dataclass(frozen=True)
class Prompts:
    """What is asked of a model, however it is written.

    Attributes:
        prompt_set: whose sentences are disturbed.
        classes: names of all classes, in the order of their ids.
        wording: of the dataset's captions.
    """

    prompt_set: PromptSet
    classes: Sequence[str]
    wording: Wording

    def written(self, way: Disturbance) -> dict[str, list[list[str]]]:
        """Sentences of every class by domain, written in one way."""
        return {
            domain: [
                [
                    way.written(sentence)
                    for sentence in sentences(
                        self.prompt_set, way.names[name], self.wording, domain
                    )
                ]
                for name in self.classes
            ]
            for domain in domains_of(self.prompt_set, self.wording)
        }


@dataclass(frozen=True)
class _Answers:
    """What comes of prompts that are written in one way.

    Attributes:
        right: whether an image's answer is, float [N] in [0, 1]; None where no class can be read.
        chance: of a guess among the classes that can be read to be right, by image, [N].
        unreadable: share of the prompts that cannot be read.
        note: what is to be known; empty where nothing is.
    """

    right: np.ndarray | None
    chance: np.ndarray
    unreadable: float
    note: str


def text_robustness(
    learner: Learner,
    prompts: Prompts,
    features: torch.Tensor,
    samples: pl.DataFrame,
    draws: Mapping[int, Sequence[str]],
    device: torch.device,
) -> pl.DataFrame:
    """Balanced accuracy with every disturbance, and its difference from undisturbed prompts.

    A class of which no prompt can be read is never the answer: its images count as wrong.

    Args:
        learner: a model that reads texts, the undisturbed prompts among them.
        prompts: that are disturbed.
        features: normalised embeddings of the test images, [N, E], on the CPU.
        samples: their rows (`split`, `domain`, `class_id`).
        draws: names of the held-out classes of every draw.
        device: where to compute.

    Returns:
        Columns TEXT_ROBUSTNESS; of several draws of typos also their mean, `text_draw` null.

    Raises:
        ValueError: the model reads no text.
    """
    if learner.texts is None:
        raise ValueError("the model reads no text")
    ways = disturbances(learner.texts, prompts.classes)
    answers: list[_Answers] = []
    with progress(len(ways), "disturbed prompts", "ways") as bar:
        for way in ways:
            if answers and _is_same(ways[0], way, prompts):
                answers.append(replace(answers[0], note=SAME))
            else:
                answers.append(_answers(learner, way, prompts, features, samples, device))
            bar.update()
    held_out = {d: np.isin(prompts.classes, list(names)) for d, names in sorted(draws.items())}
    rows: list[dict] = []
    for key, group in groupby(zip(ways, answers, strict=True), key=_kind):
        for text_draw, found in _with_mean({way.draw: found for way, found in group}):
            named = {"disturbance": key[0], "strength": key[1], "text_draw": text_draw}
            rows += [named | row for row in _scores(found, answers[0], samples, held_out)]
    return pl.DataFrame(rows, schema=TEXT_ROBUSTNESS)


def _kind(pair: tuple[Disturbance, _Answers]) -> tuple[str, int | None]:
    return pair[0].name, pair[0].strength


def _with_mean(by_draw: dict[int, _Answers]) -> Iterator[tuple[int | None, _Answers]]:
    """The answers of every draw; of several also, by None, what they come to on average."""
    yield from by_draw.items()
    if len(by_draw) == 1:
        return
    found = list(by_draw.values())
    read = [one.right for one in found if one.right is not None]
    mean = np.mean(read, axis=0) if len(read) == len(found) else None
    chance = np.mean([one.chance for one in found], axis=0)
    yield None, _Answers(mean, chance, float(np.mean([a.unreadable for a in found])), _note(found))


def _note(found: Sequence[_Answers]) -> str:
    """What is to be known of the mean over draws."""
    notes = {one.note for one in found}
    if untold := sum(one.right is None for one in found):
        return f"in {untold} of {len(found)} draws {NOTHING_READ}"
    if len(notes) == 1:
        return notes.pop()
    return SOME_UNREAD if SOME_UNREAD in notes else ""


def _is_same(clean: Disturbance, way: Disturbance, prompts: Prompts) -> bool:
    """Whether all prompts are encoded as the undisturbed ones are."""
    pairs = zip(_flat(prompts.written(clean)), _flat(prompts.written(way)), strict=True)
    for before, after in dict.fromkeys(pairs):
        try:
            same = torch.equal(clean.texts.encode([before]), way.texts.encode([after]))
        except UserError:
            return False
        if not same:
            return False
    return True


def _flat(written: Mapping[str, list[list[str]]]) -> Iterator[str]:
    return (text for by_class in written.values() for texts in by_class for text in texts)


def _answers(
    learner: Learner,
    way: Disturbance,
    prompts: Prompts,
    features: torch.Tensor,
    samples: pl.DataFrame,
    device: torch.device,
) -> _Answers:
    """What the model answers to every image, of all classes that it can read."""
    written = prompts.written(way)
    texts = list(_flat(written))
    read = {text: None for text in texts if can_read(way.texts, text)}
    if not read:
        return _Answers(None, np.zeros(len(features)), 1.0, NOTHING_READ)
    embedded = embed_texts(replace(learner, texts=way.texts), list(read), device)
    known = dict(zip(read, embedded, strict=True))
    heads = {domain: _head(by_class, known) for domain, by_class in written.items()}
    labels = samples["class_id"].to_numpy()
    right, chance = np.zeros(len(labels)), np.zeros(len(labels))
    for domain, rows in rows_by_domain(samples, heads).items():
        readable = (heads[domain] != 0).any(dim=1)
        if readable.any():
            right[rows] = _first(features, rows, heads[domain], readable) == labels[rows]
            chance[rows] = readable.numpy()[labels[rows]] / int(readable.sum())
    gone = any(bool((head == 0).all(dim=1).any()) for head in heads.values())
    unread = sum(text not in read for text in texts) / len(texts)
    return _Answers(right, chance, unread, SOME_UNREAD if gone else "")


def _head(by_class: Sequence[Sequence[str]], known: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Class embeddings of what can be read [C, E]; zeros where nothing can."""
    nothing = torch.zeros_like(next(iter(known.values())))
    read = [[text for text in texts if text in known] for texts in by_class]
    return torch.stack([mean_embedding(texts, known) if texts else nothing for texts in read])


def _first(
    features: torch.Tensor, rows: np.ndarray, head: torch.Tensor, readable: torch.Tensor
) -> np.ndarray:
    """The nearest of the classes that can be read, int [N] for these rows."""
    found = []
    for part in torch.from_numpy(rows).split(ROWS_AT_A_TIME):
        cosines = (features[part] @ head.T).masked_fill(~readable, -torch.inf)
        found.append(cosines.argmax(dim=1).numpy())
    return np.concatenate(found)


def _scores(
    found: _Answers, clean: _Answers, samples: pl.DataFrame, held_out: Mapping[int, np.ndarray]
) -> Iterator[dict]:
    """Rows of every split, domain, draw and class set, but the way to disturb."""
    labels = samples["class_id"].to_numpy()
    places = samples.select("split", "domain").with_row_index("row")
    for (split, domain), group in places.group_by("split", "domain", maintain_order=True):
        here = group["row"].to_numpy()
        whole = _score(found, clean, labels, here)
        for draw, is_held_out in held_out.items():
            key = {"split": split, "domain": domain, "draw": draw}
            gone = is_held_out[labels[here]]
            for name, rows in ((HELD_OUT, here[gone]), (SEEN, here[~gone])):
                if len(rows):
                    yield key | {"classes": name} | _score(found, clean, labels, rows)
            yield key | {"classes": ALL} | whole


def _score(found: _Answers, clean: _Answers, labels: np.ndarray, rows: np.ndarray) -> dict:
    """Accuracy on some images, and its difference from that with undisturbed prompts."""
    true = labels[rows]
    told = {"unreadable": found.unreadable, "note": found.note}
    if found.right is None or clean.right is None:
        return told | {"n": len(rows), "n_classes": len(np.unique(true))}
    accuracy = balanced_accuracy(found.right[rows], true)
    if found is clean or found.note == SAME:
        change = Estimate(0.0, 0.0, 0.0, accuracy.n, accuracy.n_classes)
    else:
        change = paired_difference(clean.right[rows], found.right[rows], true)
    return told | {
        **{"value": accuracy.value, "lo": accuracy.lo, "hi": accuracy.hi},
        **{"n": accuracy.n, "n_classes": accuracy.n_classes},
        "chance": balanced_accuracy(found.chance[rows], true).value,
        **{"difference": change.value, "difference_lo": change.lo, "difference_hi": change.hi},
    }
