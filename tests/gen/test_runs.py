"""A run: what its name and its results depend on, and when it is done."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gen import runs, stages
from gen.config import load_config
from gen.runs import (
    Run,
    Target,
    file_sha256,
    identity,
    mark_done,
    read_record,
    run_identity,
    run_name,
    sha256_of,
    timed_stage,
    update_record,
    void_results,
)
from gen.schema import (
    AnalysisConfig,
    AnalysisKind,
    EvaluationConfig,
    PretrainedConfig,
    PromptSet,
    TextPairsConfig,
    TrainingConfig,
)
from splits.files import write_text

HELD_OUT = {Target("sketch", 0): ("axe",), Target("sketch", 1): ("bed",)}
ANALYSES = ["analysis/similarity", "analysis/factorization"]
"""the tables of the analyses that a study asks for unless it says else"""
MIXTURE = SimpleNamespace(sha256="m" * 64, caption="caption_aligned")


def run(
    folder=Path("runs/s/r"),
    model="rn-tiny",
    pretrained=None,
    source="",
    dataset="",
    analysis=None,
    **evaluation,
):
    return Run(
        folder=folder,
        setting="natural_only",
        held_out=HELD_OUT,
        mixtures={} if pretrained else dict.fromkeys(HELD_OUT, MIXTURE),
        model=load_config("models", model),
        training=TrainingConfig(samples_seen=100),
        seed=3,
        pixels=32,
        evaluation=EvaluationConfig(**evaluation),
        analysis=AnalysisConfig(**(analysis or {})),
        pretrained=pretrained,
        source_sha256=source,
        dataset_sha256=dataset,
    )


def pretrained(source="a" * 64, **values):
    return run(pretrained=PretrainedConfig("local-dir:model"), source=source, **values)


def test_a_trained_run_keeps_its_name_from_version_to_version():
    found = identity(load_config("models", "rn-tiny"), TrainingConfig(100), 3, 32, MIXTURE)
    assert (
        run_name("natural_only", list(HELD_OUT), 3, found) == "natural_only-sketch-s3-a2928f13a673"
    )
    assert run_identity(run()) == found


def identity_of(*overrides, **training):
    model = load_config("models", "clippo-tiny", overrides)
    return identity(model, TrainingConfig(100, **training), 3, 64, MIXTURE)


def test_pairs_of_texts_and_cut_texts_are_part_of_a_run_where_there_are_any():
    plain = identity_of()
    assert identity_of(text_pairs=TextPairsConfig("captions", 0.0)) == plain
    assert identity_of(text_pairs=TextPairsConfig("", 0.5)) == plain
    others = [
        identity_of("cut_texts=false"),
        identity_of(text_pairs=TextPairsConfig("captions", 0.25)),
        identity_of(text_pairs=TextPairsConfig("captions", 0.5)),
        identity_of(text_pairs=TextPairsConfig("super_categories", 0.5)),
    ]
    assert len({sha256_of(one) for one in (plain, *others)}) == 5


def test_what_stands_in_a_file_of_pairs_is_part_of_a_run_and_not_where_it_lies(tmp_path):
    found = []
    for name, text in (("a", "cat\tchat\n"), ("b", "cat\tchat\n"), ("c", "cat\tmiaou\n")):
        path = tmp_path / f"{name}.tsv"
        path.write_text(text)
        found.append(identity_of(text_pairs=TextPairsConfig(str(path), 0.5)))
    assert found[0] == found[1] != found[2]


def test_the_label_of_an_arm_stands_in_the_name_of_its_runs():
    found = run_identity(run())
    names = [run_name("natural_only", list(HELD_OUT), 3, found, arm=arm) for arm in ("", "vit")]
    assert names[1] == names[0].replace("-s3-", "-vit-s3-")


def test_how_a_run_is_tested_is_no_part_of_what_it_is():
    assert run_identity(run(probes=True)) == run_identity(run())


def test_results_depend_on_how_they_are_made():
    keys = [
        run().results_key,
        run(prompts=[PromptSet.single]).results_key,
        run(retrieval=False).results_key,
        run(probes=True).results_key,
        run(probes=True, shots=[1, 2]).results_key,
        run(analysis={"kinds": list(AnalysisKind)}).results_key,
        run(analysis={"milestones": False}).results_key,
        pretrained().results_key,
        pretrained("b" * 64).results_key,
        pretrained(dataset="c" * 64).results_key,
    ]
    assert len(set(keys)) == len(keys)


def test_what_nobody_asked_for_changes_no_results():
    assert run(shots=[1, 2], probe_seeds=9).results_key == run().results_key


def test_results_that_are_older_than_tests_of_texts_go_on_counting():
    assert run().evaluation_key.startswith("b3774aba8b2a")
    assert run().analyses_key.startswith("0f3ca27705f4")


def test_only_what_is_asked_of_texts_is_made_anew():
    misspelt, probed = run(text_robustness=True), run(text_probes=True)
    assert misspelt.evaluation_key != run().evaluation_key == probed.evaluation_key
    assert probed.analyses_key != run().analyses_key == misspelt.analyses_key
    assert run_identity(misspelt) == run_identity(probed) == run_identity(run())


def test_what_is_looked_at_first_is_no_part_of_the_analyses():
    assert run(analysis={"primary_site": "layer2"}).results_key == run().results_key


def test_every_family_of_analyses_has_a_table():
    tables = run(analysis={"kinds": list(AnalysisKind)}, probes=True).analyses
    assert len(tables) == len({path.name for path in tables.values()}) == len(AnalysisKind) + 9


def test_analyses_stay_where_only_the_prompts_change():
    for probes in (False, True):
        changed = run(probes=probes, prompts=[PromptSet.single])
        assert changed.analyses_key == run(probes=probes).analyses_key
    assert run(probes=True, probe_images=10).analyses_key != run(probes=True).analyses_key


def test_predictions_stay_where_only_the_probes_change():
    changes = ({"probes": True}, {"probes": True, "probe_images": 10})
    assert {run(**values).evaluation_key for values in changes} == {run().evaluation_key}
    assert run(prompts=[PromptSet.single]).evaluation_key != run().evaluation_key


def test_another_source_or_dataset_is_tested_anew():
    for other in (pretrained("b" * 64), pretrained(dataset="c" * 64)):
        assert other.evaluation_key != pretrained().evaluation_key
        assert other.analyses_key != pretrained().analyses_key


def test_to_ask_again_whether_a_run_is_done_resolves_no_configuration_again(tmp_path, monkeypatch):
    one = finished(run(tmp_path / "r", probes=True))
    asked = []
    monkeypatch.setattr(runs, "resolved", asked.append)
    assert one.done
    assert not asked


def test_a_run_serves_its_targets():
    for one in (run(), pretrained()):
        assert one.test_domains == ["sketch"]
        assert one.draws == {0: ("axe",), 1: ("bed",)}


def test_captions_are_those_of_the_mixture():
    assert (run().caption, pretrained().caption) == ("caption_aligned", "caption")


def test_nobody_knows_what_a_pretrained_model_saw():
    with pytest.raises(ValueError, match="nobody knows"):
        _ = pretrained().mixture


def test_a_pretrained_model_is_its_source_wherever_that_lies():
    elsewhere = run(pretrained=PretrainedConfig("local-dir:other"), source="a" * 64)
    assert run_identity(elsewhere) == run_identity(pretrained())
    assert run_identity(pretrained("b" * 64)) != run_identity(pretrained())


@pytest.mark.parametrize(
    ("values", "tables"),
    [
        ({}, ["predictions", "evaluation", "cells", "retrieval", *ANALYSES]),
        ({"retrieval": False}, ["predictions", "evaluation", "cells", *ANALYSES]),
        (
            {"retrieval": False, "probes": True},
            ["predictions", "evaluation", "cells", *ANALYSES, "analysis/probes"],
        ),
        ({"model": "classifier-rn-tiny"}, ["predictions", "evaluation", "cells", *ANALYSES]),
        (
            {"text_robustness": True, "text_probes": True},
            [
                *("predictions", "evaluation", "cells", "retrieval", "text_robustness"),
                *(*ANALYSES, "analysis/text_probes"),
            ],
        ),
        (
            {"model": "classifier-rn-tiny", "text_robustness": True, "text_probes": True},
            ["predictions", "evaluation", "cells", *ANALYSES],
        ),
    ],
)
def test_a_run_is_done_with_every_table_that_was_asked_for(values, tables, tmp_path):
    one = run(tmp_path / "r", **values)
    write_text(one.final_weights, "weights")
    write_text(one.folder / "DONE", one.results_key)
    update_record(one.folder, evaluated=one.evaluation_key, analyzed=one.analyses_key)
    for name in tables:
        assert not one.done
        write_text(one.folder / f"{name}.parquet", "table")
    assert one.done
    update_record(one.folder, analyzed="of another configuration")
    assert not one.done


def finished(one):
    """The run with everything on disk that it is asked for."""
    for name in ("predictions", "evaluation", "cells", "retrieval"):
        write_text(one.folder / f"{name}.parquet", "table")
    for table in one.analyses.values():
        write_text(table, "table")
    write_text(one.final_weights, "weights")
    update_record(one.folder, evaluated=one.evaluation_key, analyzed=one.analyses_key)
    mark_done(one)
    assert one.done
    return one


@pytest.mark.parametrize("stage", ["evaluated", "analyzed"])
def test_a_run_is_marked_done_only_when_all_its_tables_count(stage, tmp_path):
    one = finished(run(tmp_path / "r"))
    void_results(one, stage)
    mark_done(one)
    assert not (one.folder / "DONE").exists()
    assert read_record(one.folder)[stage] == ""


def test_seconds_are_summed_over_starts_until_what_they_were_spent_on_is_gone(tmp_path):
    one = finished(run(tmp_path / "r"))
    update_record(one.folder, checkpoint="c", seconds={"train": 5.0, "evaluate": 2.0})
    void_results(one, "evaluated")
    assert read_record(one.folder)["seconds"] == {"train": 5.0}
    for _ in range(2):  # broken off, and begun again
        void_results(one, "evaluated")
        with timed_stage(one.folder, "evaluate"):
            time.sleep(0.02)
    assert 0.04 <= read_record(one.folder)["seconds"]["evaluate"] < 2.0
    void_results(one, "evaluated", "analyzed", "checkpoint")
    assert set(read_record(one.folder)["seconds"]) == {"evaluate"}


def test_a_marker_that_goes_while_somebody_looks_is_no_error(tmp_path, monkeypatch):
    one, is_file = finished(run(tmp_path / "r")), Path.is_file

    def look(path):
        there = is_file(path)
        if path.name in ("DONE", "run.json"):
            path.unlink(missing_ok=True)
        return there

    monkeypatch.setattr(Path, "is_file", look)
    assert one.done  # at that moment


def test_results_of_weights_that_are_gone_do_not_count_for_new_ones(tmp_path, monkeypatch):
    one = finished(run(tmp_path / "r"))
    update_record(one.folder, checkpoint=file_sha256(one.final_weights))
    monkeypatch.setattr(
        stages, "_train", lambda run, *_: write_text(run.final_weights, "other weights")
    )
    stages.train_run(one, None)
    assert one.done  # it is trained: nothing was to be done
    one.final_weights.unlink()
    stages.train_run(one, None)
    assert [one.done, one.evaluated, one.analyzed] == [False] * 3
    assert read_record(one.folder)["checkpoint"] == file_sha256(one.final_weights)


def test_a_run_that_is_trained_again_has_nobody_else_s_weights(tmp_path, monkeypatch):
    one = run(tmp_path / "r")
    update_record(one.folder, same_weights_as="another", checkpoint="of another")
    monkeypatch.setattr(stages, "_train", lambda run, *_: write_text(run.final_weights, "own"))
    stages.train_run(one, None)
    assert not read_record(one.folder)["same_weights_as"]


def test_a_run_that_nobody_began_has_no_record_yet(tmp_path):
    one = run(tmp_path / "r")
    void_results(one, "evaluated", "analyzed")
    assert read_record(one.folder) == {}


def test_a_run_whose_record_is_damaged_is_not_done(tmp_path):
    one = finished(run(tmp_path / "r"))
    write_text(one.folder / "run.json", "{")
    assert not one.done


def test_a_pretrained_model_needs_no_weights_of_ours(tmp_path):
    assert pretrained().trained
    assert not run(tmp_path / "r").trained
