"""Batch norm over several processes is torch's batch norm over the whole batch."""

from __future__ import annotations

import copy

import pytest
import torch
from processes import in_processes
from torch import nn

from gen.training.batch_norm import (
    GlobalBatchNorm2d,
    frozen_statistics,
    synchronise_batch_norm,
)
from gen.training.distributed import gather_rows
from splits.errors import UserError

CPU = torch.device("cpu")


def build(kind):
    torch.manual_seed(0)
    if kind == "timm":
        from timm.layers import BatchNormAct2d

        norm = BatchNormAct2d(4)
    else:
        norm = nn.BatchNorm2d(4, **kind)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 2, 1)).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return model


def images():
    return 5 + 2 * torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(1)).double()


def run(model, inputs, gather=lambda rows: rows):
    """Two steps, and everything that comes of them."""
    for _ in range(2):
        model.zero_grad()
        inputs = inputs.detach().requires_grad_()
        inputs.grad = None
        outputs = model(inputs)
        outputs.pow(3).mean().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return outputs.detach(), inputs.grad, gradients, dict(model.named_buffers())


KINDS = [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}, "timm"]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_one_process_computes_what_torch_computes(kind):
    plain = build(kind)
    model = copy.deepcopy(plain)
    synchronise_batch_norm(model, gather_rows, CPU)
    assert isinstance(model[1], GlobalBatchNorm2d)
    torch.testing.assert_close(run(model, images()), run(plain, images()))
    torch.testing.assert_close(model.eval()(images()), plain.eval()(images()))


def test_names_and_tensors_of_parameters_and_buffers_stay():
    model = build({})
    before = model.state_dict(keep_vars=True)
    synchronise_batch_norm(model, gather_rows, CPU)
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)


def test_half_precision_is_normalised_in_full_and_returned_in_half():
    model = build({}).float()
    synchronise_batch_norm(model, gather_rows, CPU)
    inputs = (1000 + torch.randn(8, 4, 4, 4)).bfloat16()
    outputs = model[1](inputs)
    assert outputs.dtype == torch.bfloat16
    expected = nn.functional.batch_norm(
        inputs.double(), None, None, *(p.double() for p in model[1].parameters()), training=True
    )
    torch.testing.assert_close(outputs.double(), expected, rtol=0.01, atol=0.01)


def test_a_batch_norm_without_a_global_form_is_refused():
    with pytest.raises(UserError, match="BatchNorm1d"):
        synchronise_batch_norm(nn.Sequential(nn.BatchNorm1d(3)), gather_rows, CPU)


@pytest.mark.parametrize("convert", [False, True])
def test_frozen_statistics_stay_and_outputs_are_those_of_the_batch(convert):
    model = build({})
    if convert:
        synchronise_batch_norm(model, gather_rows, CPU)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with frozen_statistics(model):
        frozen = model(images())
    torch.testing.assert_close(dict(model.named_buffers()), before)
    torch.testing.assert_close(model(images()), frozen)
    assert model[1].num_batches_tracked == 1


def run_here(rank, size, kinds):
    found = []
    for kind in kinds:
        model = build(kind)
        synchronise_batch_norm(model, gather_rows, CPU)
        share = len(images()) // size
        found.append(run(model, images()[rank * share : (rank + 1) * share]))
    return found


@pytest.mark.dist
def test_two_processes_compute_what_one_computes():
    results = in_processes(2, run_here, KINDS)
    for number, kind in enumerate(KINDS):
        outputs, by_input, gradients, buffers = run(build(kind), images())
        own = [result[number] for result in results]
        torch.testing.assert_close(torch.cat([part[0] for part in own]), outputs)
        # the mean over the processes of a mean over their rows is the mean of all
        torch.testing.assert_close(torch.cat([part[1] for part in own]) / 2, by_input)
        for name, gradient in gradients.items():
            averaged = (own[0][2][name] + own[1][2][name]) / 2
            torch.testing.assert_close(averaged, gradient, msg=name)
        for part in own:
            torch.testing.assert_close(part[3], buffers)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", [{}, "timm"], ids=str)
def test_cuda_devices_get_the_fused_form(kind):
    model = nn.Sequential(build(kind)).cuda()
    names = list(model.state_dict())
    synchronise_batch_norm(model, gather_rows, torch.device("cuda"))
    assert isinstance(model[0][1], nn.SyncBatchNorm)
    assert list(model.state_dict()) == names
