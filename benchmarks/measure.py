"""What every benchmark here needs: a stopwatch, the machine's copy bandwidth, peak memory, a description in words."""

import importlib.metadata
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from spatialprop.ops.machine.threads import empty

Run = Callable[[int], object]  # called with the number of the round, so that it can take turns among input sets

MEBIBYTE = 2**20
QUICK_COPY = 16 * MEBIBYTE  # what a quick run copies


# The machine


def machine(device: torch.device) -> dict[str, object]:
    """Hardware and versions in words; nothing that names a host, a person or a place."""
    words = {
        "device": device.type,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "last_level_cache_MiB": last_level_cache(device) / MEBIBYTE,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": _version("numba"),
        "cupy": _version("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        words["gpu"] = properties.name
        words["gpu_memory_GiB"] = round(properties.total_memory / 2**30, 1)
        words["gpu_multiprocessors"] = properties.multi_processor_count
        words["cuda"] = torch.version.cuda
    else:
        words["huge_pages"] = _huge_pages()
    return words


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _huge_pages() -> str | None:
    """Whether fresh memory comes in large pages: it decides what a large output costs before a byte is written."""
    try:
        words = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().split()
    except OSError:
        return None
    return next((word.strip("[]") for word in words if word.startswith("[")), None)


def _version(*distributions: str) -> str | None:
    for name in distributions:
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def last_level_cache(device: torch.device) -> int:
    """Bytes; 32 MiB where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    units = {"K": 2**10, "M": 2**20}
    return max((int(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units), default=32 * MEBIBYTE)


def sets_beyond_cache(bytes_per_set: int, device: torch.device, quick: bool) -> int:
    """How many input sets to take turns among, so that none is still in cache when its turn comes again.

    A quick run, whose figures nobody reads, takes two.
    """
    return 2 if quick else math.ceil(4 * last_level_cache(device) / bytes_per_set)


# Time


class HostStopwatch:
    """Seconds that a call takes. What it returns is freed after the clock has stopped."""

    def __call__(self, run: Callable[[], object]) -> float:
        start = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - start
        del result
        return seconds


class DeviceStopwatch:
    """Seconds that a call takes on the GPU, between two events.

    A large copy goes ahead of each call: while the device is busy with it the host queues the call, so that a call
    of a few launches is not measured as the time Python needs to launch it. The copy also empties the cache.
    """

    def __init__(self, device: torch.device, copy: Callable[[], object]) -> None:
        self.device, self.copy = device, copy

    def __call__(self, run: Callable[[], object]) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(self.device)
        self.copy()
        start.record()
        result = run()
        end.record()
        end.synchronize()
        del result
        return start.elapsed_time(end) / 1e3


def interleave(
    contenders: dict[str, Run], stopwatch: Callable[[Callable[[], object]], float], seconds: float, most: int = 60
) -> dict[str, list[float]]:
    """Time the contenders in turns, so that whatever disturbs the machine disturbs all of them.

    Each gets about `seconds`, at most `most` runs and at least three. The very first run warms up and does not count,
    unless it alone takes longer than `seconds`: then it is the only one. Quick ones run several times a turn, and the
    first of those does not count: it finds the interpreter's own memory evicted by whoever ran before. Who runs out of
    GPU memory has no times.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    repeats, bursts, calls = dict.fromkeys(contenders, 0), dict.fromkeys(contenders, 1), dict.fromkeys(contenders, 0)

    def once(name: str) -> float:
        calls[name] += 1
        return stopwatch(lambda: contenders[name](calls[name]))

    for name in contenders:
        with suppress(torch.OutOfMemoryError):
            first = once(name)
            if first > seconds:
                times[name].append(first)
            else:
                steady = min(first, once(name))
                repeats[name] = min(most, max(3, int(seconds / steady)))
                bursts[name] = min(repeats[name], max(1, int(0.01 / steady)))
    while any(len(times[name]) < repeats[name] for name in contenders):
        for name in contenders:
            if len(times[name]) < repeats[name]:
                if bursts[name] > 1:
                    once(name)
                times[name] += [once(name) for _ in range(bursts[name])]
    return times


def summary(times: Sequence[float]) -> dict[str, float]:
    """Median, and the quartiles as the spread, in milliseconds."""
    low, median, high = (float(value) * 1e3 for value in np.percentile(times, [25, 50, 75]))
    return {"median_ms": median, "low_ms": low, "high_ms": high, "runs": len(times)}


def graph_replays(run: Run, calls: int, stopwatch: DeviceStopwatch, repeats: int = 15) -> list[float]:
    """Seconds per call when `calls` of them are one CUDA graph: device time without the gaps between launches."""
    side = torch.cuda.Stream(stopwatch.device)
    side.wait_stream(torch.cuda.current_stream(stopwatch.device))
    with torch.cuda.stream(side):  # compile and allocate outside the capture, as PyTorch asks
        for turn in range(3):
            run(turn)
    torch.cuda.current_stream(stopwatch.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        # Results are kept so that each call writes to memory of its own.
        results = [run(turn) for turn in range(calls)]
    times = [stopwatch(graph.replay) / calls for _ in range(repeats + 1)]
    del results
    return times[1:]


# The copy that everything is compared with


class Copy:
    """Copies one large tensor onto another: bytes read plus bytes written, over the time, is the bandwidth."""

    def __init__(self, device: torch.device, size: int | None = None) -> None:
        size = size or (2**31 if device.type == "cuda" else max(256 * MEBIBYTE, 8 * last_level_cache(device)))
        self.source = torch.empty(size // 4, device=device).uniform_()
        self.target = torch.empty_like(self.source)
        self.bytes = 2 * self.source.nbytes
        self()  # the first one pays for fresh pages

    def __call__(self, _turn: int = 0) -> None:
        self.target.copy_(self.source)

    def into_fresh_memory(self, _turn: int = 0) -> torch.Tensor:
        """On a CPU in huge pages, which is how the operators allocate."""
        if self.source.device.type == "cpu":
            return empty(self.source.shape, self.source.dtype).copy_(self.source)
        return self.source.clone()


# Memory


def peak_memory(prepare: Callable[[], Callable[[], object]], device: torch.device) -> int | None:
    """Bytes at the highest, from before `prepare` makes the inputs to after the run it returns.

    On a CPU it is the resident set's high-water mark, so only a fresh process gives a clean figure; None outside
    Linux. On a GPU it is what PyTorch's allocator handed out.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        run = prepare()
        torch.cuda.reset_peak_memory_stats(device)
        result = run()
        torch.cuda.synchronize(device)
        del result
        return torch.cuda.max_memory_allocated(device) - before
    before = _resident("VmRSS")
    if before is None:
        return None
    run = prepare()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # start the high-water mark again
    except OSError:
        return None
    result = run()
    peak = _resident("VmHWM")
    del result
    return None if peak is None else peak - before


def _resident(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith(field)]
    return sizes[0] if sizes else None


def alone(
    script: Path, request: dict[str, object], limit: float, environment: dict[str, str] | None = None
) -> tuple[dict[str, object], str]:
    """Run `script --alone REQUEST` in a fresh process; it answers with lines of JSON.

    Returns the lines joined, as far as they came, and what went wrong ("" if nothing): a request that outruns its
    limit keeps what it had answered by then.
    """
    child = subprocess.Popen(
        [sys.executable, str(script), "--alone", json.dumps(request)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        output, errors = child.communicate(timeout=limit)
        failure = "" if child.returncode == 0 else (errors.strip().splitlines() or ["no message"])[-1]
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # with the compilers that it may have started
        output, _ = child.communicate()
        failure = f"not done within {limit:.0f} s"
    answer: dict[str, object] = {}
    for line in output.splitlines():
        if line.startswith("{"):
            answer |= json.loads(line)
    return answer, failure


# Growth and files


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """p of time ~ size ** p, by least squares through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table with its first column aligned to the left and the others to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
