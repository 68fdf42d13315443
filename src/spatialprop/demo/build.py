"""`python -m spatialprop.demo.build FOLDER`: the page as a folder that any host can serve."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from spatialprop import __version__
from spatialprop.demo.server import MOST_PIXELS, PAGE, ROUGH
from spatialprop.files import write_json
from spatialprop.nn.trusting import TrustingNetwork
from spatialprop.refiner import DOUBT, FAR_OFF, Refiner

RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
NPM = Path(__file__).with_name("npm")  # says which version of the runtime, and its checksum
_MOST_PIXELS = MOST_PIXELS // 4  # a page has less memory, and computes on one core


def build(folder: Path, refiner: Refiner, runtime: Path) -> None:
    """Write the page, the refiner as ONNX, and what runs it.

    Args:
        folder: Where to; it is made anew.
        refiner: Whose weights.
        runtime: The folder `dist` of npm's package onnxruntime-web.
    """
    missing = [name for name in RUNTIME if not (runtime / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{runtime / missing[0]} does not exist; give the folder dist of onnxruntime-web")
    if folder.exists() and any(folder.iterdir()) and not (folder / "engine.json").is_file():
        raise FileExistsError(f"{folder} holds something else than a page; choose an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch, "page")
        shutil.copytree(PAGE, made, ignore=shutil.ignore_patterns("engines"))
        shutil.copyfile(PAGE / "engines" / "browser.js", made / "engine.js")
        for name in ("affinities.js", "shares.js", "worker.js"):
            shutil.copyfile(PAGE / "engines" / name, made / name)
        (made / "ort").mkdir()
        for name in RUNTIME:
            shutil.copyfile(runtime / name, made / "ort" / name)
        # A network whose directions are merged by their mean is linear in the mask: its affinities need no gradients.
        explains = isinstance(refiner.network, TrustingNetwork)
        refiner.export(made / "refiner.onnx", guidance=explains)
        loaded = [made / "refiner.onnx", made / "ort" / RUNTIME[2]]
        facts = {
            "about": f"spatialprop {__version__}. {refiner.description}",
            "mostPixels": _MOST_PIXELS,
            "affinity": explains,
            "units": refiner.network.propagation.units,
            "judges": refiner.network.judges_labels,
            "rough": ROUGH,
            "farOff": FAR_OFF,
            "doubt": DOUBT,
            "weights": "refiner.onnx",
            "runtime": f"ort/{RUNTIME[2]}",
            "module": f"ort/{RUNTIME[1]}",
            "bytes": sum(path.stat().st_size for path in loaded),
        }
        write_json(made / "engine.json", facts)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)


def fetch_runtime(folder: Path) -> Path:
    """Install the locked version of onnxruntime-web into a folder by npm. Returns its folder `dist`."""
    if shutil.which("npm") is None:
        raise FileNotFoundError("the runtime comes from npm, which is not installed; or give a copy of it by --runtime")
    for path in NPM.iterdir():
        shutil.copyfile(path, folder / path.name)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    done = subprocess.run(["npm", "ci", *quiet], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"npm ci failed: {(done.stderr or done.stdout).strip() or 'it says nothing'}")
    return folder / "node_modules" / "onnxruntime-web" / "dist"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spatialprop.demo.build", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to")
    parser.add_argument("--weights", default="light", help="a name, or a .safetensors file (default: %(default)s)")
    parser.add_argument(
        "--runtime", type=Path, help="the folder dist of onnxruntime-web; by default npm gets the locked version"
    )
    options = parser.parse_args(arguments)
    try:
        refiner = Refiner.load(options.weights)
        with tempfile.TemporaryDirectory() as scratch:
            build(options.folder, refiner, options.runtime or fetch_runtime(Path(scratch)))
    except (ImportError, OSError, ValueError) as error:
        print(f"python -m spatialprop.demo.build: {error}", file=sys.stderr)
        return 2
    print(f"{options.folder}; to look at it: python -m http.server --directory {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
