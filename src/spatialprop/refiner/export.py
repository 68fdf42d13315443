"""The refiner as an archive for programs without this package, or without its training side."""

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.files import write_beside
from spatialprop.nn.refinement import RefinementNetwork, as_probabilities, hint_maps, winning_classes
from spatialprop.ops.propagation import naive
from spatialprop.refiner.tiles import coarsest_cell, folded

SUFFIXES = (".pt2", ".onnx")


class ExportedRefiner(nn.Module):
    """Image and coarse probabilities in, refined probabilities out, without tiles or checks.

    Args:
        network: Whose weights.
        standard: Scan with operators that ONNX knows, instead of this package's registered one.
    """

    def __init__(self, network: RefinementNetwork, *, standard: bool) -> None:
        super().__init__()
        self.guidance = folded(network.guidance).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.layer = network.propagation
        self.hints = network.hints
        self.stride = int(network.guidance.stride)  # type: ignore[arg-type]
        self.cell = coarsest_cell(network.guidance)
        self.standard = standard

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Probabilities (1, K, H, W) for `image` (1, 3, H, W) from 0 to 1 and `coarse` (1, K, h, w).

        As by default in `Refiner`, no class comes out that is nowhere the most likely one in the coarse map.
        """
        height, width = image.shape[-2:]
        allowed = winning_classes(coarse.argmax(dim=1), coarse.shape[1]).to(coarse.dtype)

        # The network pads where it must, which a graph for all sizes cannot decide: here it is padded always.
        # Nothing negative is divided: ONNX rounds that towards zero.
        rows, columns = ((side + self.cell - 1) // self.cell * self.cell for side in (height, width))
        cells = ((height + self.stride - 1) // self.stride, (width + self.stride - 1) // self.stride)
        whole = F.interpolate(coarse, (height, width), mode="bilinear")
        x = F.interpolate(whole, cells, mode="bilinear", antialias=True) if self.stride > 1 else whole
        shown = image
        if self.hints:
            hints = F.interpolate(hint_maps([x], self.hints), (height, width), mode="bilinear")
            shown = torch.cat([image, hints], dim=1)
        padded = F.pad(shown, (0, columns - width, 0, rows - height), mode="replicate")
        # Not cut by slices: their strides depend on the size, which a graph for all sizes must not.
        guidance = self.guidance(padded)
        for axis, count in zip((2, 3), cells, strict=True):
            guidance = guidance.index_select(axis, torch.arange(count, device=image.device))
        gates = self.layer.gates(guidance)
        if self.standard:
            layer = self.layer
            for unit in range(layer.units):
                raw = gates[unit % len(gates)]
                x = naive.propagate(x, raw, layer.directions, layer.merge, layer.normalization, _scan_loop)
        else:
            x = self.layer.propagate(x, gates)
        return as_probabilities(F.interpolate(x, (height, width), mode="bilinear"), allowed)


def export(network: RefinementNetwork, path: Path) -> None:
    """Write an archive, whole or not at all; see `Refiner.export`."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"an archive is {' or '.join(SUFFIXES)}; got {path.name!r}")
    if path.suffix == ".onnx":
        try:
            import_module("onnxscript")
        except ImportError:
            raise ImportError("writing ONNX needs two more packages: pip install onnx onnxscript") from None
    module = ExportedRefiner(copy.deepcopy(network).cpu(), standard=path.suffix == ".onnx").eval()
    # Odd sizes, so that nothing which happens to hold for round ones becomes part of the graph.
    image = torch.rand(1, 3, 2 * module.cell + 5, 3 * module.cell + 7)
    inputs = (image, torch.rand(1, 6, 11, 14).softmax(dim=1))
    auto = torch.export.Dim.AUTO
    shapes = ({2: auto, 3: auto}, {1: auto, 2: auto, 3: auto})
    with _quiet(), torch.no_grad():
        program = torch.export.export(module, inputs, dynamic_shapes=shapes)
        buffer = io.BytesIO()
        if path.suffix == ".pt2":
            torch.export.save(program, buffer)
        else:
            written = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["image", "coarse"], output_names=["probabilities"]
            )
            assert written is not None
            buffer.write(written.model_proto.SerializeToString())
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(path) as file:
        file.write(buffer.getbuffer())


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
