"""`spatialprop data get`: print the source of a data set, and download what is free to download."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spatialprop.data.sets import Archive

EXAMPLES = """examples:
  spatialprop data get voc --to DIR
  spatialprop data get cityscapes"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a data set, such as voc, or sbd (more masks for voc)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="download and unpack into this folder")
    parser.add_argument(
        "--mirror", metavar="URL", help="an address that holds the same archive; its checksum must be the published one"
    )


def run(options: argparse.Namespace) -> int:
    from spatialprop.data.sets import sources

    known = sources()
    if options.name not in known:
        raise ValueError(f"there is no data set {options.name!r} to get; there are {', '.join(known)}")
    source = known[options.name]
    root = options.to if options.to is not None else "DIR"
    print(f"{options.name}: {source.page}\nTerms: {source.terms}.")
    for archive in source.archives:
        print(f"Archive: {archive.address} ({archive.checksum} {archive.checksum.digits})")
        if options.to is not None:
            _get(archive, options.mirror or archive.address, options.to)
    if source.archives and options.to is None:
        print(f"To download it: spatialprop data get {options.name} --to DIR")
    elif options.to is not None and not source.archives and source.steps:
        print("Nothing of it can be downloaded for you.")
    for number, step in enumerate(source.steps, start=1):
        print(f"{number}. {step.format(root=root)}")
    if source.check is not None:
        print(f"Then: {source.check.format(root=root)}")
    return 0


def _get(archive: Archive, address: str, folder: Path) -> None:
    """Download and unpack an archive, each with a progress bar."""
    from tqdm import tqdm

    from spatialprop.data.tools import unpack
    from spatialprop.download import fetch

    target = folder / archive.name
    with tqdm(desc=archive.name, unit="B", unit_scale=True, unit_divisor=1000) as bar:
        fetch(address, target, archive.checksum, partial(_show, bar))
    with tqdm(desc="Unpacking", unit="file") as bar:
        written = unpack(target, folder, partial(_show, bar))
    print(f"{written} files written below {folder}; {target} is no longer needed.")


def _show(bar: Any, done: int, total: int | None) -> None:
    bar.total = total
    bar.update(done - bar.n)
