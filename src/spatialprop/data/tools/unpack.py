"""Unpacking of archives without writing outside of the target folder."""

import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from spatialprop.files import write_beside


def unpack(archive: Path, folder: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Write the files of a tar archive below `folder`, and nothing else, nowhere else.

    Links, devices and paths that lead out of the folder are refused before a file is written. Each file appears whole
    or not at all. Files that exist with the right size are skipped, so an interrupted unpacking can be resumed.

    Args:
        archive: The archive, compressed or not.
        folder: Where its files go.
        progress: Called with the number of files done and of all files.

    Returns:
        How many files were written.
    """
    written = 0
    try:
        with tarfile.open(archive) as tar:
            members = [_checked(member, archive, folder) for member in tar]
            files = [member for member in members if member.isfile()]
            for done, member in enumerate(files, start=1):
                target = folder / member.name
                if not (target.is_file() and target.stat().st_size == member.size):
                    content = tar.extractfile(member)
                    assert content is not None  # it is a file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with content, write_beside(target) as file:
                        shutil.copyfileobj(content, file)
                    written += 1
                if progress is not None:
                    progress(done, len(files))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the archive
            raise
        reason = str(error).split("\n", 1)[0].rstrip(":")
        raise ValueError(f"{archive} cannot be unpacked: {reason}; delete it and get it again") from error
    return written


def _checked(member: tarfile.TarInfo, archive: Path, folder: Path) -> tarfile.TarInfo:
    """A member that is a plain file or a folder inside of `folder`; raises for anything else."""
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()):
        raise ValueError(f"{archive} holds {member.name!r}, which is a link or a device; it is not unpacked")
    # A name with a colon or a backslash is a path of its own on Windows.
    if path.is_absolute() or ".." in path.parts or ":" in member.name or "\\" in member.name:
        raise ValueError(f"{archive} holds {member.name!r}, a path that leads out of the folder; it is not unpacked")
    if hasattr(tarfile, "data_filter"):  # Python's own verdict too, where this release has it
        try:
            tarfile.data_filter(member, str(folder))
        except tarfile.FilterError as error:
            raise ValueError(f"{archive} is not unpacked: {error}") from None
    elif not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{archive} holds {member.name!r}, a path that leads out of the folder; it is not unpacked")
    return member
