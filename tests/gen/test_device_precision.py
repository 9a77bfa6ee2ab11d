"""How CUDA devices compute float32: flags that are there on any machine."""

import pytest
import torch

from gen.device import full_precision


def flags():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def stopped_in_full_precision():
    with full_precision():
        assert flags() == ("highest", False)
        raise ValueError("stopped")


def test_tf32_is_off_meanwhile_and_as_before_afterwards_even_after_an_error():
    before = flags()
    try:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        with pytest.raises(ValueError, match="stopped"):
            stopped_in_full_precision()
        assert flags() == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
