"""Measure `spread` against the limit that memory sets, and against the same formula in plain PyTorch.

    python benchmarks/spread.py                    about 2 minutes on two cores
    python benchmarks/spread.py --device cuda      about 1 minute
    python benchmarks/spread.py --quick            seconds, on tiny maps: checks the benchmark itself

Outputs and gradients are first compared with the naive form in float64. Then spread_<device>.json and .md go to
results/benchmarks. The README.md next to this file says how to read them.
"""

import argparse
import datetime
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import measure
import torch
from measure import Copy, DeviceStopwatch, HostStopwatch, Run
from propagation_report import machine_in_words
from torch import Tensor

from spatialprop.files import write_file, write_json
from spatialprop.ops import spread
from spatialprop.ops.spreading import neighbour_offsets

DILATIONS, KERNEL, STEPS = (1, 2, 4, 8), 3, 10
PASSES = ("forward", "forward + backward")
METHOD = (
    f"Dilations {DILATIONS}, {len(neighbour_offsets(DILATIONS, KERNEL))} neighbours, {STEPS} steps, random affinities. "
    "Medians, with the quartiles in brackets; warmed up; the contenders and the copy take turns, and calls take turns "
    "among enough inputs that none is still in the last-level cache when a call begins. The floor of forward is what "
    "all steps must move if nothing stays on the chip from one to the next, x and affinity read and x written, at the "
    "bandwidth of the copy; what fits into the cache may beat it. Backward makes the steps again, and has no floor "
    "here."
)


@dataclass(frozen=True)
class Case:
    shape: tuple[int, int, int, int]  # (N, C, H, W)
    dtype: str = "float32"

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        batch, _, height, width = self.shape
        affinity_shape = (batch, len(neighbour_offsets(DILATIONS, KERNEL)), height, width)
        shapes = (self.shape, affinity_shape, self.shape)
        x, affinity, grad = (torch.rand(shape, device=device).to(getattr(torch, self.dtype)) for shape in shapes)
        return x.requires_grad_(), affinity.requires_grad_(), grad


def cases(device: torch.device, quick: bool) -> list[Case]:
    if quick:
        return [Case((1, 3, 20, 24)), Case((1, 3, 20, 24), "bfloat16")]
    maps = [Case((1, 21, 188, 250)), Case((1, 12, 360, 480)), Case((1, 12, 360, 480), "bfloat16")]
    return [*maps, Case((8, 21, 512, 512))] if device.type == "cuda" else maps


def forward(backend: str, x: Tensor, affinity: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return (spread(x, affinity, DILATIONS, KERNEL, STEPS, backend),)


def forward_backward(backend: str, x: Tensor, affinity: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    out = spread(x, affinity, DILATIONS, KERNEL, STEPS, backend)
    return out, *torch.autograd.grad(out, (x, affinity), grad)


def check(case: Case, backend: str, device: torch.device) -> float:
    """Return the largest error as a share of what is allowed: twice that of plain PyTorch, and four roundings."""
    inputs = case.inputs(device)
    exact = forward_backward("naive", *(tensor.detach().double().requires_grad_() for tensor in inputs))
    worst = 0.0
    for result, plain, right in zip(
        forward_backward(backend, *inputs), forward_backward("naive", *inputs), exact, strict=True
    ):
        error, naive_error = (float((other.double() - right).detach().abs().max()) for other in (result, plain))
        allowed = 2 * naive_error + 4 * torch.finfo(torch.float32).eps * float(right.detach().abs().max())
        if not error <= allowed:
            sys.exit(f"spread is wrong, so nothing was measured: off by {error:.1e}, allowed {allowed:.1e}: {case}")
        worst = max(worst, error / allowed)
    return worst


def measure_case(case: Case, backend: str, device: torch.device, quick: bool) -> dict[str, object]:
    copy = Copy(device, measure.QUICK_COPY if quick else None)
    stopwatch = DeviceStopwatch(device, copy) if device.type == "cuda" else HostStopwatch()
    x, affinity, _ = case.inputs(device)
    floor_bytes = STEPS * (2 * x.nbytes + affinity.nbytes)
    sets = measure.sets_beyond_cache(x.nbytes + affinity.nbytes, device, quick)
    inputs = [case.inputs(device) for _ in range(sets)]

    def taking_turns(step: Callable[..., tuple[Tensor, ...]], name: str) -> Run:
        return lambda turn: step(name, *inputs[turn % sets])

    row: dict[str, object] = {
        **asdict(case),
        "floor_bytes": floor_bytes,
        "largest_error_over_allowed": check(case, backend, device),
    }
    for name, step in zip(PASSES, (forward, forward_backward), strict=True):
        contenders = {"copy": copy, **{one: taking_turns(step, one) for one in ("naive", backend)}}
        times = measure.interleave(contenders, stopwatch, 0.05 if quick else 5.0, most=30)
        results = {one: measure.summary(taken) for one, taken in times.items() if taken}
        copied = results.pop("copy")["median_ms"]
        row[name] = {"spatialprop": results.pop(backend), **results, "copy_GB_per_s": copy.bytes / copied / 1e6}
        if step is forward:
            row[name]["floor_ms"] = copied * floor_bytes / copy.bytes
    return row


def markdown(results: dict[str, object]) -> str:
    rows = []
    for row in results["cases"]:
        for name in PASSES:
            timed = row[name]
            own, naive, floor = timed["spatialprop"], timed.get("naive"), timed.get("floor_ms")
            rows.append(
                [
                    f"{tuple(row['shape'])}, {row['dtype']}, {name}",
                    f"{own['median_ms']:.1f} ({own['low_ms']:.1f} to {own['high_ms']:.1f})",
                    f"{timed['copy_GB_per_s']:.1f}",
                    f"{floor:.1f}" if floor else "",
                    f"{own['median_ms'] / floor:.1f}" if floor else "",
                    f"{naive['median_ms']:.0f}" if naive else "out of memory",
                    f"{naive['median_ms'] / own['median_ms']:.1f}" if naive else "",
                ]
            )
    header = ["(N, C, H, W)", "ms", "copy GB/s", "floor ms", "x floor", "naive ms", "naive / ours"]
    words = [f"{machine_in_words(results['machine'])} Measured {results['date']}.", METHOD]
    return "\n\n".join(["# How fast `spread` is", *words, measure.markdown_table(header, rows)])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny maps; writes nothing unless --output is given")
    parser.add_argument("--output", type=Path, help="folder for the results; by default results/benchmarks")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda needs a GPU that PyTorch can see; here is none")
    torch.manual_seed(0)
    device = torch.device(options.device)
    results = {
        "machine": measure.machine(device),
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "method": METHOD,
        "cases": [measure_case(case, options.device, device, options.quick) for case in cases(device, options.quick)],
    }
    text = markdown(results)
    print(text)
    output = options.output or (None if options.quick else Path(__file__).parents[1] / "results" / "benchmarks")
    if output:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / f"spread_{options.device}.json", results)
        write_file(output / f"spread_{options.device}.md", text + "\n")


if __name__ == "__main__":
    main()
