"""What propagation.py measured, as a page of Markdown and as a picture."""

from pathlib import Path
from typing import Any

from measure import markdown_table

RIVALS = {
    "column_loop": "column loop",
    "launch_per_column": "launch per column",
    "launch_per_column_graph": "the same as one graph",
}


def markdown(results: dict[str, Any]) -> str:
    on_gpu = results["machine"]["device"] == "cuda"
    parts = [
        "# How fast `propagate` is" + (", tried out on tiny maps" if results["quick"] else ""),
        machine_in_words(results["machine"]) + f" Measured {results['date']}.",
        _copy_in_words(results["copy"]),
        "## Time",
        _speed_table(results["cases"], on_gpu),
        *([_small_table(results["cases"])] if on_gpu else []),
        "## Raw gates",
        "`propagate(x, raw, normalize=mode)` against gates that are ready; last, `normalize_gates` before it.",
        _normalization_table(results["normalization"]),
        "## Peak memory of forward + backward",
        _memory_table(results["cases"]),
        "## Time against the number of pixels",
        _linearity_in_words(results["linearity"]),
        "## First call, and torch.compile",
        _first_call_in_words(results["first_call"]),
        _torch_compile_in_words(results["torch_compile"]),
        "## How it was measured",
        "\n".join(f"- {sentence}" for sentence in [*results["method"], _correctness_in_words(results["correctness"])]),
    ]
    return "\n\n".join(parts)


def machine_in_words(machine: dict[str, Any]) -> str:
    host = f"{machine['processor']}, {machine['threads']} threads on {machine['cores']} cores"
    versions = [f"{name} {machine[name]}" for name in ("torch", "numba", "cupy", "cuda") if machine.get(name)]
    versions.append(f"Python {machine['python']}, {machine['system']}")
    device = f"{machine['gpu']}; host: {host}" if machine["device"] == "cuda" else host
    return f"{device}; last-level cache {machine['last_level_cache_MiB']:g} MiB; {', '.join(versions)}."


def _copy_in_words(copy: dict[str, Any]) -> str:
    low, high = copy["GB_per_s_quartiles"]
    return (
        f"Copy bandwidth: **{copy['GB_per_s']:.1f} GB/s** ({low:.1f} to {high:.1f}), reads plus writes, "
        f"{copy['tensor_bytes'] / 2**20:.0f} MiB; into freshly allocated memory "
        f"{copy['into_fresh_memory_GB_per_s']:.1f} GB/s."
    )


def _title(case: dict[str, Any]) -> list[str]:
    shape = "x".join(str(size) for size in case["shape"])
    return [shape, case["gates"], case["connection"], case["dtype"]]


def _time(summary: dict[str, float]) -> str:
    return f"{_digits(summary['median_ms'])} ({_digits(summary['low_ms'])} to {_digits(summary['high_ms'])})"


def _digits(value: float) -> str:
    """Three significant figures, without an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def _speed_table(cases: list[dict[str, Any]], on_gpu: bool) -> str:
    rivals = [name for name in RIVALS if on_gpu or name == "column_loop"]
    header = ["map (N, C, H, W)", "gates", "connection", "dtype", "pass", "ms", "floor ms", "times the floor", "GB/s"]
    header += ["share of copy on bytes moved"] if on_gpu else ["fair floor ms", "times it", "ms in cache"]
    header += [f"{RIVALS[name]} ms" for name in rivals]
    rows = []
    for case in cases:
        for row in case["passes"]:
            cells = [*_title(case), row["pass"], _time(row["spatialprop"]), _digits(row["floor_ms"])]
            cells += [_digits(row["times_floor"]), _digits(row["GB_per_s"])]
            if on_gpu:
                moved = row["moved_bytes"]
                share = f"{row['moved_share_of_copy']:.0%} of {_digits(moved / 1e6)} MB" if moved else ""
                if "backward_alone" in row:
                    share += f" (backward alone {row['backward_alone']['moved_share_of_copy']:.0%})"
                cells.append(share)
            else:
                cells += [_digits(row["fair_floor_ms"]), _digits(row["times_fair_floor"])]
                cells.append(_digits(row["in_cache"]["median_ms"]) if "in_cache" in row else "")
            for name in rivals:
                rival = row["rivals"].get(name, "")
                if rival is None:
                    cells.append("out of memory")
                else:
                    cells.append(rival and f"{_digits(rival['median_ms'])} ({_digits(rival['times_slower'])}x)")
            rows.append(cells)
    return markdown_table(header, rows)


def _normalization_table(rows: list[dict[str, Any]]) -> str:
    modes = ["clamp", "unit", "stochastic"]
    header = ["map (N, C, H, W)", "gates", "connection", "dtype", "pass", "ready ms", *modes, "clamp, before"]
    table = []
    for row in rows:
        ready = row["ready"]["median_ms"]
        ratios = [f"{row[name]['median_ms'] / ready:.2f}x" for name in [*modes, "before"]]
        table.append([*_title(row), row["pass"], _time(row["ready"]), *ratios])
    return markdown_table(header, table)


def _small_table(cases: list[dict[str, Any]]) -> str:
    header = ["map (N, C, H, W)", "gates", "connection", "dtype", "pass", "events", "graph replay"]
    header += ["graph replay, in cache", "waited for by the host"]
    rows = []
    for case in cases:
        for row in case["passes"]:
            if "small" in row:
                timed = [
                    row["spatialprop"],
                    *(row["small"][name] for name in ("graph", "graph_in_cache", "waited_for")),
                ]
                cells = [f"{summary['median_ms'] * 1e3:.1f}" for summary in timed]
                rows.append([*_title(case), row["pass"], *cells])
    return "Microseconds a call, where all of it fits in cache:\n\n" + markdown_table(header, rows)


def _memory_table(cases: list[dict[str, Any]]) -> str:
    header = ["map (N, C, H, W)", "gates", "connection", "dtype", "peak MiB", "floor MiB", "times the floor"]
    rows = []
    for case in cases:
        memory = case["memory"]
        peak = ["not known here"] * 3 if memory["peak_bytes"] is None else [f"{memory['peak_bytes'] / 2**20:.1f}"]
        cells = [*peak[:1], f"{memory['floor_bytes'] / 2**20:.1f}"]
        cells.append("" if memory["times_floor"] is None else f"{memory['times_floor']:.2f}")
        rows.append([*_title(case), *cells])
    return markdown_table(header, rows)


def _linearity_in_words(linearity: dict[str, Any]) -> str:
    sizes = sorted({row["size"] for row in linearity["rows"]})
    fits = [f"{fit['connection']}, {fit['pass']}: **{fit['exponent']:.2f}**" for fit in linearity["fits"]]
    return (
        f"({linearity['batch']}, {linearity['channels']}, S, S), {linearity['dtype']}, S from {sizes[0]} to "
        f"{sizes[-1]}; exponents by least squares through the logarithms (1 is linear): {'; '.join(fits)}."
    )


def _first_call_in_words(first: dict[str, Any]) -> str:
    def seconds(answer: dict[str, Any]) -> str:
        return " and ".join(f"{timed['first_call_s']:.2f} s ({name})" for name, timed in answer.items())

    cold = f"with nothing compiled yet {seconds(first['nothing_cached'])}; " if first["nothing_cached"] else ""
    return (
        f"First call in a fresh process, {', '.join(_title(first['case']))}: {cold}with compiled code cached on disk "
        f"{seconds(first['cached'])}."
    )


def _torch_compile_in_words(compiled: dict[str, Any]) -> str:
    def outcome(answer: dict[str, Any] | str) -> str:
        if isinstance(answer, str):
            return answer
        return f"{_time(answer)} ms after a first call of {answer['first_call_s']:.0f} s"

    passes = [f"{name}: {outcome(compiled[name])}" for name in ("forward", "forward + backward")]
    return f"The column loop under torch.compile, {', '.join(_title(compiled['case']))}: {'; '.join(passes)}."


def _correctness_in_words(correctness: dict[str, Any]) -> str:
    worst = max(correctness["largest_error_over_allowed"].values())
    return (
        f"Before anything was timed, outputs and gradients agreed with the naive form in float64 on "
        f"{correctness['small_cases']} small cases in four dtypes and on a part of each measured one; the largest "
        f"error was {max(worst, correctness['measured_cases_largest_error_over_allowed']):.0%} of what is allowed "
        f"(two roundings of the stored type plus thirty of the running state's)."
    )


def plot(results: dict[str, Any], path: Path) -> str:
    """Time against pixels beside the floor; returns what to tell the user."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot: matplotlib is missing (pip install spatialprop[benchmark])"
    linearity, machine = results["linearity"], results["machine"]
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    colours = {"three-way": "tab:blue", "one-way": "tab:orange"}
    for panel, name in zip(panels, ("forward", "forward + backward"), strict=True):
        for fit in [fit for fit in linearity["fits"] if fit["pass"] == name]:
            connection = fit["connection"]
            rows = [row for row in linearity["rows"] if row["pass"] == name and row["connection"] == connection]
            pixels, colour = [row["pixels"] for row in rows], colours[connection]
            label = f"{connection}: time ~ pixels$^{{{fit['exponent']:.2f}}}$"
            panel.plot(pixels, [row["median_ms"] for row in rows], "o-", color=colour, label=label)
            panel.fill_between(
                pixels, [row["low_ms"] for row in rows], [row["high_ms"] for row in rows], color=colour, alpha=0.2
            )
            floor = [row["floor_ms"] for row in rows]
            panel.plot(pixels, floor, "--", color=colour, alpha=0.8, label=f"{connection}: floor (memory copy)")
        panel.set(title=name, xscale="log", yscale="log", xlabel="pixels of a map, H x W (S x S)")
        sizes = sorted({(row["pixels"], row["size"]) for row in linearity["rows"]})
        panel.set_xticks([pixels for pixels, _ in sizes], [f"{size}²" for _, size in sizes])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.legend(fontsize=9, loc="upper left")
    panels[0].set_ylabel("milliseconds a call (median, quartiles shaded)")
    where = machine["gpu"] if machine["device"] == "cuda" else f"{machine['processor']}, {machine['threads']} threads"
    figure.suptitle(
        f"spatialprop.propagate on ({linearity['batch']}, {linearity['channels']}, S, S), {linearity['dtype']}, "
        f"four directions, max: {where}",
        fontsize=11,
    )
    beside = path.with_name(path.name + ".part")
    figure.savefig(beside, format="png", dpi=130)
    beside.replace(path)
    return f"saved {path.name}"
