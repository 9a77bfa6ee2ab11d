"""Disturbed prompts: a planted reader knows words by their first letter, and some not at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from gen.evaluation.disturbances import TEXT_DRAWS, misspelt
from gen.evaluation.metrics import balanced_accuracy
from gen.evaluation.paired import paired_difference
from gen.evaluation.prompts import Wording
from gen.evaluation.score import SAME
from gen.evaluation.text_robustness import (
    NOTHING_READ,
    SOME_UNREAD,
    TEXT_ROBUSTNESS,
    Prompts,
    text_robustness,
)
from gen.models.clippo import build_clippo
from gen.models.rendering import Renderer
from gen.models.trained import Learner
from gen.schema import CaptionStyle, ModelConfig, ModelKind, PromptSet, VisionConfig, VisionKind
from splits.errors import UserError

CLASSES = ("axe", "bed", "cat", "dog", "ear", "fox")
WORDING = Wording(CaptionStyle.short, {})
CPU = torch.device("cpu")
DRAWS = {0: ("axe", "cat"), 1: ("fox",)}
DOMAINS = ("real", "sketch")


@dataclass(frozen=True)
class Reader:
    """Reads of `image of a cat` the first letter of the last word, if it is a known one.

    Attributes:
        letters: that it knows.
        upper: whether it tells capitals from small letters, of which it knows the latter only.
    """

    letters: str = "abcdef"
    upper: bool = False

    def encode(self, texts):
        first = [text.split()[-1][0] for text in texts]
        first = first if self.upper else [letter.lower() for letter in first]
        if not all(letter in self.letters for letter in first):
            raise UserError("a word that is not known")
        return torch.tensor([[self.letters.index(letter)] for letter in first])


class Planted(nn.Module):
    """Letters embed along axes of their own."""

    def encode_text(self, tokens):
        return torch.eye(6)[tokens[:, 0]]


def samples(per_cell=4):
    rows = [
        ("test", domain, name, label)
        for domain in DOMAINS
        for label, name in enumerate(CLASSES)
        for _ in range(per_cell)
    ]
    return pl.DataFrame(rows, ["split", "domain", "class_name", "class_id"], orient="row")


def features(table):
    """Images along the axes of their classes; the last one of every cell along the next class's."""
    labels = table["class_id"].to_numpy().copy()
    labels[3::4] = (labels[3::4] + 1) % 6
    return torch.eye(6)[torch.from_numpy(labels)]


def found(texts=None, table=None, kind=PromptSet.single):
    table = samples() if table is None else table
    learner = Learner(Planted(), texts or Reader())
    prompts = Prompts(kind, CLASSES, WORDING)
    return text_robustness(learner, prompts, features(table), table, DRAWS, CPU)


@pytest.fixture(scope="module")
def table():
    return found()


def only(rows, **keys):
    (row,) = rows.filter(*(pl.col(key).eq_missing(value) for key, value in keys.items())).iter_rows(
        named=True
    )
    return row


def expected(names, of=None):
    """Whether every image's answer is right, were the classes called so: by brute force."""
    known = [Reader().letters.find(names[name][0]) for name in CLASSES]
    right, labels = [], samples()["class_id"].to_numpy()
    for image, label in zip(features(samples()).argmax(dim=1).tolist(), labels, strict=True):
        scores = [-1.0 if axis < 0 else float(axis == image) for axis in known]
        right.append(int(np.argmax(scores)) == label and known[label] >= 0)
    return np.array(right)


def test_undisturbed_prompts_score_as_the_evaluation_does(table):
    row = only(table, disturbance="none", domain="real", draw=0, classes="all")
    assert row["value"] == pytest.approx(0.75)
    assert (row["n"], row["n_classes"], row["chance"]) == (24, 6, pytest.approx(1 / 6))
    assert (row["difference"], row["unreadable"], row["note"]) == (0, 0, "")
    assert dict(table.schema) == TEXT_ROBUSTNESS


@pytest.mark.parametrize("draw", range(TEXT_DRAWS))
@pytest.mark.parametrize("edits", [1, 2])
def test_typos_score_what_their_words_are_read_as(table, draw, edits):
    names = misspelt(CLASSES, edits, draw)
    right, labels = expected(names), samples()["class_id"].to_numpy()
    here = (samples()["domain"] == "sketch").to_numpy()
    keys = {"strength": edits, "text_draw": draw, "domain": "sketch", "draw": 1}
    for classes, mask in (("all", here), ("held_out", here & (labels == 5))):
        row = only(table, disturbance="typos", classes=classes, **keys)
        clean = expected({name: name for name in CLASSES})
        change = paired_difference(clean[mask], right[mask], labels[mask])
        assert row["value"] == pytest.approx(balanced_accuracy(right[mask], labels[mask]).value)
        assert row["difference"] == pytest.approx(change.value)
        ends = (0.0, 0.0) if row["note"] == SAME else (change.lo, change.hi)
        assert (row["difference_lo"], row["difference_hi"]) == ends


def test_prompts_that_cannot_be_read_are_counted_and_their_images_wrong(table):
    lost = {
        (edits, draw): [n for n, text in misspelt(CLASSES, edits, draw).items() if text[0] > "f"]
        for edits in (1, 2)
        for draw in range(TEXT_DRAWS)
    }
    assert any(lost.values())
    for (edits, draw), unread in lost.items():
        keys = {"strength": edits, "text_draw": draw, "domain": "real", "draw": 0}
        rows = {c: only(table, disturbance="typos", classes=c, **keys) for c in ("all", "held_out")}
        assert rows["all"]["unreadable"] == pytest.approx(len(unread) / 6)
        assert (rows["all"]["note"] == SOME_UNREAD) == bool(unread)
        assert rows["all"]["chance"] == pytest.approx(1 / 6)
        gone = len({"axe", "cat"} & set(unread))
        assert rows["held_out"]["chance"] == pytest.approx((2 - gone) / 2 / (6 - len(unread)))


def test_a_class_that_cannot_be_read_is_no_answer_even_where_all_others_are_far():
    lost = [n for n, text in misspelt(CLASSES, 2, 1).items() if text[0] > "f"]
    assert lost
    table, prompts = samples(), Prompts(PromptSet.single, CLASSES, WORDING)
    far = -torch.ones((table.height, 6)) / 6**0.5
    rows = text_robustness(Learner(Planted(), Reader()), prompts, far, table, {0: lost}, CPU)
    keys = {"strength": 2, "text_draw": 1, "domain": "real"}
    assert only(rows, disturbance="typos", classes="held_out", **keys)["value"] == 0
    assert only(rows, disturbance="typos", classes="seen", **keys)["value"] > 0


def test_the_mean_over_draws_of_typos_stands_beside_every_draw(table):
    rows = table.filter(disturbance="typos", strength=2, domain="real", draw=0, classes="all")
    mean, draws = (rows.filter(pl.col("text_draw").is_null() == null) for null in (True, False))
    assert draws["text_draw"].to_list() == list(range(TEXT_DRAWS))
    for column in ("value", "difference", "chance", "unreadable"):
        assert mean[column].item() == pytest.approx(draws[column].mean())
    assert mean["n"].item() == 24


def test_prompts_that_are_encoded_as_before_differ_by_nothing_for_certain(table):
    row = only(table, disturbance="upper_case", domain="real", draw=0, classes="seen")
    assert row["note"] == SAME
    assert (row["difference"], row["difference_lo"], row["difference_hi"]) == (0, 0, 0)
    clean = only(table, disturbance="none", domain="real", draw=0, classes="seen")
    assert [row[key] for key in ("value", "lo", "hi")] == [clean[k] for k in ("value", "lo", "hi")]


def test_where_no_prompt_can_be_read_there_is_no_score():
    rows = found(Reader(upper=True)).filter(disturbance="upper_case")
    assert set(rows["note"]) == {NOTHING_READ}
    assert set(rows["unreadable"]) == {1.0}
    numbers = rows.select("value", "lo", "hi", "chance", "difference")
    assert sum(numbers.null_count().row(0)) == 5 * rows.height
    assert rows["n"].min() > 0


def test_there_is_a_row_for_every_class_set_that_has_images():
    part = samples().filter(pl.col("class_name") != "fox")
    rows = found(table=part).filter(disturbance="none", domain="real")
    sets = [(draw, classes) for draw, classes in rows.select("draw", "classes").iter_rows()]
    assert sets == [(0, "held_out"), (0, "seen"), (0, "all"), (1, "seen"), (1, "all")]


def test_a_prompt_set_with_words_of_each_domain_is_disturbed_in_each():
    nouns = {"real": ("photo", "snapshot"), "sketch": ("sketch", "drawing")}
    learner, asked = Learner(Planted(), Words()), samples()
    prompts = Prompts(PromptSet.domain, CLASSES, Wording(CaptionStyle.short, nouns))
    rows = text_robustness(learner, prompts, features(asked), asked, DRAWS, CPU)
    clean = rows.filter(disturbance="none", draw=0, classes="all")
    assert clean["domain"].to_list() == list(DOMAINS)
    assert clean["value"].to_list() == pytest.approx([0.75, 0.0])


class Words(Reader):
    """Reads the class where it is one, of photos only; else the wrong one."""

    def encode(self, texts):
        found = []
        for text in texts:
            words = text.replace(",", "").split()
            place = next((CLASSES.index(word) for word in words if word in CLASSES), 0)
            found.append([(place + 3 * ("sketch" in words or "drawing" in words)) % 6])
        return torch.tensor(found)


def test_a_clippo_is_shown_its_prompts_in_other_fonts():
    vision = VisionConfig(kind=VisionKind.vit, width=16, head_width=8, layers=[1], patch_size=16)
    config = ModelConfig(kind=ModelKind.clippo, embed_dim=6, vision=vision)
    learner = Learner(build_clippo(config, 96, 0, bias=False), Renderer(96, "unifont"))
    prompts = Prompts(PromptSet.single, CLASSES, WORDING)
    table = samples()
    rows = text_robustness(learner, prompts, features(table), table, DRAWS, CPU)
    names = rows["disturbance"].unique(maintain_order=True).to_list()
    assert names[-4:] == [*(f"font_DejaVu{x}" for x in ("Sans", "Serif", "SansMono")), "moved_down"]
    drawn = rows.filter(pl.col("disturbance").str.contains("font|moved"))
    assert set(drawn["note"]) == {""}
    assert set(drawn["unreadable"]) == {0.0}
    assert set(rows.filter(disturbance="title_case")["note"]) == {SAME}


def test_a_model_that_reads_no_text_is_refused():
    prompts = Prompts(PromptSet.single, CLASSES, WORDING)
    with pytest.raises(ValueError, match="reads no text"):
        text_robustness(Learner(Planted(), None), prompts, features(samples()), samples(), {}, CPU)
