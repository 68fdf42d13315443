"""Unpacking of archives without writing outside of the target folder."""

import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from spatialprop.files import write_beside

MOST_BYTES = 1 << 36  # of all files of an archive, many times those of any data set that is fetched
MOST_FILES = 1_000_000


def unpack(
    archive: Path, folder: Path, progress: Callable[[int, int], None] | None = None, most_bytes: int = MOST_BYTES
) -> int:
    """Write the files of a tar archive below `folder`, and nothing else, nowhere else.

    Links, devices, paths that lead out of the folder, and archives of more files or bytes than a data set has or the
    disk has room for are refused before a file is written. Each file appears whole or not at all. Files that exist
    with the right size are skipped, so an interrupted unpacking can be resumed.

    Args:
        archive: The archive, compressed or not.
        folder: Where its files go.
        progress: Called with the number of files done and of all files.
        most_bytes: How many bytes its files may have together.

    Returns:
        How many files were written.
    """
    written = 0
    try:
        with tarfile.open(archive) as tar:
            members = _members(tar, archive, folder, most_bytes)
            files = [member for member in members if member.isfile()]
            missing = sum(member.size for member in files if not _is_there(folder / member.name, member))
            free = shutil.disk_usage(_existing(folder)).free
            if missing > free:
                raise ValueError(f"{archive} needs {missing} bytes, {free} are free on the disk of {folder}")
            for done, member in enumerate(files, start=1):
                target = folder / member.name
                if not _is_there(target, member):
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


def _members(tar: tarfile.TarFile, archive: Path, folder: Path, most_bytes: int) -> list[tarfile.TarInfo]:
    """All members, each checked before the next is looked for: that may mean to unpack this one."""
    members: list[tarfile.TarInfo] = []
    size = 0
    for member in tar:
        members.append(_checked(member, archive, folder))
        size += member.size
        if size > most_bytes or len(members) > MOST_FILES:
            raise ValueError(
                f"{archive} is not unpacked: it holds more than {most_bytes} bytes or {MOST_FILES} files, as no data "
                f"set has"
            )
    return members


def _is_there(target: Path, member: tarfile.TarInfo) -> bool:
    return target.is_file() and target.stat().st_size == member.size


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


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
