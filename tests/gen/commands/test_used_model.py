"""A model is named in one way; a classifier knows its own classes."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import pytest

from gen.commands.predict import _own_classes
from gen.commands.used_model import used_model
from splits.errors import UserError

NOTHING = {"study": None, "run": None, "model": None, "weights": ""}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "nothing"),
        ({"study": ["demo"]}, "--study"),
        ({"run": "a"}, "--run"),
        ({"weights": "openai"}, "--weights"),
        ({"study": ["demo"], "run": "a", "weights": "openai"}, "--study, --run, --weights"),
        ({"study": ["demo"], "run": "a", "model": "RN50"}, "--study, --run, --model"),
        ({"run": "a", "model": "RN50"}, "--run, --model"),
    ],
)
def test_half_a_model_and_two_models_are_mistakes(given: dict, told: str) -> None:
    with pytest.raises(UserError, match=f"^{told} tells which model is meant"):
        used_model(argparse.Namespace(**{**NOTHING, **given}))


def test_a_classifier_predicts_its_own_classes_and_no_others() -> None:
    model = SimpleNamespace(name="x", dataset=SimpleNamespace(classes=("cat", "dog")))
    options = argparse.Namespace(prompt=[])
    assert _own_classes(model, [], options) == ("cat", "dog")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="its own classes only"):
        _own_classes(model, ["cat"], options)  # type: ignore[arg-type]
