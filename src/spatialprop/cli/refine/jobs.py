"""Which image belongs to which coarse map, and where the result goes."""

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from spatialprop.errors import InputError
from spatialprop.maskfiles import ARRAY_SUFFIXES, IMAGE_SUFFIXES, RESULT_SUFFIXES, CoarseFile, Probabilities

PROBABILITIES, OVERLAY, SHEET = EXTRAS = "_probabilities.npz", "_overlay.png", "_sheet.png"
_WILDCARD = re.compile(r"\*\*/|\*|\?")
_Key = TypeVar("_Key")


class Job(NamedTuple):
    """One image to refine.

    Attributes:
        image, coarse: The files.
        stem: The result's path without its suffix.
        suffix: The result's suffix; None lets the kind of the coarse map choose.
    """

    image: Path
    coarse: Path
    stem: Path
    suffix: str | None = None

    def beside(self, ending: str) -> Path:
        """A file that belongs to the result, such as `<stem>_overlay.png`."""
        return self.stem.with_name(self.stem.name + ending)

    def places(self, endings: Iterable[str] = EXTRAS) -> list[Path]:
        """All paths that the result may have, in any format, and those of the files beside it."""
        suffixes = [self.suffix] if self.suffix else RESULT_SUFFIXES
        return [self.beside(ending) for ending in (*suffixes, *endings)]

    def exists(self, endings: Iterable[str]) -> bool:
        """Whether the result exists, in any format it may have, and so do the files asked for beside it."""
        by_kind = {kind.suffix(self.coarse) for kind in (CoarseFile, Probabilities)}
        suffixes = {self.suffix} if self.suffix else by_kind
        found = any(_is_whole(self.beside(suffix)) for suffix in suffixes)
        return found and all(_is_whole(self.beside(ending)) for ending in endings)


def _is_whole(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0  # other programs leave empty files


def find_jobs(image: str, coarse: str, output: str | None) -> tuple[list[Job], dict[Path, str]]:
    """Pair two files, folders or patterns, and say of which files the partner is missing."""
    in_the_way = [] if output is None else [path for path in Path(output).parents if path.is_file()]
    if in_the_way:
        raise InputError(f"{output} cannot be written: {in_the_way[0]} is a file; choose another place by --output")
    if Path(image).is_file() or Path(coarse).is_file():
        return [_single(Path(image), Path(coarse), output)], {}
    if Path(image).is_dir():
        if not Path(coarse).is_dir():
            raise InputError(f"{image} is a folder, so the coarse maps must be one too; got {coarse}")
        return _in_folders(Path(image), Path(coarse), output)
    if _WILDCARD.search(image):
        return _by_patterns(image, coarse, output)
    raise FileNotFoundError(f"{image} does not exist; give a file, a folder, or a quoted pattern such as 'a/*.jpg'")


def refuse_to_replace(jobs: Sequence[Job], extras: Iterable[str], others: Iterable[Path] = ()) -> None:
    """Refuse results, and files beside them, that would replace an input, one of the `others`, or each other."""
    inputs = {path.resolve() for job in jobs for path in (job.image, job.coarse)}
    inputs.update(path.resolve() for path in others)
    taken: set[Path] = set()
    for job in jobs:
        for path in job.places(extras):
            if path.resolve() in inputs:
                raise InputError(f"the result would replace {path}; choose another place by --output")
            if path.resolve() in taken:
                raise InputError(f"two results would be called {path}; rename one of the inputs")
            taken.add(path.resolve())


def _single(image: Path, coarse: Path, output: str | None) -> Job:
    for path in (image, coarse):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not a file; give two files, two folders or two patterns")
    if output is None:
        return Job(image, coarse, coarse.with_name(f"{coarse.stem}_refined"))
    place = Path(output)
    if place.is_dir() or not place.suffix or output.endswith(("/", os.sep)):
        return Job(image, coarse, place / coarse.stem)
    if place.suffix.lower() not in RESULT_SUFFIXES:
        raise InputError(
            f"a result is written as one of {', '.join(RESULT_SUFFIXES)}, which lose nothing; got {place.name!r}"
        )
    return Job(image, coarse, place.with_suffix(""), place.suffix)


def _in_folders(images: Path, maps: Path, output: str | None) -> tuple[list[Job], dict[Path, str]]:
    seen = _unique((path.stem, path) for path in sorted(images.iterdir()) if _is(path, IMAGE_SUFFIXES))
    coarse = _unique((path.stem, path) for path in sorted(maps.iterdir()) if _is(path, IMAGE_SUFFIXES + ARRAY_SUFFIXES))
    if not seen:
        raise InputError(f"{images} holds no images; they end in {', '.join(IMAGE_SUFFIXES)}")
    folder = _folder(output, maps)
    jobs = [Job(path, coarse[name], folder / name) for name, path in seen.items() if name in coarse]
    alone = dict.fromkeys(_without(seen, coarse), f"{maps} holds no coarse map of that name")
    alone |= dict.fromkeys(_without(coarse, seen), f"{images} holds no image of that name")
    return jobs, alone


def _by_patterns(images: str, maps: str, output: str | None) -> tuple[list[Job], dict[Path, str]]:
    shapes = [_WILDCARD.findall(pattern) for pattern in (images, maps)]
    for pattern in (images, maps):
        if "[" in pattern or "**" in pattern.replace("**/", ""):
            raise InputError(
                f"a pattern has the wildcards *, ? and **/, and no other ** or [; got {pattern!r}: rename what has a "
                f"bracket in its name, or give folders"
            )
    if shapes[0] != shapes[1]:
        raise InputError(
            f"both patterns need the same wildcards, * ? or **/, in the same order: what they stand for says which "
            f"image belongs to which map; got {images!r} and {maps!r}"
        )
    seen, coarse = _unique(_matches(images)), _unique(_matches(maps))
    if not seen:
        raise InputError(f"no file matches {images!r}")
    root = Path(maps[: _WILDCARD.search(maps).start()] + "x").parent  # type: ignore[union-attr]
    folder = _folder(output, root)
    jobs = [
        Job(path, coarse[key], folder / coarse[key].relative_to(root).with_suffix(""))
        for key, path in seen.items()
        if key in coarse
    ]
    alone = dict.fromkeys(_without(seen, coarse), f"no coarse map matches {maps!r} likewise")
    alone |= dict.fromkeys(_without(coarse, seen), f"no image matches {images!r} likewise")
    # Not missing a partner: masks that lie beside their images, and results of an earlier run that `**/` finds.
    inputs = {path.resolve() for job in jobs for path in (job.image, job.coarse)}
    known = inputs.union(path.resolve() for job in jobs for path in job.places())
    results = None if any(_lies_in(folder, path) for path in inputs) else folder
    left = {path: problem for path, problem in alone.items() if path.resolve() not in known}
    return jobs, {path: left[path] for path in left if not (results and _lies_in(results, path))}


def _without(some: Mapping[_Key, Path], others: Mapping[_Key, Path]) -> list[Path]:
    """The paths whose key is missing from the others."""
    return [path for key, path in some.items() if key not in others]


def _matches(pattern: str) -> Iterable[tuple[tuple[str | None, ...], Path]]:
    """Find the files that match, each with what its wildcards stand for."""
    pattern = Path(pattern).as_posix()
    groups = {"**/": "(?:(.*)/)?", "*": "([^/]*)", "?": "([^/])"}
    expression, end = "", 0
    for wildcard in _WILDCARD.finditer(pattern):
        expression += re.escape(pattern[end : wildcard.start()]) + groups[wildcard.group()]
        end = wildcard.end()
    compiled = re.compile(expression + re.escape(pattern[end:]))
    for name in sorted(glob.glob(pattern, recursive=True)):
        found = compiled.fullmatch(Path(name).as_posix())
        if found and Path(name).is_file():
            yield found.groups(), Path(name)


def _lies_in(folder: Path, path: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _unique(found: Iterable[tuple[_Key, Path]]) -> dict[_Key, Path]:
    """Index paths by key; two of one key are refused, since it is not clear which is meant."""
    paths: dict[_Key, Path] = {}
    for key, path in found:
        if key in paths:
            raise InputError(f"{paths[key]} and {path} go by one name; keep one, or say which by patterns")
        paths[key] = path
    return paths


def _is(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def _folder(output: str | None, maps: Path) -> Path:
    if output is None:
        whole = Path(os.path.abspath(maps))  # "." has no name; links are not followed
        folder = whole.with_name(f"{whole.name}_refined")
    else:
        folder = Path(output)
    if folder.is_file() or (output is not None and folder.suffix.lower() in RESULT_SUFFIXES):
        raise InputError(f"{folder} is a file; results of several images need a folder: choose one by --output")
    return folder
