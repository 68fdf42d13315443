"""`spatialprop export`: a trained run as a program, or as a file that the refiner loads."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spatialprop.nn import RefinementNetwork, ValueNetwork
    from spatialprop.tasks import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a run's folder, or weights of a refiner")
    parser.add_argument(
        "--to",
        type=Path,
        help="program.pt2 or program.onnx: of a run, image in and labels out; of weights, image and coarse map in. "
        "Or mine.safetensors: the weights of a run of task=refine, for the refiner, or of matte or colorize. "
        "Default: RUN/program.pt2",
    )
    parser.add_argument(
        "--size", metavar="HxW", help="of the images that a run's program takes; default: that of its test images"
    )
    parser.add_argument(
        "--coarse", action="store_true", help="let the program of a run take a coarse map beside the image, of any size"
    )
    parser.add_argument("--trust", action="store_true", help="let the run's config name any code")
    parser.add_argument("--description", default="", help="what it was trained on and how it scored, for .safetensors")


def run(options: argparse.Namespace) -> int:
    from spatialprop.nn import ValueNetwork
    from spatialprop.refiner import Refiner, save_refiner
    from spatialprop.values import save_values

    trained = Path(options.source).is_dir()
    if options.to is None and not trained:
        raise ValueError(f"{options.source} is not the folder of a run: say where to, such as --to refiner.onnx")
    to = Path(options.source, "program.pt2") if options.to is None else options.to
    if to.suffix == ".safetensors":
        if not trained:
            raise ValueError(
                f"{options.source} is not the folder of a run; weights of a refiner are copied as they are"
            )
        network = _network_of(options)
        if isinstance(network, ValueNetwork):
            save_values(network, to, options.description)
        else:
            save_refiner(network, to, options.description)
    elif not trained:
        Refiner.load(options.source).export(to)
    elif options.coarse or (task := _whole_task(options)) is None:
        network = _network_of(options)
        if isinstance(network, ValueNetwork):
            raise _no_program(to)
        Refiner(network).export(to)
    elif isinstance(task.network, ValueNetwork):
        raise _no_program(to)
    else:
        from spatialprop.experiment.export import export_labelling, size_of_test_images
        from spatialprop.experiment.run_folder import RunFolder

        size = _size(options.size) if options.size else size_of_test_images(RunFolder(options.source))
        export_labelling(task, to, size)
        print(f"image: (1, 3, {size[0]}, {size[1]}), RGB from 0 to 1; labels: (1, {size[0]}, {size[1]})")
    print(to)
    return 0


def _no_program(to: Path) -> ValueError:
    return ValueError(
        f"networks for mattes and colours are kept as .safetensors alone, such as --to mine.safetensors; got {to}"
    )


def _whole_task(options: argparse.Namespace) -> "Task | None":
    """The task of a run; None if it refined coarse maps from files, so that an image alone is not enough."""
    from spatialprop.experiment.trained import load_run
    from spatialprop.tasks import Refine

    task = load_run(options.source, trust=options.trust)
    return None if isinstance(task, Refine) and task.segmenter is None else task


def _network_of(options: argparse.Namespace) -> "RefinementNetwork | ValueNetwork":
    from spatialprop.experiment.trained import load_run
    from spatialprop.nn import RefinementNetwork, ValueNetwork

    network = load_run(options.source, trust=options.trust, segmenter=False).network
    if not isinstance(network, RefinementNetwork | ValueNetwork):
        raise ValueError(
            f"{options.source} did not train a refinement alone; a refiner comes from task=refine guidance=light"
        )
    return network


def _size(text: str) -> tuple[int, int]:
    height, found, width = text.partition("x")
    if not (found and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise ValueError(f"--size is height x width in pixels, such as 375x500; got {text!r}")
    return int(height), int(width)
