"""A configuration is complete and typed, or an error says which key is wrong, where, and why."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
import yaml
from omegaconf import OmegaConf

from gen.config import CONFIGS, SCHEMAS, load_config, resolved, schema_of
from gen.schema import Precision, StudyConfig, VisionKind
from splits.errors import UserError

FILES = sorted(CONFIGS.glob("*/*.yaml"))

STUDY = """
name: mine
dataset: icons-debug
model: rn-tiny
test_domains: [sketch]
settings: [natural_only]
training: {samples_seen: 100}
"""


def write(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def message(kind, name, *overrides):
    """What the user reads."""
    with pytest.raises(UserError) as caught:
        load_config(kind, name, overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_configuration_that_we_ship_loads(path):
    config = load_config(path.parent.name, path.stem)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(config, schema_of(path.parent.name, content))
    if path.parent.name not in ("models", "profiles"):
        assert config.name == path.stem


def test_there_are_configurations_of_every_kind():
    assert {path.parent.name for path in FILES} == set(SCHEMAS)


def test_an_empty_value_on_the_command_line_is_an_empty_text():
    assert load_config("studies", "domainnet").base
    assert load_config("studies", "domainnet", ["base="]).base == ""
    assert load_config("studies", "domainnet", ["base=a="]).base == "a="
    assert "held_out.count" in message("studies", "debug", "held_out.count=")


def test_a_file_and_a_name_load_the_same():
    path = CONFIGS / "studies" / "debug.yaml"
    assert load_config("studies", str(path)) == load_config("studies", "debug")


def test_values_come_from_the_schema_then_the_file_then_the_command_line(tmp_path):
    path = write(tmp_path, STUDY)
    assert load_config("studies", path).training.batch_size == 256
    path = write(tmp_path, STUDY.replace("100", "100, batch_size: 8"))
    assert load_config("studies", path).training.batch_size == 8
    assert load_config("studies", path, ["training.batch_size=4"]).training.batch_size == 4
    twice = ["training.batch_size=4", "training.batch_size=2"]
    assert load_config("studies", path, twice).training.batch_size == 2


def test_what_is_left_out_has_the_default_of_the_schema(tmp_path):
    config = load_config("studies", write(tmp_path, STUDY))
    assert config.seeds == [0]
    assert config.caption == "caption"
    assert config.held_out == StudyConfig().held_out
    assert config.training.precision is Precision.auto


def test_an_override_of_one_nested_key_leaves_its_neighbours():
    before, after = (load_config("models", "vit-tiny", o) for o in ([], ["vision.width=64"]))
    assert after.vision.width == 64
    assert after.vision.kind is VisionKind.vit
    assert after.vision.layers == before.vision.layers
    assert after.text == before.text


def test_lists_and_words_are_read_as_yaml():
    config = load_config(
        "studies", "debug", ["seeds=[3,5]", "test_domains=[real]", "training.flip=false"]
    )
    assert (config.seeds, config.test_domains, config.training.flip) == ([3, 5], ["real"], False)


@pytest.mark.parametrize("text", ["0.01", "1e-2", "1.0e-2", "1E-2"])
def test_a_number_may_be_written_in_any_way(tmp_path, text):
    override = load_config("studies", "debug", [f"training.learning_rate={text}"])
    file = write(tmp_path, STUDY.replace("100", f"100, learning_rate: {text}"))
    assert override.training.learning_rate == 0.01
    assert load_config("studies", file).training.learning_rate == 0.01


def test_an_unknown_key_of_the_command_line_meets_the_nearest_one():
    text = message("studies", "debug", "training.batchsize=3")
    assert "key `training.batchsize` is unknown (did you mean `training.batch_size`?)" in text
    assert "the command line: training.batchsize=3" in text


def test_an_unknown_key_of_a_file_is_named_with_the_file(tmp_path):
    path = write(tmp_path, STUDY + "seed: [1]\n")
    text = message("studies", path)
    assert "key `seed` is unknown (did you mean `seeds`?)" in text
    assert path in text


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.batch_size=many", ["training.batch_size", "many", "Integer"]),
        ("training.batch_size=[1]", ["training.batch_size"]),
        ("training.batch_size=null", ["training.batch_size", "None"]),
        ("training.precision=fp8", ["training.precision", "fp8", "auto, fp32, bf16"]),
        ("seeds=[a]", ["seeds[0]", "'a'", "Integer"]),
        ("seeds=3", ["key `seeds` is 3", "a list: [3]"]),
        ("held_out.classes=cat", ["key `held_out.classes` is cat", "a list: [cat]"]),
        ("grid=[model]", ["key `grid` is ['model']", "keys: grid.NAME"]),
        ("grid={model: rn-tiny}", ["key `grid.model` is rn-tiny", "a list: [rn-tiny]"]),
        ("grid.training.warmup=[0]", ["key `grid.training` is", "grid={training.warmup: […]}"]),
        ("exclude=[seed]", ["key `exclude[0]` is seed", "keys: exclude[0].NAME"]),
        ("test_domains={sketch: 1}", ["key `test_domains` is", "a list"]),
        ("held_out=3", ["key `held_out` is 3", "held_out.classes, held_out.count"]),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_what_belongs_there(override, parts):
    text = message("studies", "debug", override)
    for part in [*parts, f"the command line: {override}"]:
        assert part in text


def test_a_scalar_for_a_list_in_a_file_is_named_with_the_file(tmp_path):
    path = write(tmp_path, STUDY.replace("[sketch]", "sketch"))
    text = message("studies", path)
    assert "key `test_domains` is sketch" in text
    assert "[sketch]" in text
    assert path in text


def test_a_missing_value_is_named_with_how_to_give_it(tmp_path):
    path = write(tmp_path, STUDY.replace("dataset: icons-debug\n", ""))
    text = message("studies", path)
    assert "key `dataset` has no value" in text
    assert path in text
    assert "dataset=…" in text
    assert load_config("studies", path, ["dataset=icons-base"]).dataset == "icons-base"


def test_a_missing_nested_value_is_named_by_its_whole_key(tmp_path):
    text = message("studies", write(tmp_path, STUDY.replace("samples_seen", "batch_size")))
    assert "key `training.samples_seen` has no value" in text


@pytest.mark.parametrize("word", ["natural_only", "=3", "--seeds"])
def test_an_argument_that_sets_no_key_is_told_the_form(word):
    text = message("studies", "debug", word)
    assert f"`{word}` is not a setting of a key" in text
    assert "key=value" in text


@pytest.mark.parametrize(
    "text", ["name: [a\n", "a: b: c\n", "\tname: x\n", "just words\n", "- a\n"]
)
def test_a_file_that_is_no_mapping_is_named(tmp_path, text):
    path = write(tmp_path, text)
    assert path in message("studies", path)


def test_a_broken_value_on_the_command_line_is_shown():
    assert "`seeds=[1,`" in message("studies", "debug", "seeds=[1,")


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        ("studies", "demmo", "study `demmo` is unknown (did you mean `demo`?)"),
        ("models", "rn-tyni", "model `rn-tyni` is unknown (did you mean `rn-tiny`?)"),
        ("datasets", "icons-smal", "dataset `icons-smal` is unknown (did you mean `icons-small`?)"),
        ("studies", "nowhere/mine.yaml", "there is no file nowhere/mine.yaml"),
    ],
)
def test_an_unknown_configuration_meets_the_nearest_one(kind, name, found):
    assert found in message(kind, name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_configuration_is_told_as_omegaconf_tells_it(path):
    config = load_config(path.parent.name, path.stem)
    told = OmegaConf.to_container(OmegaConf.structured(config), resolve=True, enum_to_str=True)
    assert json.dumps(resolved(config)) == json.dumps(told)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_key_of_a_schema_can_be_written_to_json_and_read_back(kind, tmp_path):
    config = load_config(kind, next(path.stem for path in FILES if path.parent.name == kind))
    content = json.loads(json.dumps(resolved(config)))
    assert list(content) == [item.name for item in fields(type(config))]
    assert load_config(kind, write(tmp_path, json.dumps(content))) == config
