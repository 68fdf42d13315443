"""The refiner as an archive for programs without this package, or without its training side."""

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.files import write_beside
from spatialprop.nn.inference import Guidance, folded
from spatialprop.nn.propagation import SpatialPropagation
from spatialprop.nn.refinement import RefinementNetwork, as_probabilities, winning_classes
from spatialprop.nn.resize import first
from spatialprop.nn.trusting import TrustingNetwork, moved_shares
from spatialprop.ops.choosing import choose
from spatialprop.ops.propagation import naive

SUFFIXES = (".pt2", ".onnx")


class ExportedRefiner(nn.Module):
    """Image and coarse probabilities in, refined probabilities out, without tiles or checks.

    Args:
        network: Whose weights.
        standard: Scan with operators that ONNX knows, instead of this package's registered one.
        guidance: Give the guidance, too; see `Refiner.export`.
    """

    def __init__(self, network: RefinementNetwork | TrustingNetwork, *, standard: bool, guidance: bool = False) -> None:
        super().__init__()
        self.with_guidance = guidance
        self.network = folded(network)
        for one in self.network.modules():
            if isinstance(one, RefinementNetwork | TrustingNetwork):
                one.guidance.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
                if standard:
                    one.propagation.propagate = standard_propagation(one.propagation)  # type: ignore[method-assign, assignment]

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Probabilities (1, K, H, W) for `image` (1, 3, H, W) from 0 to 1 and `coarse` (1, K, h, w).

        As by default in `Refiner`, no class comes out that is nowhere the most likely one in the coarse map.
        """
        network, size = self.network, image.shape[-2:]
        allowed = winning_classes(coarse.argmax(dim=1), coarse.shape[1]).to(coarse.dtype)
        whole = F.interpolate(coarse, size, mode="bilinear")
        # The network pads where it must, which a graph for all sizes cannot decide: here it is padded always.
        # Nothing negative is divided: ONNX rounds that towards zero.
        cell, stride = network.coarsest_cell, network.stride
        missing = [(side + cell - 1) // cell * cell - side for side in size]
        image, padded = (F.pad(maps, (0, missing[1], 0, missing[0]), mode="replicate") for maps in (image, whole))
        cells = F.avg_pool2d(padded, stride)
        kept = cells * allowed[..., None, None]
        known = cells.sum(dim=1, keepdim=True)
        guidance = _look(network, image, padded * allowed[..., None, None], kept, known)
        counts = [(side + stride - 1) // stride for side in size]
        guidance = guidance.like([first(maps, counts) for maps in guidance.tensors()])
        refined = network.spread(first(kept, counts), first(known, counts), guidance)
        if guidance.choice is None:
            refined = F.interpolate(refined, size, mode="bilinear")
        else:
            own = first(padded, [stride * count for count in counts])
            refined = first(choose(refined, own, guidance.choice), size)
        shares = as_probabilities(refined, allowed)
        if not self.with_guidance:
            return shares
        return shares, torch.cat([maps.flatten(1, -3) for maps in guidance.tensors()], dim=1)


def _look(
    network: RefinementNetwork | TrustingNetwork, image: Tensor, whole: Tensor, cells: Tensor, known: Tensor
) -> Guidance:
    """The guidance, given the shares of classes that may come out, of pixels and of cells."""
    labels, described = whole.argmax(dim=1), network.describe(image, [cells])
    if isinstance(network, TrustingNetwork) and network.first is not None:
        guidance = _look(network.first, image, whole, cells, known)
        refined = network.first.spread(cells, known, guidance)
        assert guidance.choice is not None
        changed = choose(refined, whole, guidance.choice).argmax(dim=1)
        described = network.told(described, labels, changed, moved_shares(cells, refined), known)
    return network.look(image, labels, *described)


def export(network: RefinementNetwork | TrustingNetwork, path: Path, *, guidance: bool = False) -> None:
    """Write an archive, whole or not at all; see `Refiner.export`."""
    check_program(path)
    module = ExportedRefiner(copy.deepcopy(network).cpu(), standard=path.suffix == ".onnx", guidance=guidance).eval()
    # Odd sizes, and several windows each way, so that nothing which happens to hold here becomes part of the graph.
    cell = module.network.coarsest_cell
    image = torch.rand(1, 3, 2 * cell + 205, 3 * cell + 207)
    inputs = {"image": image, "coarse": torch.rand(1, 6, 11, 14).softmax(dim=1)}
    auto = torch.export.Dim.AUTO
    shapes = ({2: auto, 3: auto}, {1: auto, 2: auto, 3: auto})
    outputs = ["probabilities", "guidance"] if guidance else ["probabilities"]
    write_program(module, inputs, outputs, path, shapes)


def check_program(path: Path) -> None:
    """Refuse what is no name of an archive, or one whose writer is not installed."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"an archive is {' or '.join(SUFFIXES)}; got {path.name!r}")
    if path.suffix == ".onnx":
        try:
            import_module("onnxscript")
        except ImportError:
            raise ImportError("writing ONNX needs two more packages: pip install onnx onnxscript") from None


def write_program(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path, dynamic_shapes: Any = None
) -> None:
    """Write what a module computes from `inputs` as an archive, whole or not at all."""
    check_program(path)
    torch.compiler.reset()  # what it knows of an earlier export's sizes would become part of this one's scans
    with _quiet(), torch.no_grad():
        program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=dynamic_shapes)
        buffer = io.BytesIO()
        if path.suffix == ".pt2":
            torch.export.save(program, buffer)
        else:
            written = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=list(inputs), output_names=list(outputs)
            )
            assert written is not None
            buffer.write(written.model_proto.SerializeToString())
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(path) as file:
        file.write(buffer.getbuffer())


def standard_propagation(layer: SpatialPropagation) -> Callable[[Tensor, Sequence[Tensor]], Tensor]:
    """What `layer.propagate` does, in operators that ONNX knows."""

    def propagate(x: Tensor, gate_sets: Sequence[Tensor]) -> Tensor:
        for unit in range(layer.units):
            raw = gate_sets[unit % len(gate_sets)]
            x = naive.propagate(x, raw, layer.directions, layer.merge, layer.normalization, _scan_loop)
        return x

    return propagate


def _scan_loop(step: Callable[..., Tensor], first: Tensor, x: Tensor, gates: Tensor) -> Tensor:
    """Do what the loop of a scan does, as one loop of the graph for any number of lines.

    PyTorch 2.13 has no public loop that keeps what every step gives: `torch.while_loop` hands on its last state alone,
    so each step would copy the whole map. Where this private one is gone, writing .onnx fails, and nothing else.
    """
    from torch._higher_order_ops.scan import scan

    def body(line: Tensor, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        line = step(line, *inputs)
        return line, line.clone()

    _, lines = scan(body, first, (x[..., 1:].movedim(-1, 0), gates[..., 1:].movedim(-1, 0)))
    return torch.cat([first.unsqueeze(-1), lines.movedim(0, -1)], dim=-1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings about other packages and its own future."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
