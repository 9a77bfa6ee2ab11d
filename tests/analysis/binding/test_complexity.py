import pytest

from analysis.binding.complexity import best_carried, complexity, curves
from analysis.statistics import Refused


def _row(kind: str, fraction: float, seed: int, value: float | None, **others) -> dict:
    return {
        "side": "images",
        "class": kind,
        "width": None,
        "fraction": fraction,
        "split_seed": seed,
        "part": "unseen",
        "bank": "full",
        "kind": "object",
        "value": value,
        "reason": None if value is not None else "no scenes",
        "ceiling": 1.0,
        "ceiling_lo": None,
        "ceiling_hi": None,
        "floor": 1 / 6,
        "bag_best": 0.5,
        **others,
    }


def _rows(values: dict[tuple[str, float], list[float]], **others) -> list[dict]:
    return [
        _row(kind, fraction, seed, value, **others)
        for (kind, fraction), splits in values.items()
        for seed, value in enumerate(splits)
    ]


def test_a_curve_is_the_mean_over_splits_with_students_interval():
    (point,) = curves(_rows({("global", 0.5): [0.4, 0.5, 0.6]}))
    assert point["value"] == pytest.approx(0.5)
    assert point["hi"] - point["value"] == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert point["splits"] == 3
    assert point["missing"] == 0


def test_two_splits_have_no_interval_and_a_missing_one_is_counted():
    rows = [*_rows({("global", 0.5): [0.4, 0.6]}), _row("global", 0.5, 2, None)]
    (point,) = curves(rows)
    assert (point["lo"], point["hi"]) == (None, None)
    assert (point["splits"], point["missing"], point["reason"]) == (2, 1, "no scenes")
    assert point["value"] == pytest.approx(0.5)


def test_the_simplest_class_comes_first_with_its_fewest_objects():
    rows = _rows(
        {
            ("additive", 0.3): [0.1],
            ("global", 0.3): [0.5],
            ("mlp", 0.3): [0.9],
            ("additive", 0.7): [0.2],
            ("global", 0.7): [0.85],
            ("mlp", 0.7): [1.0],
        }
    )
    found = complexity(rows)
    assert (found.simplest.kind, found.simplest.fraction) == ("global", 0.7)
    assert [(c.kind, c.fraction) for c in found.classes] == [
        ("additive", None),
        ("global", 0.7),
        ("mlp", 0.3),
    ]
    assert found.classes[0].value == 0.2


def test_the_share_is_one_of_the_ceiling():
    rows = _rows({("additive", 0.5): [0.6]}, ceiling=0.74)
    assert complexity(rows).simplest.kind == "additive"
    assert complexity(rows, share=0.9).simplest is None


def test_nothing_is_carried_where_true_embeddings_show_no_more_than_a_bag():
    rows = _rows({("additive", 0.5): [0.3]}, ceiling=0.35)
    found = complexity(rows)
    assert isinstance(found, Refused)
    assert "35.0% of the scenes, where a bag of concepts may reach 50.0%" in found.reason


def test_no_scores_are_told():
    assert isinstance(complexity([_row("additive", 0.5, 0, None)]), Refused)


def test_what_is_carried_is_the_best_class_at_one_share_of_the_objects():
    ends = {"lo": 0.1, "hi": 0.9, "ceiling_lo": 0.8, "ceiling_hi": 0.95, "n": 50}
    values = {
        ("additive", 0.7): [0.2, 0.1, 0.3],
        ("global", 0.7): [0.4, 0.5, 0.6],
        ("mlp", 0.9): [0.99, 0.99, 0.99],
    }
    rows = _rows(values, ceiling=0.9, **ends)
    found = best_carried([*rows, *_rows({("mlp", 0.7): [1.0]}, part="train", **ends)])
    assert (found.kind, found.bag, found.n) == ("global", 0.5, 150)
    assert (found.held[0], *found.held[1:]) == (pytest.approx(0.9), None, None)  # all are equal
    assert found.carried[0] == pytest.approx(0.5)
    assert found.carried[2] - 0.5 == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)


def test_what_a_single_split_carries_has_the_interval_of_its_scenes():
    ends = {"lo": 0.3, "hi": 0.6, "ceiling_lo": 0.8, "ceiling_hi": 0.95, "n": 50}
    found = best_carried(_rows({("global", 0.7): [0.4]}, ceiling=0.9, **ends))
    assert (found.held, found.carried) == ((0.9, 0.8, 0.95), (0.4, 0.3, 0.6))


def test_nothing_is_carried_where_nothing_was_scored():
    assert best_carried([_row("global", 0.7, 0, None)]) is None
    assert best_carried([]) is None


def test_a_ceiling_that_is_not_clear_of_a_bag_leaves_nothing_to_carry():
    near = {"ceiling": 0.55, "ceiling_hi": 0.7}
    assert isinstance(complexity(_rows({("global", 0.7): [0.5]}, ceiling_lo=0.4, **near)), Refused)
    found = complexity(_rows({("global", 0.7): [0.5]}, ceiling_lo=0.51, **near))
    assert found.simplest.kind == "global"
    splits = [_row("global", 0.7, seed, 0.5, ceiling=c) for seed, c in enumerate((0.4, 0.6, 0.8))]
    refused = complexity(splits)
    assert isinstance(refused, Refused)
    assert "60.0% of the scenes (95%: from 10.3%)" in refused.reason
