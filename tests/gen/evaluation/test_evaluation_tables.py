"""A run's tables: every checkpoint and prompt set, and scores that the predictions alone decide."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from gen import stages
from gen.config import load_config
from gen.datasets.captions import captions, domain_nouns
from gen.datasets.samples import Dataset
from gen.datasets.shards import encode_png, write_shard
from gen.evaluation import tables as evaluation
from gen.evaluation.cells import cell_table
from gen.evaluation.score import EVALUATION, score_predictions
from gen.evaluation.tables import checkpoints, evaluation_tables, prompt_names
from gen.models.trained import build_learner
from gen.runs import Run, Target, file_sha256
from gen.schema import CaptionStyle, EvaluationConfig, ImagePlace, PromptSet, TrainingConfig
from gen.training.checkpoint import milestone_path, save_weights
from gen.training.images import place_images
from splits.errors import UserError

CLASSES = ("axe", "bed", "cat", "dog", "ear", "fox")
DOMAINS = ("real", "sketch")
STYLE = CaptionStyle.short
PIXELS = 32
CPU = torch.device("cpu")
ALL_SETS = [PromptSet.domain_free, PromptSet.single, PromptSet.ensemble, PromptSet.domain]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two domains, six classes; of a cell two training images and three test images."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    rng = np.random.default_rng(0)
    rows = []
    for split, count in (("train", 2), ("test", 3)):
        for domain in DOMAINS:
            for name in CLASSES:
                rows += [
                    _row(f"{split}_{domain}_{name}_{i}", split, domain, name) for i in range(count)
                ]
    images = [rng.integers(256, size=(PIXELS, PIXELS, 3), dtype=np.uint8) for _ in rows]
    encoded = [
        {"__key__": row["id"], "png": encode_png(image)}
        for row, image in zip(rows, images, strict=True)
    ]
    (folder / "shards").mkdir(parents=True)
    places = write_shard(folder / "shards" / "0.tar", encoded)
    samples = pl.DataFrame(rows).with_columns(
        offset=pl.Series([places[f"{row['id']}.png"][0] for row in rows]),
        size=pl.Series([places[f"{row['id']}.png"][1] for row in rows]),
    )
    samples.write_parquet(folder / "samples.parquet")
    config = {"name": "tiny", "pixels": PIXELS}
    manifest = {"config": config, "domains": DOMAINS, "classes": CLASSES, "natural": "real"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Dataset(folder, manifest)


def _row(name, split, domain, class_name):
    return {
        "id": name,
        "split": split,
        "domain": domain,
        "class_name": class_name,
        "class_id": CLASSES.index(class_name),
        **captions(0, name, class_name, domain_nouns(domain, STYLE), STYLE),
        **{"shard": "0.tar", "width": PIXELS, "height": PIXELS},
    }


class Mixture:
    """What evaluation asks of a mixture."""

    caption = "caption"
    base = None


def plan(folder, model="rn-tiny", **evaluation):
    """A run of a tiny model with two draws of held-out classes."""
    small = ["vision.width=8", "vision.head_width=16", "embed_dim=16"]
    small += ["text.width=16"] if model == "rn-tiny" else []
    targets = {Target("sketch", 0): ("axe", "cat"), Target("sketch", 1): ("fox",)}
    return Run(
        folder=folder,
        setting="natural_only",
        held_out=targets,
        mixtures=dict.fromkeys(targets, Mixture()),
        model=load_config("models", model, small),
        training=TrainingConfig(samples_seen=96, batch_size=8),
        seed=0,
        pixels=PIXELS,
        evaluation=EvaluationConfig(**evaluation),
    )


def with_weights(run, dataset):
    """Random weights as final ones, others as those of a milestone."""
    save_weights(run.final_weights, build_learner(run, dataset).model)
    earlier = build_learner(replace(run, seed=1), dataset).model
    save_weights(milestone_path(run.final_weights.parent, 16), earlier)
    return run


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return with_weights(plan(tmp_path_factory.mktemp("run")), dataset)


@pytest.fixture(scope="module")
def tables(run, dataset):
    return evaluation_tables(run, dataset, CPU)


def test_every_checkpoint_and_prompt_set_answers_every_test_sample_once(tables):
    found = (
        tables["predictions"]
        .group_by("samples_seen", "final", "prompts")
        .agg(pl.len(), pl.col("id").n_unique().alias("distinct"), pl.col("split").unique())
    )
    test = 3 * len(DOMAINS) * len(CLASSES)
    expected = {(16, False, "domain_free")} | {(96, True, kind.name) for kind in ALL_SETS}
    assert {row[:3] for row in found.rows()} == expected
    assert {row[3:] for row in found.select(pl.exclude("split")).rows()} == {(test, test)}
    assert set(tables["predictions"]["split"]) == {"test"}


def test_predictions_have_the_columns_of_the_format_and_name_their_weights(tables, run):
    predictions = tables["predictions"]
    assert " ".join(predictions.columns) == (
        "id split domain class_name label samples_seen final prompts top5 scores confidence "
        "checkpoint"
    )
    assert not any(predictions.null_count().row(0))
    hashes = dict(predictions.select("samples_seen", "checkpoint").unique().rows())
    milestone = milestone_path(run.final_weights.parent, 16)
    assert hashes == {16: file_sha256(milestone), 96: file_sha256(run.final_weights)}


def test_prompt_sets_and_checkpoints_give_scores_of_their_own(tables):
    first = tables["predictions"].filter(pl.col("id") == "test_real_axe_0")
    assert first["scores"].list.first().n_unique() == 5


def test_the_evaluation_can_be_computed_again_from_the_predictions(tables, run):
    again = score_predictions(tables["predictions"], run.draws, CLASSES)
    zero_shot = tables["evaluation"].filter(pl.col("prompts") != "captions")
    assert again.equals(zero_shot)
    assert set(zero_shot["draw"]) == {0, 1}


def test_cells_are_those_of_the_final_weights_and_the_headline_prompts(tables):
    headline = tables["predictions"].filter("final", prompts="domain_free")
    assert tables["cells"].equals(cell_table(headline, CLASSES))
    assert tables["cells"]["n"].to_list() == [3] * (len(DOMAINS) * len(CLASSES))


def test_retrieval_stands_beside_the_zero_shot_scores(tables):
    found = tables["evaluation"].filter(prompts="captions")
    assert dict(tables["evaluation"].schema) == EVALUATION
    assert {"image_to_text_r1", "text_to_image_r1", "modality_gap"} <= set(found["metric"])
    assert set(found["samples_seen"]) == {96}
    assert found["final"].all()
    assert tables["retrieval"].filter(direction="image_to_text").height == 36


def test_disturbed_prompts_are_those_of_the_headline_and_of_final_weights(run, tables, dataset):
    asked = EvaluationConfig(retrieval=False, text_robustness=True)
    found = evaluation_tables(replace(run, evaluation=asked), dataset, CPU)
    assert set(found) == {"predictions", "evaluation", "cells", "text_robustness"}
    keys = ["split", "domain", "draw", "classes", "value", "lo", "hi", "n", "n_classes", "chance"]
    clean = found["text_robustness"].filter(disturbance="none").select(keys)
    headline = tables["evaluation"].filter("final", prompts="domain_free", metric="balanced_top1")
    assert clean.sort(keys).equals(headline.select(keys).sort(keys))


def test_the_first_prompt_set_is_that_of_milestones_and_cells(run, dataset):
    asked = [PromptSet.single, PromptSet.domain_free]
    other = replace(run, evaluation=EvaluationConfig(prompts=asked, retrieval=False))
    found = evaluation_tables(other, dataset, CPU)
    assert set(found) == {"predictions", "evaluation", "cells"}
    predictions = found["predictions"]
    assert set(predictions.filter(~pl.col("final"))["prompts"]) == {"single"}
    single = predictions.filter("final", prompts="single")
    assert found["cells"].equals(cell_table(single, CLASSES))
    assert prompt_names(other) == ("single", "domain_free")


def test_the_same_run_is_evaluated_to_the_same_tables(run, tables, dataset):
    again = evaluation_tables(run, dataset, CPU)
    assert all(again[name].equals(table) for name, table in tables.items())


@pytest.mark.parametrize(
    ("asked", "share", "place"),
    [
        (ImagePlace.auto, 0.24, ImagePlace.auto),
        (ImagePlace.auto, 0.26, ImagePlace.disk),  # several runs are evaluated at a time
        (ImagePlace.memory, 0.26, ImagePlace.disk),
        (ImagePlace.disk, 0.01, ImagePlace.disk),
    ],
)
def test_images_wait_where_they_do_in_training_if_there_is_room(
    asked, share, place, run, tables, dataset, monkeypatch
):
    places = []

    def watched(parts, pixels, device, wanted, **values):
        places.append(wanted)
        return place_images(parts, pixels, device, wanted, **values)

    size = 3 * PIXELS**2 * dataset.samples.filter(split="test").height
    monkeypatch.setattr(evaluation, "available_memory", lambda: size / share)
    monkeypatch.setattr(evaluation, "place_images", watched)
    other = replace(run, training=replace(run.training, images=asked))
    assert evaluation_tables(other, dataset, CPU)["predictions"].equals(tables["predictions"])
    assert places == [place]


def test_a_classifier_answers_by_its_head(dataset, tmp_path):
    classifier = with_weights(plan(tmp_path, "classifier-rn-tiny"), dataset)
    found = evaluation_tables(classifier, dataset, CPU)
    assert set(found) == {"predictions", "evaluation", "cells"}
    assert set(found["predictions"]["prompts"]) == {"head"}
    assert set(found["predictions"]["samples_seen"]) == {16, 96}
    assert (found["predictions"]["scores"].list.first() <= 0).all()
    confidence = found["predictions"]["scores"].list.first().exp()
    assert np.allclose(confidence, found["predictions"]["confidence"], atol=1e-6)


def test_a_classifier_has_no_prompts_to_disturb(dataset, tmp_path):
    one = plan(tmp_path, "classifier-rn-tiny", text_robustness=True)
    found = evaluation_tables(with_weights(one, dataset), dataset, CPU)
    assert set(found) == {"predictions", "evaluation", "cells"}


def test_milestones_come_in_their_order_and_the_final_weights_last(run):
    assert [point.samples_seen for point in checkpoints(run)] == [16, 96]
    assert checkpoints(run)[-1].weights is None


def test_prompts_that_the_model_cannot_read_are_named(run, dataset):
    asked = [PromptSet.domain_free, PromptSet.openai]
    other = replace(run, evaluation=EvaluationConfig(prompts=asked))
    with pytest.raises(UserError, match=r"prompt set `openai`: the text 'a bad photo of a axe\.'"):
        evaluation_tables(other, dataset, CPU)


def test_the_stage_writes_the_tables_and_takes_away_what_another_configuration_left(
    run, tables, dataset
):
    stages.evaluate_run(run, dataset)
    assert run.evaluated
    for name, table in tables.items():
        assert pl.read_parquet(run.folder / f"{name}.parquet").equals(table)
    without = replace(run, evaluation=EvaluationConfig(retrieval=False))
    assert not without.evaluated
    stages.evaluate_run(without, dataset)
    assert without.evaluated
    assert not (run.folder / "retrieval.parquet").exists()


def test_a_clippo_whose_canvas_is_too_small_for_its_prompts_is_refused_before_training(tmp_path):
    planned = replace(
        plan(tmp_path), model=load_config("models", "clippo-tiny", ["cut_texts=false"])
    )
    name = "x" * 60
    wide = SimpleNamespace(
        pixels=64,
        classes=(name,),
        domains=DOMAINS,
        caption_style=STYLE,
        manifest={"config": {}},
        samples=pl.DataFrame({"split": ["test"], "caption": ["a cat"]}),
    )
    with pytest.raises(UserError, match="prompt set `domain_free`"):
        stages.train_run(planned, wide)
    captions_too_long = replace_samples(wide, name)
    with pytest.raises(UserError, match="retrieval: the text"):
        stages.train_run(planned, captions_too_long)


def replace_samples(dataset, caption):
    """The dataset with short class names and one long caption."""
    samples = pl.DataFrame({"split": ["test"], "caption": [caption]})
    return SimpleNamespace(**(vars(dataset) | {"classes": ("cat",), "samples": samples}))
