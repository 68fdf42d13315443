"""`spatialprop export`: a trained run as a file that the refiner loads, or that other programs run."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spatialprop.nn import RefinementNetwork


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="folder of a run that was trained with task=refine, or weights of a refiner")
    parser.add_argument(
        "--to", type=Path, required=True, help="mine.safetensors (from a run), mine.pt2 or mine.onnx (from either)"
    )
    parser.add_argument("--trust", action="store_true", help="let the run's config name any code")
    parser.add_argument("--description", default="", help="what it was trained on and how it scored, for .safetensors")


def run(options: argparse.Namespace) -> int:
    from spatialprop.refiner import Refiner, save_refiner

    trained = Path(options.source).is_dir()
    if options.to.suffix == ".safetensors":
        if not trained:
            raise ValueError(
                f"{options.source} is not the folder of a run; weights of a refiner are copied as they are"
            )
        save_refiner(_network_of(options), options.to, options.description)
    else:
        refiner = Refiner(_network_of(options)) if trained else Refiner.load(options.source)
        refiner.export(options.to)
    print(options.to)
    return 0


def _network_of(options: argparse.Namespace) -> "RefinementNetwork":
    from spatialprop.experiment.trained import load_run
    from spatialprop.nn import RefinementNetwork

    network = load_run(options.source, trust=options.trust).network
    if not isinstance(network, RefinementNetwork):
        raise ValueError(
            f"{options.source} did not train a refinement alone; a refiner comes from task=refine guidance=light"
        )
    return network
