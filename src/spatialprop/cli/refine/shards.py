"""Each of several runs takes its own part of the files."""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

_Item = TypeVar("_Item")


class Shard(NamedTuple):
    """Part `number` of `total`, counted from one; 0 of 0 is everything."""

    number: int = 0
    total: int = 0

    def of(self, items: Sequence[_Item]) -> list[_Item]:
        """The items of this shard: each item is in exactly one, whichever the run.

        Example:
            >>> [Shard(number, 3).of("abcdefg") for number in (1, 2, 3)]
            [['a', 'd', 'g'], ['b', 'e'], ['c', 'f']]
        """
        return list(items[self.number - 1 :: self.total]) if self.total else list(items)


def read_shard(text: str | None) -> Shard:
    """Read K/N.

    Example:
        >>> read_shard("3/64")
        Shard(number=3, total=64)
    """
    if text is None:
        return Shard()
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--shard must be K/N with K from 1 to N, such as 3/64; got {text!r}")
    return Shard(int(found[1]), int(found[2]))
