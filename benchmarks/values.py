"""What the weights for mattes and for colours reach, beside what people use today.

    python benchmarks/values.py matte --photographs DIR [DIR ...]      composed over photographs that were held out
    python benchmarks/values.py matte --root DIR                       DIR/{images,trimaps,alphas}
    python benchmarks/values.py colour --root DIR                      a folder of photographs
    python benchmarks/values.py colour --photographs DIR [DIR ...]     pieces of photographs that were held out

Writes matte.json and matte.md (or colour.*) to results/benchmarks, or to --output.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from measure import machine

from spatialprop.baselines import make_all
from spatialprop.data import colorize, matting
from spatialprop.data.values.loading import ValueModule
from spatialprop.files import write_file, write_json
from spatialprop.metrics import ColourScores, MatteErrors
from spatialprop.report import comparison_table
from spatialprop.tasks.values import Scoring
from spatialprop.values import Colorize, Matte

HERE = Path(__file__).parent
BASELINES = {"matte": ["closed_form", "knn", "lkm"], "colour": ["optimization"]}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Scores by method, and how many images they are of."""
    chosen: dict[str, Any] = {"root": options.root, "photographs": options.photographs, "seed": 0, "size": options.size}
    chosen |= {"train": 8, "val": 1, "test": options.images, "patch": 64}
    if options.kind == "matte":
        splits, network = matting(**chosen), Matte.load(options.weights or "matte").network
    else:
        splits, network = colorize(**chosen, hints=options.hints), Colorize.load(options.weights or "colour").network
    baselines = make_all(options.baselines if options.baselines is not None else BASELINES[options.kind], values=True)
    scoring = Scoring(MatteErrors if options.kind == "matte" else ColourScores, ("coarse", "refined"), baselines)
    middle = sum(network.bounds) / 2
    loader = ValueModule(splits, seed=0, batch_size=1).test_dataloader()
    for place, batch in enumerate(loader):
        image, values, confidence = (batch[key] for key in ("image", "values", "confidence"))
        if place == 0:
            network(image, values, confidence)  # kernels are compiled or loaded
            for baseline in baselines.values():
                baseline(image[0].numpy(), values[0].numpy(), confidence[0, 0].numpy())
        with torch.inference_mode(), scoring.timed("refined", torch.device("cpu")):
            refined = network(image, values, confidence)
        given = values * confidence + middle * (1 - confidence)
        scoring.update(batch, {"coarse": given, "refined": refined})
        print(f"\r{place + 1} of {len(loader)}", end="", flush=True)
    print()
    return {"images": len(loader), "scores": scoring.compute()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Mattes and colours beside what people use today.")
    parser.add_argument("kind", choices=BASELINES)
    parser.add_argument("--root", help="what is scored: a folder for data=matting or data=colorize")
    parser.add_argument("--photographs", nargs="*", default=[], help="folders, whose held-out photographs are scored")
    parser.add_argument("--images", type=int, default=24, help="of held-out photographs")
    parser.add_argument("--size", type=int, nargs=2, default=[288, 384], help="of these, height and width")
    parser.add_argument("--hints", type=int, nargs="*", default=[30, 100, 500])
    parser.add_argument("--weights", help="a name, or a .safetensors file")
    parser.add_argument("--baselines", nargs="*", help="by default all that there are")
    parser.add_argument("--title", default="held-out photographs")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results" / "benchmarks")
    options = parser.parse_args()
    described = machine(torch.device("cpu"))
    measured = measure(options)
    table = comparison_table(measured["scores"]).text()
    words = (
        f"{options.title}, {measured['images']} images; {described['threads']} threads of a {described['processor']}"
    )
    text = f"# {options.kind}\n\n{words}; milliseconds are medians an image.\n\n{table}\n"
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / f"{options.kind}.json", {"machine": described, "title": options.title, **measured})
    write_file(options.output / f"{options.kind}.md", text)
    print(text)


if __name__ == "__main__":
    main()
