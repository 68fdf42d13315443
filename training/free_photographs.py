"""Collect photographs and cut-outs whose terms allow every use, from packages of Debian and PyPI, and pack them.

usage: free_photographs.py OUT [--packed PACKED]

Fetches packages by name with apt-get and pip, as they are set up on the machine (nothing is installed), and writes

    OUT/photos/, OUT/cutouts/          terms as wide as CC0, public domain, CC-BY, CC-BY-SA, MIT
    OUT/gpl_photos/, OUT/gpl_cutouts/  under the GPL, kept apart: no set of training mixes them in unless asked to
    OUT/TERMS.tsv                      of each picture: package, version, licence, authors, where that is stated

and packs the four folders as `pack.py` does (photographs with the label zero, cut-outs with their alpha as label) to
PACKED/free_photos, ... Debian's terms are read from each package's copyright file, stanza by stanza; a picture whose
terms are not among those accepted is left out. Needs Pillow 11.3 or above, and pillow-jxl-plugin for JPEG XL.
"""

import argparse
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

try:
    import pillow_jxl  # noqa: F401  # teaches Pillow JPEG XL
except ImportError:
    print("without pillow-jxl-plugin pictures in JPEG XL are left out", file=sys.stderr)

LONGEST = 1600  # pixels of the longer side of a photograph
LONGEST_CUTOUT = 512
LEAST_CUTOUT = 48
FREE = re.compile(
    r"(CC0(-1\.0)?|CC-BY-[234]\.[05]|CC-BY-SA-[234]\.[05]|public-domain|Expat|MIT|BSD-[23]-clause|Apache-2\.0)$", re.I
)
GPL = re.compile(r"L?GPL-[23](\.\d)?(\+|-or-later|-only)?$")


class Terms(NamedTuple):
    licence: str
    authors: str
    stated: str  # where


class Source(NamedTuple):
    """A package and which of its pictures are wanted; paths end as the patterns say."""

    package: str
    photos: Sequence[str] = ()
    cutouts: Sequence[str] = ()
    but: Sequence[str] = ()  # drawn, rendered, of a family kept for validation, or unclear
    every: int = 1  # of the cut-outs, which are often frames of one thing
    terms: dict[str, Terms] | None = None  # by pattern, where no machine reads them
    pip: Sequence[str] = ()  # from PyPI: what to ask pip for
    version: str = ""  # how the version begins, if the newest one lacks what is wanted


_README = "readme.txt of the theme, section Images"
_DOCSTRING = "skimage/data/__init__.py, docstring of the function that loads it"
_COPYRIGHT = "debian/copyright"

SOURCES = (
    Source(
        "endless-sky-high-dpi",
        photos=["images/land/*.jpg"],
        cutouts=["images/ship/*.png", "images/outfit/*.png"],
        but=["land/sivael*", "land/mercury*", "land/nasa[123]?@*", "land/earthrise*", "land/loc?@*", "*@sw*"],
        every=3,
    ),
    Source("budgie-backgrounds", photos=["*.jxl"], but=["ocean-waves*", "saturnian*", "*-midnight*"]),
    Source(
        "ukui-wallpapers",
        photos=[
            *(
                "bluebird.jpg",
                "bridgecity*.jpg",
                "flamingos.jpg",
                "horse.jpg",
                "house.jpg",
                "look.jpg",
                "mountain*.jpg",
            ),
            *("sea.jpg", "sky.jpg", "snowy-mountains.jpg", "still-life.jpg", "sunf.jpg"),
        ],
    ),
    Source("lomiri-wallpapers-16.04", photos=["*.jpg"], but=["analogpattern*", "umang*"]),
    Source("lomiri-wallpapers-20.04", photos=["Kleiber*.jpg"]),
    Source(
        "gnome-backgrounds",
        photos=["Dark_Ivy.jpg", "Road.jpg"],
        terms={"*": Terms("CC-BY-SA-3.0", "Garrett LeSage", f"{_COPYRIGHT}, Image Authors")},
        version="3.38",
    ),
    Source(
        "wordpress-theme-twentytwentyfive",
        photos=["*.webp"],
        but=["services-*", "location*", "book-*", "delphinium*", "hero-podcast*", "category-*", "link-in-bio-image*"],
        terms={"*": Terms("CC0-1.0", "named one by one there", _README)},
    ),
    Source(
        "wordpress-theme-twentytwentyfour",
        photos=["*.webp"],
        but=["icon-*"],
        terms={"*": Terms("CC0-1.0", "named one by one there", _README)},
    ),
    Source(
        "scratch",
        photos=["Media/Backgrounds/*.jpg"],
        cutouts=[f"Media/Costumes/{kind}/*" for kind in ("Animals", "People", "Things", "Transportation", "Fantasy")],
        but=[
            "chalkboard*",
            "party-room*",
            "room?.jpg",
            "spotlight*",
            "woods-and-bench*",
            "school2*",
            "moon*",
            "graffiti*",
        ],
    ),
    Source("mate-backgrounds", photos=["nature/*.jpg"]),
    Source("tuxpaint-stamps-default", cutouts=["stamps/*.png"], but=["symbols/*", "*_mirror*", "*_flip*"]),
    Source(
        "scikit-learn",
        photos=["images/china.jpg", "images/flower.jpg"],
        terms={
            "*china.jpg": Terms("CC-BY-2.0", "danielbuechele", "sklearn/datasets/images/README.txt"),
            "*flower.jpg": Terms("CC-BY-2.0", "vultilion", "sklearn/datasets/images/README.txt"),
        },
        pip=["scikit-learn"],
    ),
    Source(
        "scikit-image",
        photos=[f"data/{name}" for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")],
        terms={
            "*astronaut.png": Terms("public-domain", "NASA", _DOCSTRING),
            "*chelsea.png": Terms("CC0", "Stefan van der Walt", _DOCSTRING),
            "*coffee.png": Terms("CC0", "Rachel Michetti", _DOCSTRING),
            "*rocket.jpg": Terms("public-domain", "SpaceX", _DOCSTRING),
        },
        pip=["scikit-image==0.16.2", "--python-version", "3.7", "--platform", "manylinux1_x86_64", "--abi", "cp37m"],
    ),
)


class Stanza(NamedTuple):
    patterns: Sequence[str]
    licence: str
    authors: str


def stanzas(copyright_file: str) -> list[Stanza]:
    """The stanzas about files of a copyright file that machines read; the last one that matches a file holds."""
    found = []
    for paragraph in re.split(r"\n\s*\n", copyright_file):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1].isspace():
                fields[name] = fields.get(name, "") + "\n" + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                fields[name] = value.strip()
        if "Files" in fields and "License" in fields:
            licence = fields["License"].strip().splitlines()[0]
            authors = "; ".join(fields.get("Copyright", "").strip().splitlines())
            found.append(Stanza(fields["Files"].split(), licence, authors))
    return found


def matches(path: str, pattern: str) -> bool:
    """Whether a path ends as a pattern says; folders of the source are often others than those of the package."""
    return fnmatchcase(path, f"*/{pattern}") or ("*" not in pattern and path.endswith("/" + pattern.rsplit("/", 1)[-1]))


def terms_of(path: str, source: Source, read: Sequence[Stanza]) -> Terms | None:
    for pattern, terms in (source.terms or {}).items():
        if fnmatchcase(path, pattern):
            return terms
    for stanza in reversed(read):
        if any(pattern == "*" or matches(path, pattern) for pattern in stanza.patterns):
            return Terms(stanza.licence, stanza.authors, f"{_COPYRIGHT}, Files: {' '.join(stanza.patterns)[:80]}")
    return None


def unpacked(source: Source, fetched: Path) -> tuple[str, Path] | None:
    """The version of a package and the folder where it lies unpacked; nothing if it cannot be had."""
    if source.pip:
        folder = fetched / source.package
        if not folder.exists():
            wheels = fetched / "wheels"
            command = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels), *source.pip]
            subprocess.run([sys.executable, "-m", "pip", *command], check=True)
            (wheel,) = wheels.glob(source.package.replace("-", "_") + "-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        (about,) = folder.glob("*.dist-info")
        return about.stem.split("-")[1], folder
    offered = subprocess.run(
        ["apt-cache", "madison", source.package], capture_output=True, text=True, check=True
    ).stdout
    versions = [line.split("|")[1].strip() for line in offered.splitlines() if "Packages" in line]
    versions = [version for version in versions if version.startswith(source.version)]
    if not versions:
        print(f"{source.package} {source.version}: not offered by this machine's apt", file=sys.stderr)
        return None
    folder = fetched / f"{source.package}_{versions[0]}".replace(":", "-")
    if not folder.exists():
        subprocess.run(["apt-get", "download", "-qq", f"{source.package}={versions[0]}"], cwd=fetched, check=True)
        (package,) = fetched.glob(f"{source.package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
        package.unlink()
    return versions[0], folder


def chosen(path: str, patterns: Sequence[str], but: Sequence[str]) -> bool:
    return any(matches(path, one) for one in patterns) and not any(matches(path, one) for one in but)


def photograph(path: Path) -> Image.Image | None:
    """A photograph in RGB, not larger than wanted; nothing if it is tiny."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    if min(image.size) < 200:
        return None
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return image


def cutout(path: Path) -> Image.Image | None:
    """A thing with its alpha, without empty margins; nothing if it is tiny or no thing."""
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    box = image.getchannel("A").getbbox()
    if box is None:
        return None
    image = image.crop(box)
    image.thumbnail((LONGEST_CUTOUT, LONGEST_CUTOUT), Image.Resampling.LANCZOS)
    filled = np.asarray(image.getchannel("A")).mean() / 255
    return image if min(image.size) >= LEAST_CUTOUT and 0.02 < filled < 0.97 else None


def seen(image: Image.Image) -> NDArray[np.bool_]:
    """What a picture looks like, in 144 bits: whether it gets brighter from one of 9 x 9 cells to the next."""
    small = np.asarray(image.convert("RGB").convert("L").resize((9, 9), Image.Resampling.BOX), np.int16)
    return np.concatenate([(np.diff(small, axis=0) > 0).ravel(), (np.diff(small, axis=1) > 0).ravel()])


def collect(out: Path) -> None:
    fetched = out / "packages"
    fetched.mkdir(parents=True, exist_ok=True)
    rows = ["file\tpackage\tversion\tpath\tlicence\tauthors\tstated in"]
    known: dict[str, list[NDArray[np.bool_]]] = {"photos": [], "cutouts": []}
    count: dict[str, int] = {}
    for source in SOURCES:
        had = unpacked(source, fetched)
        if had is None:
            continue
        version, folder = had
        read = [stanza for found in folder.glob("usr/share/doc/*/copyright") for stanza in stanzas(found.read_text())]
        wanted = sorted(one for one in folder.rglob("*") if one.is_file() and not one.is_symlink())
        for kind, patterns, every in (("photos", source.photos, 1), ("cutouts", source.cutouts, source.every)):
            paths = {path: "/" + path.relative_to(folder).as_posix() for path in wanted}
            paths = {path: inside for path, inside in paths.items() if chosen(inside, patterns, source.but)}
            for path in list(paths)[::every]:
                terms = terms_of(paths[path], source, read)
                if terms is None or not (FREE.match(terms.licence) or GPL.match(terms.licence)):
                    continue
                try:
                    image = photograph(path) if kind == "photos" else cutout(path)
                except (OSError, SyntaxError):
                    continue  # not a picture that this Pillow reads
                if image is None:
                    continue
                looks = seen(image)
                if any((looks != other).mean() < 0.07 for other in known[kind]):
                    continue
                known[kind].append(looks)
                where = kind if FREE.match(terms.licence) else f"gpl_{kind}"
                (out / where).mkdir(exist_ok=True)
                count[where] = count.get(where, 0) + 1
                name = f"{source.package}-{count[where]:04d}-{re.sub('[^A-Za-z0-9]+', '-', path.stem)}"
                if kind == "photos":
                    file = out / where / f"{name}.jpg"
                    image.save(file, quality=95, subsampling=0)
                else:
                    file = out / where / f"{name}.png"
                    image.save(file)
                rows.append("\t".join([f"{where}/{file.name}", source.package, version, paths[path], *terms]))
    (out / "TERMS.tsv").write_text("\n".join(rows) + "\n")
    print(count)


def pack(folder: Path, packed: Path) -> None:
    """As `pack.py` does; the label of a photograph is zero, that of a cut-out its alpha."""
    packed.mkdir(parents=True, exist_ok=True)
    name, index = f"free_{folder.name}", []
    with open(packed / f"{name}.pixels", "wb") as pixels:
        for path in sorted(folder.iterdir()):
            image = np.asarray(Image.open(path))
            label = image[..., 3] if path.suffix == ".png" else np.zeros(image.shape[:2], np.uint8)
            index.append({"name": path.stem, "size": label.shape, "at": pixels.tell()})
            pixels.write(np.ascontiguousarray(image[..., :3]).tobytes())
            pixels.write(label.tobytes())
    (packed / f"{name}.json").write_text(json.dumps(index))
    print(name, len(index))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--packed", type=Path, help="where to pack the pictures; beside OUT's folders if not given")
    given = parser.parse_args()
    collect(given.out)
    for kind in ("photos", "cutouts", "gpl_photos", "gpl_cutouts"):
        if (given.out / kind).exists():
            pack(given.out / kind, given.packed or given.out / "packed")
