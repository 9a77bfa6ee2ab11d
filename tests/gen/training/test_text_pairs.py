"""Pairs of related texts come from what the mixture shows, or from a file that is checked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from small_run import CAPTIONS, TEXT_PAIRS, small_training

from gen.config import load_config
from gen.datasets.captions import captions, domain_nouns, generic_nouns
from gen.models.clippo import build_clippo
from gen.models.rendering import Renderer
from gen.randomness import sample_keys
from gen.schema import CaptionStyle, TextPairsConfig, TrainingConfig
from gen.training import pairs as pairs_module
from gen.training.distributed import alone
from gen.training.pairs import load_pairs
from gen.training.step import take_step
from gen.training.text_pairs import read_text_pairs
from splits.errors import UserError

DOMAINS = ("real", "clipart", "sketch")
CATEGORIES = {"axe": "tool", "bed": "furniture", "cat": "animal", "dog": "animal"}
RENDERER = Renderer(128, "unifont")


def samples(count=12):
    """A table of samples with captions as the icons have them."""
    rows = [
        {
            "id": (name := f"{domain}/{label}/{number}"),
            "domain": domain,
            "class_name": label,
            "class_id": class_id,
            **captions(
                0, name, label, domain_nouns(domain, CaptionStyle.short), CaptionStyle.short
            ),
        }
        for domain in DOMAINS
        for class_id, label in enumerate(CATEGORIES)
        for number in range(count)
    ]
    places = {"shard": "a.tar", "offset": 0, "size": 1, "width": 8, "height": 8}
    return pl.DataFrame(rows).with_columns(**{key: pl.lit(v) for key, v in places.items()})


def dataset(table=None, categories=CATEGORIES):
    return SimpleNamespace(
        samples=samples() if table is None else table,
        super_categories=categories,
        caption_style=CaptionStyle.short,
        folder=None,
        pixels=128,
    )


def told(source, rows, whole=None):
    """All (first text, second text) of a source, once for each first text."""
    texts, found = read_text_pairs(source, whole or dataset(), rows, RENDERER)
    return [
        (texts[first], texts[member])
        for first, group in zip(found.firsts, found.groups, strict=True)
        for member in found.members[found.starts[group] :][: found.sizes[group]]
    ]


def load(monkeypatch, ids, source="captions", column="caption"):
    """What training reads for a mixture of these ids; images stay where they are."""
    monkeypatch.setattr(pairs_module, "place_images", lambda *_, **__: (None, "nowhere"))
    config = TrainingConfig(samples_seen=1, text_pairs=TextPairsConfig(source))
    mixture = SimpleNamespace(ids=pl.Series("id", ids), caption=column)
    return load_pairs(dataset(), mixture, RENDERER, None, config, alone())[0]


def test_captions_go_with_the_other_wordings_of_their_cell():
    table = samples()
    cells = {key: set(cell["caption"]) for key, cell in table.group_by("domain", "class_name")}
    found = set(told("captions", table))
    expected = {
        (first, second)
        for cell in cells.values()
        for first in cell
        for second in cell
        if first.strip(".") != second.strip(".")
    }
    assert found == expected


def test_a_caption_is_a_first_text_as_often_as_it_is_a_caption():
    table = samples()
    texts, found = read_text_pairs("captions", dataset(), table, RENDERER)
    assert Counter(texts[row] for row in found.firsts) == Counter(table["caption"])


def test_cells_of_one_wording_give_no_pairs_and_are_told():
    table = pl.DataFrame(
        [("real", "cat", text) for text in ("image of a cat", "image of a cat.", "a cat")]
        + [("real", "dog", text) for text in ("image of a dog", "image of a dog.")],
        ["domain", "class_name", "caption"],
        orient="row",
    )
    with pytest.warns(UserWarning, match="1 of 2 cells have captions of one wording only"):
        found = told("captions", table)
    assert sorted(found) == [
        ("a cat", "image of a cat"),
        ("a cat", "image of a cat."),
        ("image of a cat", "a cat"),
        ("image of a cat.", "a cat"),
    ]
    with pytest.raises(UserError, match=r"1 of 1 cell have(?s:.*)super_categories"):
        told("captions", table.filter(class_name="dog"))


@pytest.mark.parametrize("column", ["caption", "caption_aligned"])
def test_no_text_is_told_that_no_sample_of_the_mixture_has(monkeypatch, column):
    table = samples()
    held_out = (pl.col("domain") == "sketch") & pl.col("class_name").is_in(["cat", "dog"])
    shown = table.filter(~held_out)
    loaded = load(monkeypatch, shown["id"].to_list(), column=column)
    own = RENDERER.encode(shown[column].unique().sort().to_list())
    assert len(loaded.texts) == len(own)  # the captions, each once, and nothing besides
    assert (loaded.texts == own).all()
    assert len(loaded.text_pairs) == shown.height
    of_sketch = {text for text in table.filter(held_out)["caption"] if "sketch" in text}
    assert of_sketch  # what would have been told otherwise
    assert not of_sketch & {text for pair in told("captions", shown) for text in pair}


def test_the_rows_of_pairs_are_those_of_the_encoded_texts(monkeypatch):
    table = samples()
    loaded = load(monkeypatch, table["id"].to_list(), "super_categories")
    firsts, seconds = loaded.text_pairs.drawn(step=0, count=40, seed=0)
    allowed = {
        (one.numpy().tobytes(), other.numpy().tobytes())
        for one, other in (RENDERER.encode(pair) for pair in set(told("super_categories", table)))
    }
    drawn = zip(loaded.texts[firsts], loaded.texts[seconds], strict=True)
    assert {(one.numpy().tobytes(), other.numpy().tobytes()) for one, other in drawn} <= allowed


def test_classes_go_with_their_super_category_in_words_of_no_domain():
    table = samples().filter(pl.col("class_name") != "bed")
    found = told("super_categories", table)
    own = {noun for domain in DOMAINS for noun in domain_nouns(domain, CaptionStyle.short)}
    assert len(found) == len(set(found)) == 3 * 12 * 12
    for first, second in found:
        (name,) = (name for name in CATEGORIES if f"a {name}" in first)
        assert name != "bed"  # which the mixture does not show in any domain
        assert f"a {CATEGORIES[name]}" in second
        for text in (first, second):
            assert any(noun in text for noun in generic_nouns())
            assert not any(noun in text for noun in own)


@pytest.mark.parametrize(
    ("categories", "found"),
    [
        ({"axe": "tool"}, "3 classes of the mixture without a super-category: bed, cat, dog"),
        (dict.fromkeys(CATEGORIES, "thing"), "all classes of the mixture are of one super-cat"),
    ],
)
def test_super_categories_that_tell_nothing_are_refused(categories, found):
    with pytest.raises(UserError, match=found):
        told("super_categories", samples(), dataset(categories=categories))


def test_a_file_has_two_texts_a_line(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("\ufeffa cat\tan animal\r\na dog \t an animal\nça va\tok", encoding="utf-8")
    found = told(str(path), samples())
    assert found == [("a cat", "an animal"), ("a dog", "an animal"), ("ça va", "ok")]


@pytest.mark.parametrize(
    ("content", "found", "where"),
    [
        (b"", "is empty", ""),
        (b"a\tb\n\n", "the line has 1 column", "line 2"),
        (b"a\tb\nc\td\te\n", "the line has 3 columns", "line 2"),
        (b"a\t \n", "one of the texts is empty", "line 1"),
        (b"a\tb\nCat\tcat\n", "both texts are the same", "line 2"),
        (b"a\tb\nc\t" + b"w" * 200, "does not fit on a canvas", "line 2"),
        (b"a\tb\xff\n", "cannot be read", ""),
        (None, "cannot be read", ""),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, content, found, where):
    path = tmp_path / "pairs.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=found) as caught:
        told(str(path), samples())
    assert where in caught.value.where
    assert str(path) in str(caught.value)


def test_every_epoch_shows_every_first_text_once_with_all_of_its_group():
    steps = 500
    drawn = [TEXT_PAIRS.drawn(step, 5, seed=0) for step in range(steps)]
    pairs = Counter()
    for firsts, seconds in drawn:
        assert sorted(firsts) == sorted(TEXT_PAIRS.firsts)
        pairs.update(zip(firsts.tolist(), seconds.tolist(), strict=True))
    assert set(pairs) == {(0, 2), (0, 4), (2, 0), (2, 4), (1, 5), (3, 6)}
    assert pairs[0, 2] / (2 * steps) == pytest.approx(0.5, abs=0.05)
    assert pairs[2, 0] / steps == pytest.approx(0.5, abs=0.07)


def test_what_is_drawn_depends_on_seed_and_step_alone():
    asked = [(step, seed) for step in range(4) for seed in range(3)]
    forward = [np.stack(TEXT_PAIRS.drawn(step, 8, seed)).tobytes() for step, seed in asked]
    again = [np.stack(TEXT_PAIRS.drawn(step, 8, seed)).tobytes() for step, seed in asked[::-1]]
    assert forward == again[::-1]
    assert len(set(forward)) == len(asked)


TRANSLATED = {
    **{"axe": "hache", "bed": "lit", "cat": "chat", "dog": "chien"},
    **{"egg": "oeuf", "fan": "pale", "hat": "toque", "key": "clef"},
}
SMALL = ["vision.width=32", "vision.head_width=16", "vision.layers=[1]", "embed_dim=32"]


def found_again(folder, share):
    """Share of the words that find their translation, after a training of random images."""
    path = folder / "words.tsv"
    path.write_text("".join(f"{word}\t{other}\n" for word, other in TRANSLATED.items()))
    renderer = Renderer(64, "unifont")
    texts, pairs = read_text_pairs(str(path), dataset(), samples(), renderer)
    model = build_clippo(load_config("models", "clippo-tiny", SMALL), 64, 0, bias=False)
    given = {"text_pairs": TextPairsConfig(str(path), share), "samples_seen": 150 * 16}
    training = small_training(folder, model=model, batch_size=16, warmup=0.2, **given)
    listed = [*CAPTIONS, *texts]
    own = replace(
        training.feed.pairs,
        texts=renderer.encode(listed),
        caption_keys=sample_keys(listed),
        text_pairs=pairs.renumbered(len(CAPTIONS) + np.arange(len(texts))),
    )
    training = replace(training, feed=replace(training.feed, pairs=own))
    for step, batch in enumerate(training.feed.batches(0)):
        take_step(training, step, batch)
    with torch.inference_mode():
        words, others = (
            torch.nn.functional.normalize(model.encode_text(renderer.encode(list(some))), dim=-1)
            for some in (TRANSLATED, TRANSLATED.values())
        )
    best = (words @ others.T).argmax(dim=1)
    return (best == torch.arange(len(TRANSLATED))).float().mean().item()


@pytest.mark.slow
def test_with_pairs_of_texts_a_model_finds_one_by_the_other_and_without_them_it_guesses(tmp_path):
    assert found_again(tmp_path, share=0.5) > 0.9
    assert found_again(tmp_path, share=0.0) < 0.5  # a guess: 1/8
