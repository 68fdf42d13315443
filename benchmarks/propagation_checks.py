"""Compare outputs and gradients of `propagate` with the naive form in float64, before anything is timed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product

import torch
from torch import Tensor

from spatialprop.ops import DIRECTIONS
from spatialprop.ops.propagation import naive

Operate = Callable[..., Tensor]  # spatialprop.propagate or a substitute

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
MERGES = ("max", "mean", "none")


class WrongResultError(Exception):
    pass


def allowed_error(dtype: torch.dtype) -> float:
    """Relative to the largest value: two roundings of what is stored, thirty of the running state."""
    state = torch.float64 if dtype == torch.float64 else torch.float32
    return 2 * torch.finfo(dtype).eps + 30 * torch.finfo(state).eps


def check_everywhere(operate: Operate, device: torch.device, quick: bool) -> dict[str, object]:
    """Small maps: the table of dtypes, connections, merges and groups, then shapes, strides, subsets and ties.

    Returns how many cases there were and, for each dtype, the largest error as a share of what is allowed.
    """
    worst: dict[str, float] = {}
    count = 0
    for dtype, options in _small_cases(quick):
        error = check(operate, device, dtype, **options)
        name = str(dtype).removeprefix("torch.")
        worst[name] = max(worst.get(name, 0.0), error)
        count += 1
    _check_ties(operate, device)
    _check_normalization(operate, device)
    if device.type == "cuda":
        _check_side_stream(operate, device)
        _check_graph(operate, device)
        for index in range(1, torch.cuda.device_count()):  # while the current device is another
            check(operate, torch.device("cuda", index), torch.float32, shape=(1, 2, 40, 300), connection=3, groups=2)
    return {"small_cases": count, "largest_error_over_allowed": worst}


def _small_cases(quick: bool) -> Iterator[tuple[torch.dtype, dict[str, object]]]:
    merges, groups = (("max",), (1, 4)) if quick else (MERGES, (1, 2, 4))
    for dtype, connection, merge, group in product(DTYPES, (1, 3), merges, groups):
        yield dtype, {"shape": (2, 4, 9, 7), "connection": connection, "merge": merge, "groups": group}
    yield torch.float32, {"shape": (2, 4, 17, 13), "connection": 3, "groups": 4, "odd_strides": True}
    yield torch.float32, {"shape": (2, 4, 17, 13), "connection": 3, "groups": 2, "directions": ("up", "left", "right")}
    if quick:
        return
    for dtype, connection in product(DTYPES, (1, 3)):
        yield dtype, {"shape": (2, 6, 33, 18), "connection": connection, "groups": 3, "odd_strides": True}
    for name in DIRECTIONS:
        yield torch.float32, {"shape": (1, 2, 12, 34), "connection": 3, "groups": 2, "directions": (name,)}
    for height, width in ((1, 1), (1, 300), (300, 1), (64, 64), (33, 65), (5, 1030), (1030, 5)):
        yield torch.float32, {"shape": (1, 2, height, width), "connection": 3, "groups": 2}
        yield torch.bfloat16, {"shape": (1, 2, height, width), "connection": 1, "groups": 1}


def check(
    operate: Operate,
    device: torch.device,
    dtype: torch.dtype,
    *,
    shape: tuple[int, int, int, int],
    connection: int,
    groups: int,
    merge: str = "max",
    directions: Sequence[str] = DIRECTIONS,
    odd_strides: bool = False,
    pieces: Sequence[tuple[int, int]] | None = None,
) -> float:
    """Compare one case, all of it or only `pieces`, each an (image, group of channels) to keep large maps quick.

    Returns the largest error as a share of what is allowed; raises WrongResultError above 1, where a second run
    differs in any bit, and where an input has been written to.
    """
    case = f"{tuple(shape)} K={connection} G={groups} {merge} {'/'.join(directions)} {dtype}"
    case += " with odd strides" if odd_strides else ""
    batch, channels, height, width = shape
    x = _random((batch, channels, height, width), dtype, device, odd_strides)
    gates = _random((batch, len(directions), connection, groups, height, width), dtype, device, odd_strides)
    gates = gates.div_(connection)
    out_shape = (batch, len(directions), *shape[1:]) if merge == "none" else shape
    grad = _random(out_shape, dtype, device, odd_strides)

    references = []
    for image, group in pieces if pieces is not None else [(slice(None), slice(None))]:
        cut = _Cut(image, group, channels // groups)
        exact_x = cut.map(x).double().requires_grad_()
        exact_gates = cut.gates(gates).double().requires_grad_()
        if merge == "max":
            cut.map(grad).mul_(_clear_winner(exact_x, exact_gates, directions, dtype))
        exact = naive.propagate(exact_x, exact_gates, directions, merge)
        grads = torch.autograd.grad(exact, (exact_x, exact_gates), cut.map(grad).double())
        references.append((cut, exact.detach(), *grads))

    before = None if pieces else (x.clone(), gates.clone(), grad.clone())
    out, grad_x, grad_gates = _run(operate, x, gates, grad, directions, merge)
    if before and not all(torch.equal(_bits(a), _bits(b)) for a, b in zip(before, (x, gates, grad), strict=True)):
        raise WrongResultError(f"an input was written to: {case}")
    again = _run(operate, x, gates, grad, directions, merge)
    if not all(torch.equal(_bits(one), _bits(two)) for one, two in zip((out, grad_x, grad_gates), again, strict=True)):
        raise WrongResultError(f"two runs differ: {case}")

    worst = 0.0
    for cut, exact, exact_grad_x, exact_grad_gates in references:
        for what, value, reference in (
            ("output", cut.map(out), exact),
            ("gradient of x", cut.map(grad_x), exact_grad_x),
            ("gradient of gates", cut.gates(grad_gates), exact_grad_gates),
        ):
            largest = max(reference.abs().max().item(), torch.finfo(torch.float32).tiny)
            error = (value.double() - reference).abs().max().item() / largest
            if not error <= allowed_error(dtype):  # NaN is not
                raise WrongResultError(f"{what} is off by {error:.1e}, allowed {allowed_error(dtype):.1e}: {case}")
            worst = max(worst, error / allowed_error(dtype))
    return worst


class _Cut:
    """One image and one group of gates with its channels; slices stand for all."""

    def __init__(self, image: int | slice, group: int | slice, channels_per_group: int) -> None:
        if isinstance(image, slice) or isinstance(group, slice):
            self.images, self.channels, self.groups = slice(None), slice(None), slice(None)
        else:
            self.images, self.groups = slice(image, image + 1), slice(group, group + 1)
            self.channels = slice(group * channels_per_group, (group + 1) * channels_per_group)

    def map(self, tensor: Tensor) -> Tensor:
        return tensor[self.images][..., self.channels, :, :]

    def gates(self, tensor: Tensor) -> Tensor:
        return tensor[self.images][..., self.groups, :, :]


def _random(shape: Sequence[int], dtype: torch.dtype, device: torch.device, odd_strides: bool) -> Tensor:
    """Uniform in [-1, 1]; with odd strides a view: dimensions stored backwards, every other column of a wider map."""
    if not odd_strides:
        return torch.empty(shape, dtype=dtype, device=device).uniform_(-1, 1)
    stored = torch.empty((2 * shape[-1] + 1, *shape[-2::-1]), dtype=dtype, device=device).uniform_(-1, 1)
    return stored.permute(*reversed(range(len(shape))))[..., 1::2]


def _clear_winner(x: Tensor, gates: Tensor, directions: Sequence[str], dtype: torch.dtype) -> Tensor:
    """Return 0 where two directions are within rounding of each other, since either may win there, else 1."""
    with torch.no_grad():
        maps = naive.propagate(x, gates, directions, "none")
    if maps.shape[1] == 1:
        return torch.ones_like(x, dtype=dtype)
    first, second = maps.topk(2, dim=1).values.unbind(1)
    state = torch.float64 if dtype == torch.float64 else torch.float32
    return (first - second > 100 * torch.finfo(state).eps * maps.abs().max()).to(dtype)


@contextmanager
def _poisoned_outputs() -> Iterator[None]:
    """Fill new tensors with NaN, so that an element that is never written shows."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def _run(
    operate: Operate, x: Tensor, gates: Tensor, grad: Tensor, directions: Sequence[str], merge: str
) -> tuple[Tensor, Tensor, Tensor]:
    x, gates = x.detach().requires_grad_(), gates.detach().requires_grad_()
    with _poisoned_outputs():
        out = operate(x, gates, directions=directions, merge=merge)
        grad_x, grad_gates = torch.autograd.grad(out, (x, gates), grad)
    return out.detach(), grad_x, grad_gates


def _bits(tensor: Tensor) -> Tensor:
    """View as integers, to compare NaN with NaN and tell 0 from -0."""
    return tensor.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()])


def _check_ties(operate: Operate, device: torch.device) -> None:
    """On a map of zeros every direction ties at every pixel: the first one gets the whole gradient."""
    directions = ("left", "down", "right")
    x = torch.zeros(1, 2, 9, 11, device=device)
    gates = _random((1, 3, 3, 2, 9, 11), torch.float32, device, odd_strides=False).div_(3)
    grad = torch.rand_like(x)
    _, grad_x, _ = _run(operate, x, gates, grad, directions, "max")
    _, alone, _ = _run(naive_operate, x, gates[:, :1], grad, directions[:1], "max")
    if not torch.allclose(grad_x, alone, rtol=1e-5, atol=1e-6):
        raise WrongResultError("where directions tie, the first one does not get the whole gradient")


def naive_operate(x: Tensor, gates: Tensor, *, directions: Sequence[str], merge: str) -> Tensor:
    return naive.propagate(x, gates, directions, merge)


def _check_normalization(operate: Operate, device: torch.device) -> None:
    """Compare raw gates, normalised in the kernels, with gates normalised before, in float64."""
    for mode, connection, groups in (
        ("clamp", 3, 4),
        ("clamp", 3, 1),
        ("unit", 3, 2),
        ("stochastic", 3, 2),
        ("tanh", 1, 4),
    ):
        x = _random((2, 4, 17, 24), torch.float32, device, odd_strides=False).requires_grad_()
        raw = _random((2, 4, connection, groups, 17, 24), torch.float32, device, odd_strides=False).requires_grad_()
        grad = torch.rand_like(x)
        out = operate(x, raw, normalize=mode, merge="mean")
        exact_x, exact_raw = (one.detach().double().requires_grad_() for one in (x, raw))
        exact = naive.propagate(exact_x, exact_raw, DIRECTIONS, "mean", mode)
        found = (out, *torch.autograd.grad(out, (x, raw), grad))
        truth = (exact, *torch.autograd.grad(exact, (exact_x, exact_raw), grad.double()))
        pairs = zip(found, truth, strict=True)
        if not all((one - two).abs().max() <= 1e-4 * two.abs().max() for one, two in pairs):
            raise WrongResultError(f"with normalize={mode!r}, K = {connection}, G = {groups} the result differs")


def _check_graph(operate: Operate, device: torch.device) -> None:
    """Capture both passes as a CUDA graph, and replay it on other numbers: maps of one tile, and leaning bands."""
    for shape in ((1, 8, 64, 64), (1, 1, 300, 520)):
        x = _random(shape, torch.float32, device, odd_strides=False).requires_grad_()
        gates = (
            _random((1, 4, 3, shape[1], *shape[2:]), torch.float32, device, odd_strides=False).div_(3).requires_grad_()
        )
        grad = torch.rand_like(x)

        def both(x: Tensor = x, gates: Tensor = gates, grad: Tensor = grad) -> tuple[Tensor, ...]:
            out = operate(x, gates)
            return out.detach(), *torch.autograd.grad(out, (x, gates), grad)

        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            both()
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = both()
        with torch.no_grad():
            x.mul_(-0.5)
            grad.add_(1)
        for _ in range(2):
            graph.replay()
        if not all(torch.equal(one, two) for one, two in zip(captured, both(), strict=True)):
            raise WrongResultError(f"a CUDA graph gives another result, {shape}")


def _check_side_stream(operate: Operate, device: torch.device) -> None:
    """Run on a user's stream where the inputs are ready late: a launch on another stream would read NaN."""
    x = _random((2, 8, 64, 64), torch.float32, device, odd_strides=False)
    gates = _random((2, 4, 3, 8, 64, 64), torch.float32, device, odd_strides=False).div_(3)
    expected = _run(operate, x, gates, torch.ones_like(x), DIRECTIONS, "max")
    late_x, late_gates = torch.full_like(x, torch.nan), torch.full_like(gates, torch.nan)
    busy = torch.ones(2**28, device=device)
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(5):
            busy.mul_(1.5)
        late_x.copy_(x)
        late_gates.copy_(gates)
        late = _run(operate, late_x, late_gates, torch.ones_like(x), DIRECTIONS, "max")
    side.synchronize()
    if not all(torch.equal(one, two) for one, two in zip(expected, late, strict=True)):
        raise WrongResultError("on a stream other than the default one the result differs")
