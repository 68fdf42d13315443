"""Downloads that resume where they stopped, are checked, and appear whole or not at all."""

import hashlib
import http.client
import io
import logging
import re
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the bytes of the whole file, None if the server does not say."""

_log = logging.getLogger(__name__)
_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without a byte
LARGEST = 1 << 33  # bytes of a file, many times those of any weights or archive that is fetched


class Checksum(NamedTuple):
    """The hash that a file must have.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as empty:
        ...     Checksum("md5", "d41d8cd98f00b204e9800998ecf8427e").found_in(Path(empty.name))
        'd41d8cd98f00b204e9800998ecf8427e'
    """

    kind: str  # a name that hashlib knows: sha256, or md5 where nothing better was published
    digits: str

    def found_in(self, path: Path) -> str:
        """The hash of a file."""
        digest = hashlib.new(self.kind, usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def __str__(self) -> str:
        return {"sha256": "SHA-256", "md5": "MD5"}.get(self.kind, self.kind)


def fetch(
    address: str, target: Path, checksum: Checksum, progress: Progress | None = None, most: int = LARGEST
) -> Path:
    """Download `address` unless the file exists, resuming an interrupted download.

    The file takes its name only when it is whole and its hash right; until then it is `<name>.part`. A server that
    sends more than `most` bytes, or more than the disk has room for, is not listened to any longer.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target):
        if target.is_file() and checksum.found_in(target) == checksum.digits:
            return target
        _log.info("downloading %s to %s", address, target)
        try:
            _append(address, part, progress, most)
        except urllib.error.HTTPError as error:
            raise ConnectionError(f"cannot download {address}: {error}") from error
        except _TooMuchError as error:
            part.unlink(missing_ok=True)
            raise ValueError(f"{address} is not the file that was asked for: {error}") from None
        except (OSError, http.client.HTTPException) as error:
            received = part.stat().st_size if part.is_file() else 0
            raise ConnectionError(
                f"downloading {address} stopped after {received} bytes ({error}); try again to resume it"
            ) from error
        found = checksum.found_in(part)
        if found != checksum.digits:
            part.unlink()
            raise ValueError(f"{address} is not the file that was asked for: {checksum} {found}, not {checksum.digits}")
        part.replace(target)
    return target


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follow redirections without reading what comes along with them: it may be any number of gigabytes."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        fp.close()
        return super().http_error_302(req, io.BytesIO(), code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _TooMuchError(Exception):
    """A server sends more than a file can have."""


def _append(address: str, part: Path, progress: Progress | None, most: int) -> None:
    """Fetch the bytes of `address` that `part` still lacks."""
    present = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(address, headers={"User-Agent": "spatialprop"})
    if present:
        request.add_header("Range", f"bytes={present}-")
    try:
        response = urllib.request.build_opener(_Redirections).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not present:  # 416: nothing is missing; the hash decides whether the file is right
            raise
        return
    with response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {present}-")
        expected = _length(response.headers.get("Content-Length"))
        before = present if resumed else 0
        if before + (expected or 0) > most:
            raise _TooMuchError(f"it has {before + (expected or 0)} bytes, at most {most} are fetched")
        if expected is not None and expected > shutil.disk_usage(part.parent).free:
            raise OSError(f"it needs {expected} more bytes, which the disk has not free")
        received = 0
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                received += len(chunk)
                if before + received > most:
                    raise _TooMuchError(f"the server sent more than {most} bytes")
                if progress is not None:
                    progress(before + received, None if expected is None else before + expected)
    if expected is not None and received < expected:
        raise OSError(f"the server sent {received} of {expected} bytes")


def _length(header: str | None) -> int | None:
    """The bytes that a server announces, None if it announces none."""
    if header is None:
        return None
    if not re.fullmatch(r"\d{1,18}", header.strip(), re.ASCII):
        raise OSError(f"the server says that it sends {header[:40]!r} bytes")
    return int(header)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Lock `target` against other processes of this machine, as in distributed training."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with target.with_name(target.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
