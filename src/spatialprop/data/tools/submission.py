"""Results on VOC's test images in the form that its evaluation server takes."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

from spatialprop.data.label_files import write_label
from spatialprop.data.sets.voc import LABELS, read_list, voc_folder
from spatialprop.files import write_beside
from spatialprop.maskfiles import read_image_size, read_indices

COMPETITIONS = ("comp5", "comp6")  # trained on VOC's own train and val only, or on anything


def check_predictions(root: str | Path, predictions: Path, split: str = "test") -> list[str]:
    """List all that the server would refuse: missing or extra images, wrong sizes, labels that are not classes."""
    folder = voc_folder(root)
    names = read_list(folder, split)
    if not predictions.is_dir():
        return [f"{predictions} is no folder; give the folder of <name>.png label maps, one for each image of {split}"]
    found = {path.stem: path for path in sorted(predictions.glob("*.png"))}
    problems = [f"{predictions / name}.png does not exist; {split}.txt names it" for name in names if name not in found]
    problems += [f"{path} is no image of {split}.txt" for name, path in found.items() if name not in set(names)]
    for name in names:
        if name not in found:
            continue
        try:
            labels = read_indices(found[name])
            height, width = read_image_size(folder / "JPEGImages" / f"{name}.jpg")
        except (OSError, ValueError) as error:
            problems.append(str(error))
            continue
        if labels.shape != (height, width):
            problems.append(f"{found[name]} is {labels.shape[1]}x{labels.shape[0]}, its image is {width}x{height}")
        if labels.max() >= len(LABELS.classes):
            problems.append(
                f"{found[name]} holds the label {labels.max()}; "
                f"classes are 0 to {len(LABELS.classes) - 1}, without void"
            )
    return problems


def write_submission(
    root: str | Path, predictions: Path, to: Path, competition: str = "comp6", split: str = "test"
) -> Path:
    """Write `to/results/VOC2012/Segmentation/<competition>_<split>_cls/<name>.png` and `to/results.tgz` of it.

    The PNGs hold indices with VOC's palette. What `check_predictions` finds is refused.

    Returns:
        The archive.
    """
    if competition not in COMPETITIONS:
        raise ValueError(f"competition must be {' or '.join(COMPETITIONS)}; got {competition!r}")
    problems = check_predictions(root, predictions, split)
    if problems:
        raise ValueError(f"{len(problems)} problems with {predictions}, the first: {problems[0]}")
    names = read_list(voc_folder(root), split)
    results = Path("results", "VOC2012", "Segmentation", f"{competition}_{split}_cls")
    (to / results).mkdir(parents=True, exist_ok=True)
    others = sorted(path.name for path in (to / results).iterdir() if path.stem not in set(names))
    if others:
        raise ValueError(f"{to / results} holds {others[0]!r}, which is no result; empty it or give another folder")
    for name in names:
        write_label(to / results / f"{name}.png", read_indices(predictions / f"{name}.png"))
    return _archive(to, results, names)


def _archive(to: Path, results: Path, names: Sequence[str]) -> Path:
    with write_beside(to / "results.tgz") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name in names:
            tar.add(to / results / f"{name}.png", arcname=(results / f"{name}.png").as_posix(), filter=_anonymous)
    return to / "results.tgz"


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove the name and ids of the user who made the file."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
