"""Archives are unpacked inside of their folder, whole, or not at all."""

import io
import shutil
import tarfile
from types import SimpleNamespace

import pytest

from spatialprop.data.tools import unpack


def write_tar(path, *members, mode="w"):
    """Members are (name, content), or TarInfos without content."""
    with tarfile.open(path, mode) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_files_and_folders_are_written(tmp_path, mode):
    archive = write_tar(
        tmp_path / "a.tar", special("top/empty", tarfile.DIRTYPE), ("top/a.txt", b"a"), ("./b.txt", b"bb"), mode=mode
    )
    seen = []
    assert unpack(archive, tmp_path / "to", lambda *progress: seen.append(progress)) == 2
    assert (tmp_path / "to" / "top" / "a.txt").read_bytes() == b"a"
    assert (tmp_path / "to" / "b.txt").read_bytes() == b"bb"
    assert seen == [(1, 2), (2, 2)]


def test_goes_on_where_it_stopped(tmp_path):
    archive = write_tar(tmp_path / "a.tar", ("a", b"1111"), ("b", b"2222"), ("c", b"3333"))
    unpack(archive, tmp_path / "to")
    (tmp_path / "to" / "b").write_bytes(b"22")  # cut off by something else
    (tmp_path / "to" / "c").unlink()
    whole = (tmp_path / "to" / "a").stat().st_ino
    assert unpack(archive, tmp_path / "to") == 2
    assert [(tmp_path / "to" / name).read_bytes() for name in "abc"] == [b"1111", b"2222", b"3333"]
    assert (tmp_path / "to" / "a").stat().st_ino == whole


@pytest.mark.parametrize(
    "bad",
    [
        ("../evil", b"x"),
        ("a/../../evil", b"x"),
        ("/tmp_evil_of_a_test", b"x"),
        ("a\\..\\evil", b"x"),
        ("C:evil", b"x"),
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("link", tarfile.SYMTYPE, "a.txt"),
        special("hard", tarfile.LNKTYPE, "a.txt"),
        special("device", tarfile.CHRTYPE),
        special("device", tarfile.BLKTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda bad: bad[0] if isinstance(bad, tuple) else f"{bad.name} {bad.type!r}",
)
def test_nothing_of_an_archive_that_reaches_out_is_written(tmp_path, bad):
    archive = write_tar(tmp_path / "a.tar", ("a.txt", b"a"), bad)
    with pytest.raises(
        ValueError, match=r"a\.tar (holds '.*', (which is a link|a path that leads out)|is not unpacked)"
    ):
        unpack(archive, tmp_path / "to")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar"]


def test_a_link_in_the_folder_leads_nothing_out(tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "to" / "top").symlink_to(tmp_path / "out")
    archive = write_tar(tmp_path / "a.tar", ("top/evil", b"x"))
    with pytest.raises(ValueError, match="unpacked"):
        unpack(archive, tmp_path / "to")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_archive_is_named(tmp_path, damage):
    archive = write_tar(tmp_path / "a.tgz", *((f"f{i}", bytes(range(256)) * 40) for i in range(20)), mode="w:gz")
    whole = archive.read_bytes()
    archive.write_bytes({"cut": whole[: len(whole) // 2], "text": b"<html>" * 300, "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"a\.tgz cannot be unpacked: .*delete it and get it again"):
        unpack(archive, tmp_path / "to")
    assert not list(tmp_path.glob("to/.*"))


def test_an_archive_that_unpacks_to_more_than_a_data_set_has(tmp_path):
    """The second member is never looked for: that would mean to unpack the first."""
    claim = tarfile.TarInfo("zeros")
    claim.size = 1 << 50
    archive = tmp_path / "a.tar"
    archive.write_bytes(claim.tobuf() + bytes(1 << 16))
    with pytest.raises(ValueError, match=r"a\.tar is not unpacked: it holds more than"):
        unpack(archive, tmp_path / "to")
    with pytest.raises(ValueError, match="it holds more than 3 bytes"):
        unpack(write_tar(tmp_path / "b.tar", ("a", b"11"), ("b", b"22")), tmp_path / "to", most_bytes=3)
    assert not (tmp_path / "to").exists()


def test_an_archive_that_does_not_fit_on_the_disk(tmp_path, monkeypatch):
    archive = write_tar(tmp_path / "a.tar", ("a", b"1" * 100))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=99))
    with pytest.raises(ValueError, match="needs 100 bytes, 99 are free"):
        unpack(archive, tmp_path / "to")
