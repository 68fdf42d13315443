"""Measure how long the host works before a CUDA kernel is launched. Needs no GPU: the launch itself is left out.

    python benchmarks/host_time.py

The CUDA backend's Python runs as it is, on CPU tensors, as a CPU kernel of operators with the schemas of ours: checks,
plans, allocation, pointers. What needs a GPU is replaced by what costs nothing: its properties, its current stream, the
call of the driver. So allocation is PyTorch's on the CPU (small; that on a GPU is as quick when it finds a free block).
An operator with the same schema that does nothing shows what PyTorch's dispatch takes by itself.

Writes host_time.json and .md to results/benchmarks.
"""

import argparse
import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import measure
import numpy as np
import torch
from torch import Tensor

from spatialprop.files import write_file, write_json
from spatialprop.ops.machine import cuda_launch
from spatialprop.ops.propagation import cuda as propagation
from spatialprop.ops.spreading import cuda as spreading

SCHEMAS = {
    "propagate": "(Tensor x, Tensor gates, int[] directions, str merge, bool keep, str? normalize=None) "
    "-> (Tensor, Tensor, Tensor)",
    "propagate_backward": "(Tensor grad, Tensor x, Tensor gates, Tensor winner, Tensor kept, int[] directions, "
    "str merge, str? normalize, bool need_x, bool need_gates) -> (Tensor, Tensor)",
    "spread": "(Tensor x, Tensor affinity, int[] dilations, int kernel, int steps) -> Tensor",
}
GPU = cuda_launch.Gpu(132, 227 << 10, 228 << 10)  # an H200


@contextlib.contextmanager
def without_gpu():
    """Replace what needs a GPU by what costs nothing."""
    stream, driver = SimpleNamespace(cuda_stream=0), SimpleNamespace(launchKernel=lambda *_: None)
    with contextlib.ExitStack() as stack:
        for target, name, value in (
            (propagation, "gpu_of", lambda _: GPU),
            (cuda_launch, "_address_of", lambda *_: 0),
            (cuda_launch, "_driver", lambda: driver),
            (torch.cuda, "current_stream", lambda _: stream),
            (torch.cuda, "current_device", lambda: None),  # the index of CPU tensors
        ):
            stack.enter_context(patch.object(target, name, value))
        yield


def register() -> dict[str, tuple[Callable[..., object], Callable[..., object]]]:
    """Register each operator twice: with the CUDA backend's Python, and doing nothing."""
    library = torch.library.Library("host_time", "DEF")
    nothing = torch.empty(0)
    works = {"propagate": propagation.forward, "propagate_backward": propagation.backward, "spread": spreading.forward}
    idle = {
        "propagate": lambda *_: (nothing, nothing, nothing),
        "propagate_backward": lambda *_: (nothing, nothing),
        "spread": lambda *_: nothing,
    }
    operators = {}
    for name, schema in SCHEMAS.items():
        for kind, functions in (("ours", works), ("idle", idle)):
            library.define(f"{name}_{kind}{schema}")
            library.impl(f"{name}_{kind}", functions[name], "CPU")
        operators[name] = tuple(getattr(torch.ops.host_time, f"{name}_{kind}").default for kind in ("ours", "idle"))
    register.library = library  # it lives as long as the operators
    return operators


def arguments(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> tuple[object, ...]:
    x = torch.zeros(shape, dtype=dtype)
    if name == "spread":
        return x, torch.zeros(shape[0], 8, *shape[2:], dtype=dtype), [1], 3, 10
    gates = torch.zeros(shape[0], 4, 3, shape[1], *shape[2:], dtype=dtype)
    if name == "propagate":
        return x, gates, [0, 1, 2, 3], "max", True
    winner = torch.zeros(shape, dtype=torch.uint8)
    return x, x, gates, winner, torch.empty(0), [0, 1, 2, 3], "max", None, True, True


def microseconds(functions: dict[str, Callable[[], object]], rounds: int, calls: int) -> dict[str, list[float]]:
    """Time calls in turns, so that whatever disturbs the machine disturbs all of them."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(calls):
                function()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return {name: [float(value) for value in np.percentile(taken, [25, 50, 75])] for name, taken in times.items()}


def run(rounds: int, calls: int) -> list[dict[str, object]]:
    operators = register()
    rows = []
    cases = [
        ("propagate", torch.float32, (1, 32, 64, 64)),
        ("propagate", torch.bfloat16, (1, 32, 64, 64)),
        ("propagate", torch.float32, (1, 1, 256, 512)),  # bands that depend on each other: two more buffers
        ("propagate_backward", torch.float32, (1, 32, 64, 64)),
        ("spread", torch.float32, (1, 8, 64, 64)),
    ]
    with without_gpu(), torch.no_grad():
        for name, dtype, shape in cases:
            ours, idle = operators[name]
            given = arguments(name, dtype, shape)

            plan, tensors = plan_of(name, given), [one for one in given if isinstance(one, Tensor)]
            functions = {
                "ours": partial(ours, *given),
                "dispatch": partial(idle, *given),
                "allocation": partial(plan.allocate, tensors),  # of what the plan asks for, and nothing else
            }
            for function in functions.values():
                function()
            described = {"operator": name, "shape": list(shape), "dtype": str(dtype).removeprefix("torch.")}
            rows.append({**described, "launches": len(plan.launches), **microseconds(functions, rounds, calls)})
    return rows


def plan_of(name: str, given: tuple[object, ...]) -> cuda_launch.Plan:
    layouts = [cuda_launch.layout_of(one) for one in given if isinstance(one, Tensor)]
    if name == "spread":
        return spreading.plan_forward(*layouts, tuple(given[2]), *given[3:])
    if name == "propagate":
        return propagation.plan_forward(*layouts, tuple(given[2]), *given[3:], None, GPU)
    return propagation.plan_backward(*layouts[:3], tuple(given[5]), *given[6:], GPU)


def markdown(results: dict[str, object]) -> str:
    rows = []
    for row in results["rows"]:
        shape = "x".join(map(str, row["shape"]))
        total, dispatch, allocation = (row[name][1] for name in ("ours", "dispatch", "allocation"))
        low, _, high = row["ours"]
        whole = f"{total:.1f} ({low:.1f} to {high:.1f})"
        figures = [whole, f"{dispatch:.1f}", f"{allocation:.1f}", f"{total - dispatch:.1f}"]
        rows.append([row["operator"], shape, row["dtype"], str(row["launches"]), *figures])
    header = [
        "operator",
        "map (N, C, H, W)",
        "dtype",
        "launches",
        "whole call",
        "dispatch",
        "allocation",
        "less dispatch",
    ]
    words = results["machine"]
    return "\n\n".join(
        [
            "# How long the host takes to launch",
            f"{words['processor']}, {words['cores']} cores; torch {words['torch']}, Python {words['python']}. "
            f"Measured {results['date']} on CPU tensors; the driver's launch itself left out.",
            "Microseconds a call of the registered operator: medians, with the quartiles in brackets. *Dispatch* is an "
            "operator with the same schema that does nothing; *allocation* is a part of the rest.",
            measure.markdown_table(header, rows),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few calls; writes nothing unless --output is given")
    parser.add_argument("--output", type=Path, help="folder for the results; by default results/benchmarks")
    options = parser.parse_args()
    rows = run(*((3, 20) if options.quick else (500, 10)))
    machine = measure.machine(torch.device("cpu"))
    results = {"machine": machine, "date": time.strftime("%Y-%m-%d", time.gmtime()), "rows": rows}
    text = markdown(results)
    print(text)
    output = options.output or (None if options.quick else Path(__file__).parents[1] / "results" / "benchmarks")
    if output:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "host_time.json", results)
        write_file(output / "host_time.md", text + "\n")


if __name__ == "__main__":
    main()
