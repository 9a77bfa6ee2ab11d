import numpy as np
import pytest

from analysis.binding.approximators import Approximator, fit_approximator
from gen.scenes.coverage import Part, split_objects
from gen.scenes.space import ConceptSpace, pair_scenes

VALUES, WIDTH = 8, 4
SPACE = ConceptSpace(
    {
        "colour": tuple(f"c{value}" for value in range(VALUES)),
        "shape": tuple(f"s{value}" for value in range(VALUES)),
    }
)
SCENES = pair_scenes(SPACE)


def _planted(kind: str) -> np.ndarray:
    """Embeddings [n, d] that one class of functions gives exactly."""
    random = np.random.default_rng(0)
    tables = random.uniform(0.5, 2.0, (2, 2, VALUES, WIDTH))
    tables *= random.choice([-1, 1], tables.shape)
    values = SPACE.table[SCENES]
    read = np.stack([[tables[slot, k][values[:, slot, k]] for k in range(2)] for slot in range(2)])
    combined = {
        "additive": lambda: read.sum(axis=(0, 1)),
        "per_object": lambda: read.prod(axis=1).sum(axis=0),
        "global": lambda: read.prod(axis=(0, 1)),
        "memorised": lambda: random.normal(size=(SPACE.objects, WIDTH))[SCENES].sum(axis=1),
    }
    return combined[kind]().astype(np.float32)


def _r2(approximator: Approximator, planted: str) -> float:
    """Of scenes of unseen objects."""
    y, values = _planted(planted), SPACE.table[SCENES]
    parts = split_objects(SPACE, 0.8, 1).parts(SCENES)
    train, unseen = parts == Part.train, parts == Part.unseen
    predict = fit_approximator(approximator, SPACE.sizes, values[train], y[train], seed=0)
    left = ((y[unseen] - predict(values[unseen])) ** 2).sum()
    return 1 - left / ((y[unseen] - y[unseen].mean(axis=0)) ** 2).sum()


def test_sums_are_found_by_the_additive_class():
    assert _r2(Approximator("additive"), "additive") > 0.999


def test_products_of_an_objects_concepts_need_per_object_products():
    assert _r2(Approximator("additive"), "per_object") < 0.3
    assert _r2(Approximator("per_object"), "per_object") > 0.9


def test_products_over_all_objects_need_the_global_product():
    assert _r2(Approximator("per_object"), "global") < 0.3
    assert _r2(Approximator("global", 2 * WIDTH), "global") > 0.6


@pytest.mark.parametrize("kind", ["additive", "per_object", "global", "mlp", "forest"])
def test_no_class_guesses_objects_that_were_learned_by_heart(kind: str):
    width = {"mlp": 64, "forest": 10}.get(kind)
    assert _r2(Approximator(kind, width), "memorised") < 0.3


def test_a_fit_is_drawn_by_its_seed_alone():
    y, values = _planted("global"), SPACE.table[SCENES]
    for approximator in (Approximator("mlp", 8), Approximator("forest", 3)):
        predicted = [
            fit_approximator(approximator, SPACE.sizes, values[:50], y[:50], seed=seed, steps=5)(
                values[50:]
            )
            for seed in (0, 0, 1)
        ]
        assert (predicted[0] == predicted[1]).all()
        assert (predicted[0] != predicted[2]).any()


def test_wrong_shapes_are_refused():
    y, values = _planted("global"), SPACE.table[SCENES]
    with pytest.raises(ValueError, match="for 3 concepts"):
        fit_approximator(Approximator("additive"), (8, 8, 8), values, y, seed=0)
    with pytest.raises(ValueError, match="embeddings for"):
        fit_approximator(Approximator("additive"), (8, 8), values, y[1:], seed=0)
