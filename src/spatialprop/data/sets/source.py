"""The record of where a data set comes from, on which terms, and what of it may be downloaded."""

from dataclasses import dataclass

from spatialprop.download import Checksum


@dataclass(frozen=True)
class Archive:
    """An archive that may be downloaded without registration."""

    address: str
    checksum: Checksum

    @property
    def name(self) -> str:
        return self.address.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Source:
    """How to get a data set.

    Args:
        page: Its home page.
        terms: Its terms of use in short; the page has them in full.
        archives: Archives to download and unpack.
        steps: Steps that the user does by hand.
        check: How to check the result; `{root}` is where it lies.
    """

    page: str
    terms: str
    archives: tuple[Archive, ...] = ()
    steps: tuple[str, ...] = ()
    check: str | None = None
