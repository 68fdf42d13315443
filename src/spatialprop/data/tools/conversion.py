"""Any data set as a folder of images and labels, already decoded and aligned."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from PIL import Image

from spatialprop.data.example import Examples
from spatialprop.data.label_files import write_label
from spatialprop.data.label_set import VOID, LabelSet, read_label_set, write_label_set
from spatialprop.files import write_beside


def claim_folder(folder: Path, labels: LabelSet) -> None:
    """Write `dataset.json` into the folder of a converted data set; refuse a folder that holds another data set."""
    path = folder / "dataset.json"
    converted = replace(labels, ignore_index=VOID, scored_classes=labels.scored)
    if not path.is_file():
        write_label_set(converted, path)
    elif read_label_set(path) != converted:
        raise ValueError(f"{path} is that of another data set; give another folder")


def convert_split(examples: Examples, folder: Path, workers: int = 4) -> Iterator[bool]:
    """Write `folder/images/<name>.png` and `folder/labels/<name>.png` of a split, as `ImageFolder` reads them.

    Gives for each image whether it was written now or there before.
    """
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(lambda index: _convert(examples, index, folder), range(len(examples)))
        finally:
            pool.shutdown(cancel_futures=True)


def _convert(examples: Examples, index: int, folder: Path) -> bool:
    name = f"{examples.names[index]}.png"
    if (folder / "labels" / name).is_file():
        return False
    example = examples[index]
    with write_beside(folder / "images" / name) as file:
        Image.fromarray(example.image).save(file, format="PNG", compress_level=1)
    write_label(folder / "labels" / name, example.label)  # last: it says that both are there
    return True
