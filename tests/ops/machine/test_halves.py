"""Half-precision numbers, which Numba does not know: read and rounded as PyTorch does."""

import numpy as np
import pytest
import torch
from numba import njit

from spatialprop.ops.machine.halves import narrow, widen

CODES = {torch.bfloat16: torch.int16, torch.float16: torch.uint16}


@njit
def widen_all(codes, values):
    for i in range(codes.size):
        values[i] = widen(codes[i])


@njit
def narrow_all(values, codes):
    for i in range(values.size):
        codes[i] = narrow(values[i], codes)


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_every_half_widens_as_in_torch(dtype):
    halves = torch.arange(65536).to(torch.int16).view(dtype)
    values = np.empty(65536, np.float32)
    widen_all(halves.view(CODES[dtype]).numpy(), values)
    torch.testing.assert_close(torch.from_numpy(values), halves.float(), rtol=0, atol=0, equal_nan=True)
    signs = torch.signbit(torch.from_numpy(values)) == torch.signbit(halves.float())
    assert (signs | halves.isnan()).all()


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_numbers_narrow_as_in_torch(dtype):
    generator = torch.Generator().manual_seed(0)
    any_bits = torch.randint(-(2**31), 2**31, (500_000,), generator=generator).to(torch.int32).view(torch.float32)
    halves = torch.arange(65536).to(torch.int16).view(dtype).float()
    up = torch.nextafter(halves, torch.tensor(torch.inf))
    middles = (halves[:-1] + halves[1:]) / 2  # ties, subnormal ones and the one beyond the largest too
    values = torch.cat([any_bits, halves, up, middles, torch.nextafter(middles, torch.tensor(0.0))])
    codes = torch.empty(values.numel(), dtype=CODES[dtype])
    narrow_all(values.numpy(), codes.numpy())
    torch.testing.assert_close(codes.view(dtype), values.to(dtype), rtol=0, atol=0, equal_nan=True)
