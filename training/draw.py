"""Pack the built-in drawn images, as `pack.py` packs folders.

usage: draw.py OUT [COUNT]
"""

import json
import sys
from pathlib import Path

from spatialprop.data import SyntheticShapes

if __name__ == "__main__":
    out = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 240
    index = []
    with open(out / "drawn.pixels", "wb") as pixels:
        for example in SyntheticShapes("train", count, size=(288, 384)):
            index.append({"name": example.name, "size": example.label.shape, "at": pixels.tell()})
            pixels.write(example.image.tobytes())
            pixels.write(example.label.tobytes())
    (out / "drawn.json").write_text(json.dumps(index))
