"""Any data set as a folder of images and labels, read quickly because the work on them is done."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from spatialprop.data.example import VOID, Examples, LabelSet
from spatialprop.data.files import write_beside
from spatialprop.data.sets.folder import read_label_set


def write_label_set(labels: LabelSet, folder: Path) -> None:
    """Write `dataset.json`, or see that the one that is there says the same."""
    path = folder / "dataset.json"
    fields = {
        "name": labels.name,
        "classes": labels.classes,
        "ignore_index": VOID,
        "scored_classes": labels.scored,
        "mirrored": labels.mirrored,
    }
    wanted = LabelSet(labels.name, labels.classes, VOID, labels.scored, labels.mirrored)
    if path.is_file():
        if read_label_set(path) != wanted:
            raise ValueError(f"{path} is that of another data set; give another folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    with write_beside(path) as file:
        file.write((json.dumps(fields, indent=1) + "\n").encode())


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
    if (folder / "labels" / name).is_file():  # which comes last
        return False
    example = examples[index]
    picture = Image.fromarray(example.label)
    picture.putpalette(examples.labels.palette.tobytes())
    with write_beside(folder / "images" / name) as file:
        Image.fromarray(example.image).save(file, format="PNG", compress_level=1)
    with write_beside(folder / "labels" / name) as file:
        picture.save(file, format="PNG")
    return True
