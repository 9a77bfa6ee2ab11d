"""Losses against formulas written anew, and which queries a step compares with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.binding.controlled.condition import Condition
from analysis.binding.controlled.embedding import examined
from analysis.binding.controlled.encoders import Shape, TokenEncoder, Transformer, initialise
from analysis.binding.controlled.losses import multi_positive, swap_margin, symmetric
from analysis.binding.controlled.models import SymbolModel, model_of
from analysis.binding.controlled.training import rate, trained
from analysis.binding.controlled.world import training_scenes, world_of
from gen.schema import ControlledTraining, Variant
from splits.errors import UserError

TINY = ControlledTraining(steps=10, batch=16, width=16, layers=2, heads=2)
SYMBOLS = Condition(Variant.symbols, (4, 4), 0.6, 0.0, 0, 0, TINY)


def test_the_softmax_of_several_positives_is_the_mean_of_their_log_likelihoods() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    positives = torch.zeros(5, 7, dtype=torch.bool)
    positives[0, [1, 4]] = positives[1, 0] = positives[3, [0, 1, 2]] = True
    x, y = logits.double().numpy(), positives.numpy()
    expected = [
        -np.mean([x[n, t] - np.log(np.exp(x[n]).sum()) for t in np.flatnonzero(y[n])])
        for n in (0, 1, 3)  # the other scenes have no positive
    ]
    assert multi_positive(logits, positives).item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_without_duplicates_the_symmetric_loss_is_that_of_clip() -> None:
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    own = torch.arange(6)
    both = [torch.nn.functional.cross_entropy(x, own) for x in (logits, logits.T)]
    found = symmetric(logits, torch.eye(6, dtype=torch.bool))
    assert found.item() == pytest.approx(sum(both).item() / 2, abs=1e-5)


def test_the_margin_averages_the_pairs_that_count() -> None:
    present, rebound = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 9.0]])
    counts = torch.tensor([[True, False]])
    expected = np.mean([np.log1p(np.exp(0.5 - 1)), np.log1p(np.exp(0.5 - 2))])
    assert swap_margin(present, rebound, counts).item() == pytest.approx(expected, abs=1e-6)
    assert swap_margin(present, rebound, torch.zeros_like(counts)).item() == 0


@pytest.mark.parametrize("leak", [False, True])
def test_unseen_objects_are_queries_of_training_only_with_the_leak(
    leak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition = replace(SYMBOLS, training=replace(TINY, leak=leak))
    world = world_of(condition)
    model = SymbolModel(condition, world)
    initialise(model, 0)
    asked, captions = [], model.captions
    monkeypatch.setattr(model, "captions", lambda bank: asked.append(bank) or captions(bank))
    batch = next(training_scenes(world, condition))
    terms = model.loss(batch, np.random.default_rng(0))
    (bank,) = asked
    assert (~world.split.seen[bank]).any() == leak
    assert np.isin(batch[0], bank).all()
    assert set(terms) == {"concepts", "objects", "swaps"}


def test_the_last_block_computes_what_a_whole_one_would() -> None:
    transformer = Transformer(width=16, layers=2, heads=2)
    initialise(transformer, 0)
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))
    whole = x
    for block in transformer.blocks:
        whole = block(whole, whole, slice(None))
    for place in (0, -1):
        expected = transformer.norm(whole)[:, place]
        torch.testing.assert_close(transformer(x, place), expected, atol=1e-5, rtol=1e-5)


def test_a_block_is_that_of_pytorch() -> None:
    block = Transformer(width=16, layers=1, heads=2).blocks[0]
    initialise(block, 0)
    other = torch.nn.TransformerEncoderLayer(
        16, 2, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    state = block.state_dict()
    names = {"norm1": "norm", "norm2": "norm_mlp", "linear1": "wide", "linear2": "narrow"}
    names |= {"self_attn.out_proj": "mix"}
    copied = {f"{a}.{w}": state[f"{b}.{w}"] for a, b in names.items() for w in ("weight", "bias")}
    for w in ("weight", "bias"):
        parts = [state[f"query.{w}"], state[f"key_value.{w}"]]
        copied[f"self_attn.in_proj_{w}"] = torch.cat(parts)
    other.load_state_dict(copied)
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x, x, slice(None)), other(x), atol=1e-5, rtol=1e-5)


def test_weights_depend_on_the_seed_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        encoder = TokenEncoder(9, Shape(width=16, layers=2, heads=2, dimensions=16), longest=9)
        initialise(encoder, seed)
        return torch.cat([part.flatten() for part in encoder.parameters()])

    torch.manual_seed(5)
    first = weights(0)
    torch.manual_seed(6)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))


@pytest.mark.parametrize("variant", list(Variant))
def test_the_joint_space_may_be_narrower_than_the_encoders(variant: Variant) -> None:
    tiny = ControlledTraining(steps=1, batch=8, width=16, layers=1, heads=2, dimensions=6)
    condition = Condition(variant, (6, 4), 0.7, 0.0, 0, 0, tiny)
    embedded = examined(trained(condition, torch.device("cpu")).model).embedded
    assert embedded.images.shape[1] == embedded.texts.shape[1] == 6
    np.testing.assert_allclose(np.linalg.norm(embedded.images, axis=1), 1, rtol=1e-5)


def test_the_rate_rises_and_falls_to_almost_nothing() -> None:
    rates = [rate(step, SYMBOLS) for step in range(10)]
    assert max(rates) == rates[0] == 1.0  # a tenth of ten steps is one
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 0.05


def test_pictures_of_three_concepts_are_refused() -> None:
    condition = replace(SYMBOLS, variant=Variant.pictures, sizes=(4, 4, 4))
    with pytest.raises(UserError, match="4 × 4 × 4"):
        model_of(condition, world_of(condition))
