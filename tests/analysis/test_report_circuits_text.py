"""Sentences on circuits and causes say what intervals allow, and no more."""

from __future__ import annotations

import polars as pl
import pytest

from analysis.report.cause_tables import AMONG, INTO, RANDOM
from analysis.report.cause_text import ablation_sentence, interchange_sentence
from analysis.report.circuit_text import accuracy_sentences, circuit_sentence, shared_sentence
from analysis.report.faithfulness_tables import NEVER

SHARED = {
    "test_domain": "quickdraw",
    "setting": "natural_only",
    "classes": "seen",
    "value": 0.4,
    "lo": 0.3,
    "hi": 0.5,
    "n": 60,
    "note": "",
}
CIRCUIT = {
    **{"test_domain": "quickdraw", "setting": "natural_only", "classes": "seen"},
    **{"size": 0.1, "value": 0.84, "lo": 0.75, "hi": 0.93, "is_circuit": True, "note": ""},
    **{"other": 0.4, "other_lo": 0.3, "other_hi": 0.5},
}


def said(sentence, row, *changes):
    rows = pl.DataFrame([row | change for change in changes], infer_schema_length=None)
    return sentence(rows).replace("\N{NO-BREAK SPACE}", " ")


# ---------------------------------------------------------------------------- shared nodes


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "more than other classes have, less than other images of the class have"),
        (
            {"lo": -0.1},
            "not to be told from what other classes have, less than other images of the class have",
        ),
        (
            {"hi": 1.1},
            "more than other classes have, not to be told from what other images of the class have",
        ),
        (
            {"value": -0.3, "lo": -0.4, "hi": -0.2},
            "less than other classes have, less than other images of the class have",
        ),
        ({"lo": None, "hi": None, "note": "few"}, "without an interval"),
        ({"value": None, "lo": None, "hi": None, "note": "few"}, "not estimable (few)"),
    ],
)
def test_shared_nodes_are_held_against_other_classes_and_other_images(change, verdict):
    text = said(shared_sentence, SHARED, change)
    assert text.endswith(f": {verdict}.")
    assert "circuit" not in text.lower()


def test_settings_of_which_the_same_holds_stand_together():
    text = said(shared_sentence, SHARED, {}, {"setting": "leave_out_domain", "value": 0.45})
    assert "natural only (0.40, 95 % 0.30 to 0.50) and leave out domain (0.45" in text
    assert text.count("more than other classes") == 1


def test_runs_of_a_setting_are_counted():
    text = said(shared_sentence, SHARED, {}, {"lo": -0.1}, {"value": None, "lo": None, "hi": None})
    assert "more than other classes have in 1 of 2" in text
    assert "not estimable in 1 of 3" in text


# ---------------------------------------------------------------------------- circuits


def test_a_circuit_is_called_one_with_its_size_and_what_others_carry():
    text = said(circuit_sentence, CIRCUIT, {})
    assert text == (
        "In quickdraw (seen classes): natural only: a circuit of 10 % of the nodes (0.84, 95 % "
        "0.75 to 0.93), as many nodes of other domains carry less (0.40, 95 % 0.30 to 0.50)."
    )


@pytest.mark.parametrize(
    "change",
    [
        {"is_circuit": False, "note": "the interval reaches that of a control"},
        {"is_circuit": False, "size": None, "value": None, "lo": None, "hi": None, "note": NEVER},
    ],
)
def test_what_is_no_circuit_is_never_called_one(change):
    text = said(circuit_sentence, CIRCUIT, change)
    assert "no circuit" in text
    assert "a circuit of" not in text
    assert change["note"] in text
    assert "None" not in text


def test_other_domains_that_overlap_with_own_are_not_told_apart():
    text = said(circuit_sentence, CIRCUIT, {"other": 0.7, "other_lo": 0.6, "other_hi": 0.78})
    assert "what these intervals do not tell apart (0.70" in text


# ---------------------------------------------------------------------------- accuracy

CHANGE = {
    **{"contrast": "diversity → unseen domain", "test_domain": "quickdraw"},
    **{"value": 0.1, "lo": 0.05, "hi": 0.15, "direction": "same"},
    **{"accuracy": 0.3, "accuracy_lo": 0.2, "accuracy_hi": 0.4},
}


def told(*changes):
    rows = pl.DataFrame([CHANGE | change for change in changes], infer_schema_length=None)
    return [
        text.replace("\N{NO-BREAK SPACE}", " ") for text in accuracy_sentences(rows, "quickdraw")
    ]


def test_a_difference_of_settings_is_said_with_both_intervals():
    assert told({}) == [
        "Leave out domain against natural only: +0.10 shared (95 % +0.05 to +0.15) and +30.0 "
        "points of accuracy on held-out classes (95 % +20.0 to +40.0); both differ from 0 in the "
        "same direction."
    ]


def test_differences_of_several_seeds_are_counted():
    (text,) = told({}, {"direction": "open"}, {"direction": "open"})
    assert "3 pairs of the same draw and seed" in text
    assert "same direction in 1, one of the two cannot be told from 0 in 2" in text


def test_a_contrast_without_accuracy_is_not_told():
    assert told({"accuracy": None}) == []


# ---------------------------------------------------------------------------- causes

LINE = {
    **{"test_domain": "quickdraw", "setting": "natural_only", "site": "layer3", "draw": 0},
    **{"run": "r", "line": INTO, "value": 0.5, "lo": 0.4, "hi": 0.6},
}
RANDOM_LINE = {"line": RANDOM, "value": 0.1, "lo": 0.05, "hi": 0.15}
OTHERS = {"line": AMONG, "value": 0.8, "lo": 0.7, "hi": 0.9}


def test_what_is_put_in_is_held_against_random_directions_and_other_domains():
    text = said(interchange_sentence, LINE, {}, RANDOM_LINE, OTHERS)
    assert (
        "natural only (50 %, 95 % 40 to 60): more often than random directions do, less often"
        in (text)
    )
    same = said(interchange_sentence, LINE, {}, RANDOM_LINE, OTHERS | {"lo": 0.55})
    assert "not to be told from the other domains among each other" in same
    weak = said(interchange_sentence, LINE, {"lo": 0.1}, RANDOM_LINE, OTHERS)
    assert "no more often than random directions do" in weak


DIFFERENCE = {
    **{"test_domain": "quickdraw", "setting": "natural_only", "classes": "held_out"},
    **{"nodes": "difference", "value": 0.2, "lo": 0.1, "hi": 0.3, "note": ""},
}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "margins lose more without the shared ones"),
        ({"lo": -0.1}, "the losses of margin cannot be told apart"),
        ({"value": -0.2, "lo": -0.3, "hi": -0.1}, "margins lose less without the shared ones"),
        ({"lo": None, "hi": None, "note": "2 classes"}, "without an interval (2 classes)"),
        ({"value": None, "lo": None, "hi": None, "note": "none"}, "not estimable (none)"),
    ],
)
def test_shared_and_private_nodes_are_told_apart_by_their_paired_difference(change, verdict):
    text = said(ablation_sentence, DIFFERENCE, change)
    assert "held-out classes: natural only" in text
    assert text.endswith(f": {verdict}.")
