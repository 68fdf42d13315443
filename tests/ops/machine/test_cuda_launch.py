"""How plans are carried out, with a driver that only writes down what it is asked to launch."""

import ctypes
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from struct import unpack_from
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spatialprop.ops.machine import cuda_launch
from spatialprop.ops.machine.cuda_launch import Buffer, Launch, Plan, call_type

POINTERS = ("x", "out", "scratch", "nothing")


def plan_of(*kernels):
    call = np.zeros(1, call_type(POINTERS, ("size", np.int64)))
    call["size"] = 24
    launches = [Launch(kernel, (3, 2), 128, 512, call).point_to(["x", "out", "scratch", None]) for kernel in kernels]
    buffers = [Buffer("scratch", (5,), torch.float32, zeroed=True), Buffer("out", (2, 3), torch.float64)]
    return Plan(("x",), buffers, ("out",), launches, "source.cu", ())


@pytest.fixture
def driver(monkeypatch):
    """What was launched: the kernel's address, grid, threads, shared memory, stream, and the call's bytes."""
    launched, devices = [], []

    def launch_kernel(kernel, x, y, z, threads, _, __, shared, stream, parameters, extra):
        call = ctypes.cast(parameters, ctypes.POINTER(ctypes.c_void_p))[0]
        launched.append((kernel, (x, y, z), threads, shared, stream, ctypes.string_at(call, 40)))
        assert extra == 0

    addresses = {"first": 11, "second": 22}
    monkeypatch.setattr(cuda_launch, "_address_of", lambda _, __, name, *___: addresses[name])
    monkeypatch.setattr(cuda_launch, "_driver", lambda: SimpleNamespace(launchKernel=launch_kernel))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: SimpleNamespace(cuda_stream=100 + index))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda index: devices.append(index) or nullcontext())
    return SimpleNamespace(launched=launched, devices=devices)


def test_launches_get_addresses_grid_and_stream(driver):
    x = torch.rand(6)
    (out,) = plan_of("first", "second").run(0, x)
    assert (out.shape, out.dtype) == ((2, 3), torch.float64)
    assert [one[0] for one in driver.launched] == [11, 22]
    for _, grid, threads, shared, stream, call in driver.launched:
        assert (grid, threads, shared, stream) == ((3, 2, 1), 128, 512, 100)
        given_x, given_out, scratch, nothing, size = unpack_from("5Q", call)
        assert (given_x, given_out, nothing, size) == (x.data_ptr(), out.data_ptr(), 0, 24)
        assert scratch != 0
    assert driver.devices == []


def test_a_plan_serves_every_call_and_every_gpu(driver):
    plan, x, y = plan_of("first"), torch.rand(6), torch.rand(6)
    (one,), (two,) = plan.run(0, x), plan.run(1, y)
    assert one.data_ptr() != two.data_ptr()
    assert [unpack_from("Q", call)[0] for *_, call in driver.launched] == [x.data_ptr(), y.data_ptr()]
    assert [stream for *_, stream, _ in driver.launched] == [100, 101]
    assert driver.devices == [1]  # which is not the current one


def test_a_first_call_inside_a_capture_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match=r"propagate_forward is not loaded yet.*Make one call .* before the capture"):
        cuda_launch._address_of(0, "propagation/propagate.cu", "propagate_forward", ("never compiled",), True)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["host_time.py --quick", "model.py --output {folder}"])
def test_what_is_measured_without_a_gpu(tmp_path, script):
    folder = Path(__file__).parents[3] / "benchmarks"
    command = [sys.executable, *f"{folder}/{script}".format(folder=tmp_path).split()]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| 1x32x64x64 |" in result.stdout
