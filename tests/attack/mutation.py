"""Small changes to bytes and to nested values, as damage and malice make them."""

import copy
from random import Random
from typing import Any

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    10**30,
    "",
    "text",
    "../" * 8,
    "\ud800",
    "\x00",
    "a" * 5000,
    [],
    {},
    [[]],
    {"a": {"b": 1}},
    [1, "2", None],
)


def damaged(rng: Random, content: bytes) -> bytes:
    """Bytes with up to four changes."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(found) or 1) if rng.random() < 0.5 else rng.randrange(min(len(found), 100) or 1)
        kind = rng.randrange(6)
        if kind == 0:
            found[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            size = rng.choice((1, 2, 4))
            number = rng.choice(NUMBERS) & ((1 << 8 * size) - 1)
            found[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
        elif kind == 2:
            del found[place:]
        elif kind == 3:
            del found[place : place + rng.randint(1, 40)]
        elif kind == 4:
            found[place:place] = rng.randbytes(rng.randint(1, 40))
        else:
            found[place:place] = found[place : place + rng.randint(1, 200)]
    return bytes(found)


def changed(rng: Random, content: Any, values: tuple[Any, ...] = VALUES) -> Any:
    """A nested value in which one part is another, is gone, or has another name."""
    found = copy.deepcopy(content)
    parents = [(node, key) for node in nodes(found) for key in (node if isinstance(node, dict) else range(len(node)))]
    if not parents or rng.random() < 0.02:
        return rng.choice(values)
    node, key = rng.choice(parents)
    kind = rng.random()
    if kind < 0.7:
        node[key] = copy.deepcopy(rng.choice(values))
    elif kind < 0.85:
        del node[key]
    elif isinstance(node, dict):
        node[rng.choice(("", "x", "../x", "__class__", "_target_", "\ud800"))] = node.pop(key)
    else:
        node.append(node[key])
    return found


def nodes(node: Any) -> list[Any]:
    """All mappings and lists in a nested value, itself the first."""
    if not isinstance(node, dict | list):
        return []
    parts = node.values() if isinstance(node, dict) else node
    return [node, *(inner for part in parts for inner in nodes(part))]
