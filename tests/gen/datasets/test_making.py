"""Messages offer commands that work: they are run here as they stand, in a shell's words."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from image_trees import write_image, write_tree

from gen.cli import main
from gen.config import load_config, make_config, resolved
from gen.datasets.making import as_override, building_folder, making_command
from gen.datasets.samples import load_dataset
from splits.errors import UserError

CLASSES = ("dog", "cat")
STRANGE = "l'art & co: v1.5"


def words(command, source=None):
    """A command as `main` takes it."""
    first, *rest = shlex.split(command)
    assert first == "clipgen"
    return [str(source) if word == "DIR" else word for word in rest]


def broken(name, data):
    """The command that is offered for a dataset without its table."""
    (data / name / "samples.parquet").unlink()
    with pytest.raises(UserError, match="not whole") as caught:
        load_dataset(name, data)
    return caught.value.fix.partition("run: ")[2]


# Fewer characters than there are: OmegaConf itself reads `${` as the start of a reference.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="$\\", exclude_categories=["C"]))


@settings(max_examples=50)
@example({"-": ["-"]}, "-")
@given(st.dictionaries(TEXT.filter(bool), st.lists(TEXT, min_size=1), min_size=1), TEXT)
def test_an_override_is_read_as_the_value_that_it_was_made_of(nouns, table):
    overrides = [as_override("nouns", nouns), as_override("table", table)]
    typed = [shlex.split(override)[0] for override in overrides]
    content = {"kind": "tsv", "name": "x", "pixels": 8}
    read = make_config("datasets", content, typed, where="the test")
    assert (read.nouns, read.table) == (nouns, table)


def test_a_broken_import_is_told_with_the_command_that_made_it(tmp_path):
    root, data = tmp_path / "root", tmp_path / "all data"
    write_tree(root, ("photo", STRANGE), CLASSES, 3)
    (root / "photo" / "dog" / "bad.png").write_bytes(b"bad")
    nouns = as_override("nouns", {STRANGE: ["comic", "cartoon strip"]})
    keys = f"natural=photo pixels=8 test_share=0.5 max_rejected=1 {nouns}"
    place = f"--from DIR --data '{data}'"
    assert main(words(f"clipgen dataset import mine {place} {keys}", root)) == 0
    before = load_dataset("mine", data)
    command = broken("mine", data)
    assert command.startswith(f"clipgen dataset import mine {place} pixels=8 natural=photo ")
    shutil.rmtree(data)
    assert main(words(command, root)) == 0
    assert load_dataset("mine", data).manifest == before.manifest


def test_of_a_configured_dataset_only_what_differs_is_told(tmp_path):
    write_tree(tmp_path / "root", load_config("datasets", "pacs").domains, CLASSES, 2)
    command = f"clipgen dataset import pacs --from DIR --data {tmp_path}"
    assert main(words(f"{command} short_side=300", tmp_path / "root")) == 0
    assert broken("pacs", tmp_path) == f"{command} short_side=300"


def test_icons_without_a_configuration_are_told_as_a_variation_of_configured_ones(tmp_path):
    config = resolved(load_config("datasets", "icons-debug")) | {"name": "tiny", "seed": 3}
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "manifest.json").write_text(json.dumps({"config": config}))
    _, _, verb, name, _, _, *overrides = shlex.split(making_command("tiny", tmp_path))
    assert verb == "build"
    assert resolved(load_config("datasets", name, overrides)) == config


def test_a_configured_dataset_that_is_missing_is_told_with_its_own_verb(tmp_path):
    for name, command in (
        ("icons-debug", "build icons-debug"),
        ("pacs", "import pacs --from DIR"),
    ):
        with pytest.raises(UserError, match=f"`{name}` is not built") as caught:
            load_dataset(name, tmp_path)
        assert caught.value.fix == f"clipgen dataset {command} --data {tmp_path}"


def test_an_unknown_dataset_is_told_with_the_nearest_name_and_how_to_import_it(tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "manifest.json").touch()
    with pytest.raises(
        UserError, match=r"`holidays` is unknown \(did you mean `holiday`"
    ) as caught:
        load_dataset("holidays", tmp_path)
    assert caught.value.fix == (
        f"clipgen dataset import holidays --from DIR --data {tmp_path} natural=DOMAIN pixels=224"
    )


def test_an_import_that_was_broken_off_is_told_with_the_command_that_goes_on(tmp_path):
    root, data = tmp_path / "root", tmp_path / "data"
    write_tree(root, ("photo", "art"), CLASSES, 2)
    (root / "art" / "dog" / "bad.png").write_bytes(b"bad")
    command = f"clipgen dataset import mine --from DIR --data {data} pixels=8 natural=photo"
    assert main(words(command, root)) == 2
    assert building_folder(data / "mine").is_dir()
    with pytest.raises(UserError, match="its import was broken off") as caught:
        load_dataset("mine", data)
    assert caught.value.fix == (
        f"start the same import again, it goes on where it stopped: {command}"
    )
    write_image(root / "art" / "dog" / "bad.png")
    assert main(words(command, root)) == 0
