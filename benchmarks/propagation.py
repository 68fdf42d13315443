"""Measure `propagate` against the limit that memory sets, and against what a user could write instead.

    python benchmarks/propagation.py                    about 8 minutes on two cores
    python benchmarks/propagation.py --device cuda      about 6 minutes
    python benchmarks/propagation.py --quick            half a minute: checks the benchmark itself

Every run first compares outputs and gradients with the naive form in float64 and stops if one is wrong. Then it writes
propagation_<device>.json, .md and .png to results/benchmarks. The README.md next to this file says how to read them.
"""

import argparse
import datetime
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

import measure
import propagation_report
import rivals
import torch
from measure import Copy, DeviceStopwatch, HostStopwatch, Run
from propagation_cases import CONNECTIONS, Case, Inputs, bytes_moved, cases, describe, fuses_directions, make_inputs
from propagation_checks import DTYPES, WrongResultError, check, check_everywhere
from torch import Tensor

from spatialprop import normalize_gates, propagate
from spatialprop.files import write_file, write_json
from spatialprop.ops.machine.cuda_launch import read_source
from spatialprop.ops.propagation import cuda

PASSES = ("forward", "forward + backward")

METHOD = [
    "Four directions, merge by maximum. Medians, with the quartiles in brackets; warmed up; spatialprop, the copy and "
    "its rivals take turns. Calls under 10 ms run several times a turn, and the first of those does not count. What "
    "takes longer than all turns should together runs once.",
    "The floor is the time in which the machine copies as many bytes as the operator must move: each input read once "
    "and each output written once, x + gates + out for forward, and grad_out + x + gates + grad_x + grad_gates more "
    "for backward. The copy is torch's copy_ of one large tensor onto another that was written before, bytes read plus "
    "bytes written, timed between the runs of each row.",
    "Calls take turns among enough inputs that none is still in the last-level cache; 'in cache' repeats one input "
    "that fits. Freeing a result is not timed; allocating it is.",
    "Column loop: the same equations line by line in plain PyTorch with autograd.",
]
METHOD_CPU = [
    "The fair floor counts what it costs to write results into memory fresh from the system, as every call does: for "
    "the bytes of results, the copy is one onto a tensor that was just allocated, in huge pages as the operator's own "
    "results are.",
    "Peak memory is the resident set's highest mark in a fresh process, inputs included, for forward + backward.",
]
METHOD_GPU = [
    "Times are between two events on the device, queued behind a large copy so that the host is never the bottleneck.",
    "Launch per column: a kernel as the old implementations had it, one launch a line, one thread for each (n, c, "
    "pixel of the line). 'As one graph' replays all its launches as a CUDA graph, its best case.",
    "Peak memory is what PyTorch's allocator handed out, inputs included, for forward + backward.",
]


# What is timed


def forward(operate: Callable[..., Tensor], inputs: Inputs) -> Tensor:
    with torch.no_grad():
        return operate(inputs.x, inputs.gates)


def forward_backward(operate: Callable[..., Tensor], inputs: Inputs) -> tuple[Tensor, ...]:
    out = operate(inputs.x, inputs.gates)
    return out, *torch.autograd.grad(out, (inputs.x, inputs.gates), inputs.grad)


def per_column(launch: rivals.Launch, inputs: list[Inputs], backward: bool) -> Run:
    """Run the old kernels; they take the gates as one tensor per direction, which is made beforehand."""
    blocks = [[block.detach().clone().requires_grad_() for block in one.gates.unbind(1)] for one in inputs]

    def run(turn: int) -> object:
        one, gates = inputs[turn % len(inputs)], blocks[turn % len(inputs)]
        with torch.set_grad_enabled(backward):
            out = rivals.launch_per_column(one.x, gates, launch)
        return (out, *torch.autograd.grad(out, (one.x, *gates), one.grad)) if backward else out

    return run


# Measuring


class Bench:
    """Everything that stays the same from case to case."""

    def __init__(self, device: torch.device, quick: bool) -> None:
        self.device, self.quick = device, quick
        self.copy = Copy(device, measure.QUICK_COPY if quick else None)
        self.stopwatch = DeviceStopwatch(device, self.copy) if device.type == "cuda" else HostStopwatch()
        self.seconds = 0.05 if quick else 0.7 if device.type == "cuda" else 1.5
        self.launch = rivals.gpu_launch() if device.type == "cuda" else None
        self.fresh = 0.0  # bytes a second of a copy into fresh memory, where that is what results are written to

    def in_turns(self, case: Case, backward: bool) -> tuple[Callable[[Callable[..., Tensor]], Run], list[Inputs]]:
        """Return what makes runs of an operator, and its inputs: too many for any to stay in cache until its turn."""
        step = forward_backward if backward else forward
        sets = measure.sets_beyond_cache(case.map_bytes + case.gates_bytes, self.device, self.quick)
        inputs = [make_inputs(case, self.device) for _ in range(sets)]

        def run(operate: Callable[..., Tensor]) -> Run:
            return lambda turn: step(operate, inputs[turn % sets])

        return run, inputs

    def measure_pass(self, case: Case, backward: bool) -> dict[str, object]:
        run, inputs = self.in_turns(case, backward)
        contenders: dict[str, Run] = {"copy": self.copy, "spatialprop": run(propagate)}
        if case.dtype == "float32":  # the only type that all rivals have
            contenders["column_loop"] = run(rivals.column_loop)
            if self.launch:
                contenders["launch_per_column"] = per_column(self.launch, inputs, backward)
        times = measure.interleave(contenders, self.stopwatch, self.seconds)
        own, copy = measure.summary(times.pop("spatialprop")), measure.summary(times.pop("copy"))

        bandwidth = self.copy.bytes / copy["median_ms"] * 1e3  # bytes per second
        floor_bytes = case.floor_bytes(backward)
        floor_ms = floor_bytes / bandwidth * 1e3
        row: dict[str, object] = {
            "pass": PASSES[backward],
            "input_sets": len(inputs),
            "spatialprop": own,
            "copy_GB_per_s": bandwidth / 1e9,
            "floor_bytes": floor_bytes,
            "floor_ms": floor_ms,
            "times_floor": own["median_ms"] / floor_ms,
            "GB_per_s": floor_bytes / own["median_ms"] / 1e6,
        }
        if self.fresh:
            written = case.result_bytes(backward)
            row["fair_floor_ms"] = 2 * written / self.fresh * 1e3 + (floor_bytes - 2 * written) / bandwidth * 1e3
            row["times_fair_floor"] = own["median_ms"] / row["fair_floor_ms"]
        fits = 2 * case.floor_bytes(backward) < measure.last_level_cache(self.device)
        if self.device.type == "cuda":
            moved = bytes_moved(case, backward, fuses_directions(case, self.device))
            row["moved_bytes"] = moved
            row["moved_share_of_copy"] = moved and moved / own["median_ms"] * 1e3 / bandwidth
            if times.get("launch_per_column"):
                times["launch_per_column_graph"] = measure.graph_replays(
                    contenders["launch_per_column"], 1, self.stopwatch, repeats=5
                )
            if fits:
                row["small"] = self.measure_small(run(propagate), len(inputs))
        elif fits:
            again = run(propagate)
            times_in_cache = measure.interleave({"": lambda _: again(0)}, self.stopwatch, self.seconds)[""]
            row["in_cache"] = measure.summary(times_in_cache)
        row["rivals"] = {
            name: {**measure.summary(taken), "times_slower": measure.summary(taken)["median_ms"] / own["median_ms"]}
            if taken
            else None  # out of memory
            for name, taken in times.items()
        }
        return row

    def measure_small(self, run: Run, inputs: int) -> dict[str, object]:
        """Time a layer that takes microseconds: on the device alone, and for a caller that waits for each call."""

        def waited(turn: int) -> None:
            run(turn)
            torch.cuda.synchronize(self.device)

        replays = {
            "graph": measure.graph_replays(run, inputs, self.stopwatch),
            "graph_in_cache": measure.graph_replays(lambda _: run(0), inputs, self.stopwatch),
            "waited_for": measure.interleave({"": waited}, HostStopwatch(), self.seconds)[""],
        }
        return {name: measure.summary(times) for name, times in replays.items()}

    def normalization(self) -> list[dict[str, object]]:
        """Time raw gates normalised in the kernels, and before them, against gates that are ready."""
        shapes = [(1, 4, 24, 20)] if self.quick else [(1, 32, 128, 128), (8, 32, 64, 64), (1, 32, 512, 512)]
        operators = {"ready": propagate, "before": lambda x, raw: propagate(x, normalize_gates(raw))}
        operators |= {mode: partial(propagate, normalize=mode) for mode in ("clamp", "unit", "stochastic")}
        rows = []
        for shape, (backward, name) in product(shapes, enumerate(PASSES)):
            case = Case(shape, shape[1], "three-way")
            run, _ = self.in_turns(case, bool(backward))
            contenders = {operator: run(operate) for operator, operate in operators.items()}
            times = measure.interleave(contenders, self.stopwatch, self.seconds)
            rows.append(
                {
                    **describe(case),
                    "pass": name,
                    **{operator: measure.summary(taken) for operator, taken in times.items()},
                }
            )
        return rows

    def peak_memory(self, case: Case) -> int | None:
        if self.device.type == "cuda":
            return memory_of(case, self.device)
        return answer_from({"what": "memory", "case": asdict(case)})["peak_bytes"]

    def first_call(self, case: Case) -> dict[str, object]:
        """Time the first call of a fresh process, without cached code and then with it."""
        request = {"what": "first call", "case": asdict(case), "device": self.device.type}
        if self.quick:  # compiling takes long: the caches as they are
            return {"case": describe(case), "nothing_cached": None, "cached": answer_from(request)}
        with tempfile.TemporaryDirectory() as caches:
            environment = {"NUMBA_CACHE_DIR": caches, "CUPY_CACHE_DIR": caches}
            cold, cached = answer_from(request, environment), answer_from(request, environment)
        return {"case": describe(case), "nothing_cached": cold, "cached": cached}

    def torch_compile(self, case: Case) -> dict[str, object]:
        """Time the column loop under torch.compile, in a process of its own because it may never end."""
        limit = 1 if self.quick else 60 if self.device.type == "cpu" else 30
        request = {"what": "torch.compile", "case": asdict(case), "device": self.device.type}
        answer, failure = measure.alone(Path(__file__), request, limit)
        failure = failure.replace("not done", "does not compile")
        return {"case": describe(case), "limit_s": limit, **{name: answer.get(name, failure) for name in PASSES}}

    def linearity(self) -> dict[str, object]:
        """Measure how time grows with the number of pixels."""
        sizes = [16, 32, 48] if self.quick else [64, 128, 256, 512, 1024, 2048]
        batch, channels = (16, 8) if self.device.type == "cuda" and not self.quick else (1, 8)
        rows, copies = [], []
        for size in sizes:
            for connection in CONNECTIONS:
                case = Case((batch, channels, size, size), channels, connection)
                if 2 * case.memory_floor_bytes > free_memory(self.device):
                    continue
                for backward, name in enumerate(PASSES):
                    run, _ = self.in_turns(case, bool(backward))
                    times = measure.interleave(
                        {"copy": self.copy, "own": run(propagate)}, self.stopwatch, self.seconds / 2
                    )
                    copies += times["copy"]
                    row = {"size": size, "pixels": size * size, "connection": connection, "pass": name}
                    rows.append(
                        {**row, **measure.summary(times["own"]), "floor_bytes": case.floor_bytes(bool(backward))}
                    )
        copy = measure.summary(copies)["median_ms"]
        for row in rows:
            row["floor_ms"] = copy * row["floor_bytes"] / self.copy.bytes
        fits = []
        for connection, name in product(CONNECTIONS, PASSES):
            chosen = [row for row in rows if row["connection"] == connection and row["pass"] == name]
            power = measure.exponent([row["pixels"] for row in chosen], [row["median_ms"] for row in chosen])
            fits.append({"connection": connection, "pass": name, "exponent": power})
        return {"batch": batch, "channels": channels, "dtype": "float32", "rows": rows, "fits": fits}

    def copy_bandwidth(self) -> dict[str, object]:
        contenders = {"copy": self.copy, "fresh": self.copy.into_fresh_memory}
        times = measure.interleave(contenders, self.stopwatch, 4 * self.seconds, most=30)
        copies = {name: measure.summary(taken) for name, taken in times.items()}
        if self.device.type == "cpu":
            self.fresh = self.copy.bytes / copies["fresh"]["median_ms"] * 1e3
        return {
            "tensor_bytes": self.copy.bytes // 2,
            "GB_per_s": self.copy.bytes / copies["copy"]["median_ms"] / 1e6,
            "GB_per_s_quartiles": [self.copy.bytes / copies["copy"][end] / 1e6 for end in ("high_ms", "low_ms")],
            "into_fresh_memory_GB_per_s": self.copy.bytes / copies["fresh"]["median_ms"] / 1e6,
            "runs": copies["copy"]["runs"],
        }


def free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.empty_cache()  # memory that PyTorch caches is free too
        return torch.cuda.mem_get_info(device)[0]
    with suppress(OSError):  # memory of file caches is free too
        lines = Path("/proc/meminfo").read_text().splitlines()
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")) or 8 << 30
    return 8 << 30


def memory_of(case: Case, device: torch.device) -> int | None:
    """Measure peak bytes of forward + backward, after a small map of the same kind has compiled the kernels."""
    small = Case((1, case.shape[1], 8, 8), case.groups, case.connection, case.dtype)
    forward_backward(propagate, make_inputs(small, device))

    def prepare() -> Callable[[], object]:
        inputs = make_inputs(case, device)
        return lambda: forward_backward(propagate, inputs)

    return measure.peak_memory(prepare, device)


def answer_from(request: dict[str, object], environment: dict[str, str] | None = None) -> dict[str, object]:
    answer, failure = measure.alone(Path(__file__), request, 300, environment)
    if failure:
        raise RuntimeError(f"{request['what']} could not be measured: {failure}")
    return answer


def answer_alone(request: dict[str, object]) -> None:
    """Make the measurement that needs a process of its own, and print lines of JSON."""
    case = Case(**{**request["case"], "shape": tuple(request["case"]["shape"])})
    if request["what"] == "memory":
        print(json.dumps({"peak_bytes": memory_of(case, torch.device("cpu"))}))
        return
    device = torch.device(request["device"])
    inputs = make_inputs(case, device)
    operate = propagate if request["what"] == "first call" else rivals.compiled_column_loop()
    for name, step in zip(PASSES, (forward, forward_backward), strict=True):
        start = time.perf_counter()
        step(operate, inputs)
        if device.type == "cuda":
            torch.cuda.synchronize()
        answer = {"first_call_s": time.perf_counter() - start}
        if request["what"] == "torch.compile":
            stopwatch = DeviceStopwatch(device, Copy(device)) if device.type == "cuda" else HostStopwatch()
            times = measure.interleave({"": lambda _, step=step: step(operate, inputs)}, stopwatch, 2.0)
            answer |= measure.summary(times[""])
        print(json.dumps({name: answer}), flush=True)


# The whole


def compile_together(device: torch.device) -> None:
    """Compile every kernel that the checks and cases need, on all cores: CuPy keeps them on disk."""
    import cupy

    kinds = [(dtype, connection, None) for dtype in DTYPES for connection in CONNECTIONS.values()]
    modes = (("clamp", 3), ("unit", 3), ("stochastic", 3), ("tanh", 1))
    kinds += [(torch.float32, connection, mode) for mode, connection in modes]

    def build(kind: tuple[torch.dtype, int, str | None], piece: int) -> None:
        dtype, connection, mode = kind
        options = cuda.compile_options(dtype, connection, False, mode, piece)
        with cupy.cuda.Device(device.index or 0):
            cupy.RawModule(code=read_source(cuda.SOURCE), options=options).compile()

    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(build, kind, piece) for kind in kinds for piece in (1, 16 // kind[0].itemsize)]
    for job in jobs:
        job.result()


def check_case(case: Case, device: torch.device) -> float:
    """The first and the last channel of a large map are enough: the operator keeps channels apart."""
    pieces = {(0, 0), (case.shape[0] - 1, case.groups - 1)}
    return check(
        propagate,
        device,
        case.torch_dtype,
        shape=case.shape,
        connection=CONNECTIONS[case.connection],
        groups=case.groups,
        pieces=sorted(pieces),
    )


def backward_alone(forward: dict[str, object], both: dict[str, object]) -> dict[str, float]:
    """The difference of the two medians, and the share of the copy bandwidth at which it moves its bytes."""
    milliseconds = both["spatialprop"]["median_ms"] - forward["spatialprop"]["median_ms"]
    moved = both["moved_bytes"] - forward["moved_bytes"]
    return {"ms": milliseconds, "moved_share_of_copy": moved / milliseconds / 1e6 / both["copy_GB_per_s"]}


def run(device: torch.device, quick: bool, say: Callable[[str], None]) -> dict[str, object]:
    torch.manual_seed(0)
    if device.type == "cuda":
        say("compiling the kernels")
        compile_together(device)
    say("checking against float64 naive")
    correctness = check_everywhere(propagate, device, quick)
    chosen = cases(device, quick)
    errors = [check_case(case, device) for case in chosen]
    correctness["measured_cases_largest_error_over_allowed"] = max(errors)

    bench = Bench(device, quick)
    say("copy bandwidth")
    results = {
        "machine": measure.machine(device),
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "quick": quick,
        "method": METHOD + (METHOD_GPU if device.type == "cuda" else METHOD_CPU),
        "correctness": correctness,
        "copy": bench.copy_bandwidth(),
    }
    rows = []
    for case in chosen:
        say(f"{case.shape}, {case.connection}, {case.dtype}")
        passes = [bench.measure_pass(case, backward) for backward in (False, True)]
        if passes[1].get("moved_bytes"):
            passes[1]["backward_alone"] = backward_alone(*passes)
        peak, floor = bench.peak_memory(case), case.memory_floor_bytes
        memory = {"peak_bytes": peak, "floor_bytes": floor, "times_floor": peak and peak / floor}
        rows.append({**describe(case), "passes": passes, "memory": memory})
    results["cases"] = rows
    say("normalisation")
    results["normalization"] = bench.normalization()
    say("time against pixels")
    results["linearity"] = bench.linearity()
    say("first call")
    results["first_call"] = bench.first_call(chosen[0])
    say("torch.compile")
    results["torch_compile"] = bench.torch_compile(chosen[0])
    return results


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny maps; writes nothing unless --output is given")
    parser.add_argument("--output", type=Path, help="folder for the results; by default results/benchmarks")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.alone:
        answer_alone(json.loads(options.alone))
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda needs a GPU that PyTorch can see; here is none")
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - started:4.0f} s] {what}", file=sys.stderr, flush=True)

    try:
        results = run(torch.device(options.device), options.quick, say)
    except WrongResultError as error:
        sys.exit(f"propagate is wrong, so nothing was measured: {error}")
    text = propagation_report.markdown(results)
    print(text)
    output = options.output or (None if options.quick else Path(__file__).parents[1] / "results" / "benchmarks")
    if output:
        output.mkdir(parents=True, exist_ok=True)
        name = f"propagation_{options.device}"
        write_json(output / f"{name}.json", results)
        write_file(output / f"{name}.md", text + "\n")
        say(propagation_report.plot(results, output / f"{name}.png"))


if __name__ == "__main__":
    main()
