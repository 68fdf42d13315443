"""`spatialprop export`: a trained run as a file that the refiner loads, or that other programs run."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spatialprop.nn import RefinementNetwork, ValueNetwork


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="folder of a run of task=refine, matte or colorize, or weights of a refiner")
    parser.add_argument(
        "--to", type=Path, required=True, help="mine.safetensors (from a run), mine.pt2 or mine.onnx (from either)"
    )
    parser.add_argument("--trust", action="store_true", help="let the run's config name any code")
    parser.add_argument("--description", default="", help="what it was trained on and how it scored, for .safetensors")


def run(options: argparse.Namespace) -> int:
    from spatialprop.nn import ValueNetwork
    from spatialprop.refiner import Refiner, save_refiner
    from spatialprop.values import save_values

    trained = Path(options.source).is_dir()
    if options.to.suffix == ".safetensors":
        if not trained:
            raise ValueError(
                f"{options.source} is not the folder of a run; weights of a refiner are copied as they are"
            )
        network = _network_of(options)
        if isinstance(network, ValueNetwork):
            save_values(network, options.to, options.description)
        else:
            save_refiner(network, options.to, options.description)
    else:
        exported = _network_of(options) if trained else Refiner.load(options.source).network
        if isinstance(exported, ValueNetwork):
            raise ValueError(f"networks for mattes and colours are kept as .safetensors alone; got {options.to}")
        Refiner(exported).export(options.to)
    print(options.to)
    return 0


def _network_of(options: argparse.Namespace) -> "RefinementNetwork | ValueNetwork":
    from spatialprop.experiment.trained import load_run
    from spatialprop.nn import RefinementNetwork, ValueNetwork

    network = load_run(options.source, trust=options.trust).network
    if not isinstance(network, RefinementNetwork | ValueNetwork):
        raise ValueError(
            f"{options.source} did not train a refinement alone; a refiner comes from task=refine guidance=light"
        )
    return network
