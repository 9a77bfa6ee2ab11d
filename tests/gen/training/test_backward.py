"""A batch in parts has the gradient of the whole batch, in one process and in several."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from processes import in_processes
from tiny_models import CAPTIONS, batch, build_model, local_loss, plain_gradients
from torch.nn.functional import cross_entropy

from gen.schema import Objective, Sharding
from gen.training.backward import backward, cut
from gen.training.distributed import Ranks, gather_rows, slice_of, wrap
from gen.training.towers import Towers

KINDS = list(Objective)


def no_seed(part):
    """For models that draw nothing."""


def gradients_in_parts(model, kind, parts, seed_part=no_seed, ranks=None, sharding=Sharding.ddp):
    """Loss and gradients of this process's share of the batch."""
    ranks = ranks or Ranks(0, 1, 0, torch.device("cpu"))
    images, texts = batch()
    own = slice_of(ranks, len(images), parts)
    distinct, text_of = CAPTIONS[own].unique(return_inverse=True)
    towers = wrap(Towers(model), ranks, sharding)
    loss = local_loss(kind, CAPTIONS[own], text_of, gather_rows, own.start)
    value = backward(towers, cut(images[own], texts[distinct], parts), loss, seed_part=seed_part)
    return value.item(), {name: whole(p.grad) for name, p in model.named_parameters()}


def whole(gradient):
    return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_parts_give_the_loss_and_gradient_of_the_whole(kind, parts):
    loss, expected = plain_gradients(build_model("linear", kind), kind)
    value, found = gradients_in_parts(build_model("linear", kind), kind, parts)
    assert value == pytest.approx(loss, rel=1e-12)
    assert_equal(found, expected)


@pytest.mark.parametrize("name", ["one tower", "vit"])
def test_parts_give_the_gradient_of_the_whole_for_other_models(name):
    _, expected = plain_gradients(build_model(name, Objective.infonce), Objective.infonce)
    _, found = gradients_in_parts(build_model(name, Objective.infonce), Objective.infonce, 4)
    assert_equal(found, expected)


def test_one_part_is_exact_for_a_resnet_too():
    _, expected = plain_gradients(build_model("resnet", Objective.infonce), Objective.infonce)
    _, found = gradients_in_parts(build_model("resnet", Objective.infonce), Objective.infonce, 1)
    assert_equal(found, expected)


def test_gradients_are_added_to_those_that_are_there():
    model = build_model("linear", Objective.infonce)
    _, once = gradients_in_parts(model, Objective.infonce, 2)
    once = {name: gradient.clone() for name, gradient in once.items()}
    _, twice = gradients_in_parts(model, Objective.infonce, 2)
    assert_equal(twice, {name: 2 * gradient for name, gradient in once.items()})


def test_a_part_draws_the_same_dropout_in_both_passes():
    """Oracle: one forward of all parts, each with its seed, in one graph."""
    kind = Objective.infonce
    model = build_model("linear with dropout", kind)
    images, texts = batch()
    features = []
    for number, part in enumerate(images.split(2)):
        torch.manual_seed(number)
        features.append(model.encode_image(part))
    x = torch.nn.functional.normalize(torch.cat(features), dim=-1)
    y = torch.nn.functional.normalize(model.encode_text(texts), dim=-1)
    loss = local_loss(kind, CAPTIONS, CAPTIONS, gather_rows, 0)
    loss(x, y, model.logit_scale.exp(), None).backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    other = build_model("linear with dropout", kind)
    _, found = gradients_in_parts(other, kind, 4, seed_part=torch.manual_seed)
    assert_equal(found, expected)


def test_every_part_moves_the_running_statistics_once():
    """Oracle: a plain forward of the parts, one after the other."""
    model, other = (build_model("resnet", Objective.infonce) for _ in range(2))
    for part in batch()[0].split(4):
        other.encode_image(part)
    gradients_in_parts(model, Objective.infonce, 2)
    assert model.visual.bn1.num_batches_tracked == 2
    for name, buffer in other.named_buffers():
        torch.testing.assert_close(dict(model.named_buffers())[name], buffer, msg=name)


@pytest.mark.parametrize("parts", [1, 4])
def test_a_classifier_goes_through_in_parts(parts):
    images, labels = batch()[0], torch.arange(8) % 3
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 3)).double()
    cross_entropy(model(images), labels).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    loss = lambda logits: cross_entropy(logits, labels)  # noqa: E731
    backward(Towers(model), cut(images, None, parts), loss, seed_part=no_seed)
    assert_equal({name: p.grad for name, p in model.named_parameters()}, expected)


def test_the_towers_run_inside_the_context_and_the_loss_outside():
    inside, seen = [False], []

    @contextmanager
    def context():
        inside[0] = True
        yield
        inside[0] = False

    class Watched(torch.nn.Linear):
        def forward(self, images):
            seen.append(("towers", inside[0]))
            return super().forward(images.flatten(1))

    def loss(logits):
        seen.append(("loss", inside[0]))
        return logits.sum()

    model = Watched(3072, 3).double()
    parts = cut(batch()[0], None, 2)
    backward(Towers(model), parts, loss, seed_part=no_seed, context=context)
    assert seen == [("towers", True)] * 2 + [("loss", False)] + [("towers", True)] * 2


def test_texts_are_cut_into_equal_parts_with_the_first_repeated():
    parts = cut(torch.arange(8), torch.tensor([10, 11, 12, 13, 14]), 4)
    assert [images.tolist() for images, _ in parts] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [texts.tolist() for _, texts in parts] == [[10, 11], [12, 13], [14, 10], [10, 10]]


def test_one_text_goes_with_every_part():
    parts = cut(torch.arange(4), torch.tensor([7]), 2)
    assert [texts.tolist() for _, texts in parts] == [[7], [7]]


def run_cases(rank, size, cases):
    ranks = Ranks(rank, size, rank, torch.device("cpu"))
    found = []
    for name, kind, parts, sharding in cases:
        model = build_model(name, kind)
        value, gradients = gradients_in_parts(model, kind, parts, ranks=ranks, sharding=sharding)
        buffers = {name: buffer for name, buffer in model.named_buffers() if "running" in name}
        found.append((value, gradients, buffers))
    return found


def check_cases(size, cases):
    results = in_processes(size, run_cases, cases)
    for number, (name, kind, _, _) in enumerate(cases):
        model = build_model(name, kind)
        loss, expected = plain_gradients(model, kind)
        values = [result[number][0] for result in results]
        assert sum(values) / size == pytest.approx(loss, rel=1e-10), cases[number]
        for result in results:
            assert_equal(result[number][1], expected)
            for key, buffer in result[number][2].items():
                torch.testing.assert_close(buffer, dict(model.named_buffers())[key])


@pytest.mark.dist
@pytest.mark.parametrize("size", [2, 4])
def test_linear_towers_in_several_processes_have_the_gradient_of_one(size):
    cases = [("linear", kind, parts, Sharding.ddp) for kind in KINDS for parts in (1, 2)]
    check_cases(size, [*cases, ("one tower", Objective.infonce, 2, Sharding.ddp)])


@pytest.mark.dist
def test_open_clip_models_in_two_processes_have_the_gradient_of_one():
    cases = [("vit", kind, parts, Sharding.ddp) for kind in KINDS for parts in (1, 2)]
    check_cases(2, [*cases, ("resnet", Objective.infonce, 1, Sharding.ddp)])


@pytest.mark.dist
def test_sharded_models_in_two_processes_have_the_gradient_of_one():
    cases = [("vit", kind, parts, Sharding.fsdp) for kind in KINDS for parts in (1, 2)]
    check_cases(2, [*cases, ("resnet", Objective.infonce, 1, Sharding.fsdp)])
