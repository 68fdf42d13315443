"""Predict how long the CUDA kernels of `propagate` take, from the bytes they move and the steps they cannot overlap.

    python benchmarks/model.py                  an H200; needs no GPU, takes a second

The launches, tiles and grids are those that the CUDA backend plans. What they cost is counted by hand, with the
constants below, which nobody has measured yet: the first run of `benchmarks/propagation.py --device cuda` is there to
disagree.

Writes model.json and .md to results/benchmarks.
"""

import argparse
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import measure
import torch

from spatialprop.files import write_file, write_json
from spatialprop.ops.machine.cuda_launch import Gpu, Layout, Plan
from spatialprop.ops.propagation import cuda

H200 = Gpu(132, 227 << 10, 228 << 10)
DIRECTIONS, CONNECTION = (0, 1, 2, 3), 3


@dataclass(frozen=True)
class Costs:
    """What the model takes for granted."""

    bandwidth: float = 4.3e12  # bytes a second of a large copy: nine tenths of the 4.8e12 on the data sheet
    cache: int = 50 << 20  # L2; what a call moves beyond half of it comes from memory
    cache_bandwidth: float = 8e12
    clock: float = 1.8e9
    launch: float = 2.0e-6  # from the end of one kernel to the start of the next, in a queue or a graph
    start: float = 2.0e-6  # of the first
    latency: int = 350  # cycles until the first of a thread's loads is there, out of L2
    from_memory: int = 800  # the same where nobody asked L2 for it before
    line: int = 75  # cycles from line to line of a scan: shared memory, three sums, a barrier of four warps
    line_back: int = 105
    move: float = (
        0.06  # cycles of a multiprocessor for a number on its way into or out of a tile: some eight instructions
    )


@dataclass(frozen=True)
class Case:
    shape: tuple[int, int, int, int]
    groups: int
    dtype: torch.dtype

    @property
    def gates_shape(self) -> tuple[int, ...]:
        batch, _, height, width = self.shape
        return (batch, len(DIRECTIONS), CONNECTION, self.groups, height, width)

    @property
    def pixels(self) -> int:
        return math.prod(self.shape)

    @property
    def gates(self) -> int:
        return math.prod(self.gates_shape) * self.dtype.itemsize

    @property
    def stored(self) -> int:
        return self.pixels * self.dtype.itemsize

    @property
    def state(self) -> int:
        return self.pixels * max(4, self.dtype.itemsize)


CASES = [
    Case(shape, groups, dtype)
    for shape, groups in [
        ((16, 8, 1024, 1024), 8),
        ((16, 8, 1024, 1024), 1),
        ((1, 32, 64, 64), 32),
        ((1, 1, 1024, 1024), 1),
    ]
    for dtype in (torch.float32, torch.bfloat16)
]


def layout(shape: tuple[int, ...], dtype: torch.dtype) -> Layout:
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return Layout(shape, tuple(strides), dtype, aligned=True)


def plan(case: Case, backward: bool) -> Plan:
    x, gates = layout(case.shape, case.dtype), layout(case.gates_shape, case.dtype)
    if backward:
        return cuda.plan_backward(x, x, gates, DIRECTIONS, "max", None, True, True, H200)
    return cuda.plan_forward(x, gates, DIRECTIONS, "max", True, None, H200)


def bytes_of(kernel: str, case: Case, fused: bool, backward: bool) -> dict[str, int]:
    """Bytes that a kernel moves, gates that channels share counted once: the others find them in L2."""
    d = len(DIRECTIONS)
    shared = case.groups != case.shape[1]
    merging = {"merged so far": (2 * d - 2) * case.state, "result": case.stored} if fused else {"maps": d * case.state}
    if kernel == "propagate_forward":
        read = {"gates": case.gates, "x": d * case.stored}
        return read | ({"h": d * case.state} if backward else {**merging, "winner": case.pixels * fused})
    if kernel == "propagate_backward":
        again = {"gates": case.gates, "x": d * case.stored, "h written": d * case.state} if fused else {}
        ends = (
            {"dh": d * case.state}
            if shared
            else {"x again": d * case.stored, "h": d * case.state, "gradient of gates": case.gates}
        )
        read = {"gates again" if fused else "gates": case.gates, "upstream": d * case.stored, "winner": d * case.pixels}
        return again | read | ends | merging
    if kernel == "merge_maps":
        return {"maps": d * case.state, "result": case.stored, "winner": 0 if backward else case.pixels}
    return {"h, dh": 2 * d * case.state, "x": d * case.stored, "gradient of gates": case.gates}


def seconds_of(launch: object, case: Case, costs: Costs, moved: int, backward: bool, first: bool) -> dict[str, float]:
    """Time by what could bound a kernel: memory, the multiprocessors' work, the tiles that wait for each other."""
    everything = sum(bytes_of("propagate_forward", case, False, False).values())
    cached = everything < costs.cache / 2
    bounds = {"memory": moved / (costs.cache_bandwidth if cached and not first else costs.bandwidth)}
    if launch.kernel not in ("propagate_forward", "propagate_backward"):
        return bounds | {"work": 0.0, "chain": costs.from_memory / costs.clock}
    tiles = cuda.plan_tiles(case.shape, CONNECTION, case.dtype, DIRECTIONS, H200)
    fused = launch.grid[0] == case.shape[0] * case.shape[1]
    lean = tiles.leans
    work, chain = 0.0, 0.0
    # Registers let two blocks of the backward pass share a multiprocessor, shared memory three of the forward pass.
    resident = min(
        H200.shared_per_multiprocessor // (tiles.shared + 1024), 2 if launch.kernel == "propagate_backward" else 3
    )
    passes = (
        [False, True] if launch.kernel == "propagate_backward" and fused else [launch.kernel == "propagate_backward"]
    )
    for direction in DIRECTIONS:
        lines, length = (case.shape[3], case.shape[2]) if direction % 2 == 0 else (case.shape[2], case.shape[3])
        band, chunk = 1 << tiles.log2_band[direction % 2], 1 << tiles.log2_chunk[direction % 2]
        bands = tiles.bands[direction % 2]
        # Bands that lean cover `length + band` pixels of every line.
        count = math.ceil(lines / chunk) * (math.ceil((length + band) / band) if lean else bands)
        for back in passes:
            pieces = band * chunk // (16 // case.dtype.itemsize)
            rounds = math.ceil(pieces / tiles.threads)
            loads = math.ceil(rounds / (1 if back or case.dtype.itemsize == 2 else 2))
            latency = costs.from_memory if math.ceil(lines / chunk) == 1 else costs.latency
            scan = chunk * (costs.line_back if back else costs.line)
            numbers = band * chunk * (CONNECTION + 1) * (4 if back else 2)
            tile = loads * latency + scan + rounds * costs.latency
            busy = max(numbers * costs.move, tile / resident)
            work += busy * count * case.shape[0] * case.shape[1] / H200.multiprocessors
            # Along a walk, and a tile for each band on the way.
            chain += tile * (count if fused else math.ceil(lines / chunk) + (bands - 1) * lean) * (1 if fused else 0.25)
    return bounds | {"work": work / costs.clock, "chain": chain / costs.clock}


def predict(case: Case, backward: bool, costs: Costs) -> dict[str, object]:
    launches = plan(case, backward).launches
    fused = not any(launch.kernel == "merge_maps" for launch in launches)
    kernels, total = [], 0.0
    for i, launch in enumerate(launches):
        parts = bytes_of(launch.kernel, case, fused, backward)
        moved = sum(parts.values())
        bounds = seconds_of(launch, case, costs, moved, backward, first=i == 0)
        own = max(bounds.values())
        total += own + (costs.start if i == 0 else costs.launch)
        kernels.append({"kernel": launch.kernel, "bytes": parts, "moved": moved, "seconds": own, "bounds": bounds})
    floor = 2 * case.stored + case.gates if not backward else 3 * case.stored + 2 * case.gates
    return {
        "shape": list(case.shape),
        "gates": "shared" if case.groups == 1 and case.shape[1] > 1 else "per channel",
        "dtype": str(case.dtype).removeprefix("torch."),
        "pass": "backward alone" if backward else "forward",
        "fused": fused,
        "kernels": kernels,
        "moved": sum(kernel["moved"] for kernel in kernels),
        "seconds": total,
        "floor_seconds": floor / costs.bandwidth,
    }


def markdown(rows: list[dict[str, object]], costs: Costs) -> str:
    whole, parts = [], []
    for row in rows:
        title = ["x".join(map(str, row["shape"])), row["gates"], row["dtype"], row["pass"]]
        microseconds, floor = row["seconds"] * 1e6, row["floor_seconds"] * 1e6
        share = row["moved"] / costs.bandwidth / row["seconds"]
        plan_in_words = "fused" if row["fused"] else "split"
        figures = [
            f"{row['moved'] / 1e6:.0f}",
            f"**{microseconds:.0f}**",
            f"{floor:.0f}",
            f"{microseconds / floor:.2f}",
        ]
        whole.append([*title, plan_in_words, *figures, f"{share:.0%}"])
        for kernel in row["kernels"]:
            bounds = {name: f"{value * 1e6:.0f}" for name, value in kernel["bounds"].items()}
            listed = ", ".join(f"{name} {count / 1e6:.1f}" for name, count in kernel["bytes"].items() if count)
            parts.append([" ".join(title), kernel["kernel"], listed, *bounds.values()])
    header = ["map (N, C, H, W)", "gates", "dtype", "pass", "plan", "MB moved", "predicted µs", "floor µs"]
    return "\n\n".join(
        [
            "# What the CUDA kernels should take on an H200",
            "Predicted, not measured: no GPU was there. Three-way, four directions, maximum. The floor moves each "
            "input and each result once, at the copy's bandwidth; gates that channels share are counted once.",
            measure.markdown_table([*header, "times the floor", "share of copy on bytes moved"], whole),
            "## By kernel",
            "Megabytes, and microseconds by what could bound the kernel. The largest counts, and the launches between.",
            measure.markdown_table(["case", "kernel", "MB", "memory", "work", "chain"], parts),
            "## Constants",
            "\n".join(f"- {name}: {value:g}" for name, value in asdict(costs).items()),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results" / "benchmarks")
    options = parser.parse_args()
    costs = Costs()
    rows = [predict(case, backward, costs) for case in CASES for backward in (False, True)]
    text = markdown(rows, costs)
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "model.json", {"constants": asdict(costs), "rows": rows})
    write_file(options.output / "model.md", text + "\n")


if __name__ == "__main__":
    main()
