"""Decode every image and label of some folders once, into flat arrays that all processes map.

usage: pack.py OUT NAME=FOLDER [NAME=FOLDER ...]      FOLDER holds images/, labels/ and, where there are any, coarse/
Writes OUT/<name>.pixels (what follows one another: image, then label), OUT/<name>.coarse and OUT/<name>.json.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def pack(out: Path, name: str, folder: Path) -> int:
    """Write one folder; how many images there were."""
    index = []
    with open(out / f"{name}.pixels", "wb") as pixels, open(out / f"{name}.coarse", "wb") as coarse:
        for path in sorted((folder / "images").iterdir()):
            image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            label = np.asarray(Image.open(folder / "labels" / f"{path.stem}.png"))  # indices of a palette, too
            if label.shape != image.shape[:2]:
                raise ValueError(f"{path}: image {image.shape}, label {label.shape}")
            entry = {"name": path.stem, "size": label.shape, "at": pixels.tell()}
            pixels.write(image.tobytes())
            pixels.write(label.astype(np.uint8).tobytes())
            given = folder / "coarse" / f"{path.stem}.npz"
            if given.exists():
                shares = np.load(given)["probs"]
                entry |= {"coarse_at": coarse.tell(), "coarse_size": shares.shape}
                coarse.write(shares.tobytes())
            index.append(entry)
    (out / f"{name}.json").write_text(json.dumps(index))
    return len(index)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for part in sys.argv[2:]:
        title, root = part.split("=")
        print(title, pack(target, title, Path(root)), flush=True)
