"""Files with something changed at random, as damage and malice change them."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

DEEP = "a list in a list, and so on"
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, "", 0, -1, 0.5, 1e308, float("nan"), float("inf"), 10**12, 2**63, -(10**30), 10**4000),
    *([], {}, [[]], {"": None}, "\ud800", "\x1b[2J", "\x00", "../../etc/passwd", "/dev/zero", "x" * 100_000),
    *("pipe:touch /tmp/never", DEEP, [0] * 10_000),
)
HUGE = (2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1, 0)


def mutate(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """A copy with one to four random changes."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(len(data) + 1)
        length = chance.choice((1, 2, 4, 8, 64, 1024))
        kind = chance.randrange(8)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place : place + length] = chance.randbytes(len(data[place : place + length]))
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            data[place:place] = data[place : place + length] * chance.choice((1, 2, 100))
        elif kind == 5:
            start = chance.randrange(len(other))
            data[place : place + length] = other[start : start + length]
        elif kind == 6:
            number, order = chance.choice(HUGE), chance.choice("<>")
            size = chance.choice((2, 4, 8))
            packed = (number & (2 ** (8 * size) - 1)).to_bytes(size, "little" if order == "<" else "big")
            data[place : place + size] = packed
        elif data[: len(data) // 16]:  # headers are small and matter most
            data[chance.randrange(min(len(data), 256))] = chance.randrange(256)
    return bytes(data)


def mutate_json(content: bytes, chance: random.Random) -> bytes:
    """A copy with one or two of its values, however deep, replaced, doubled or left out."""
    root: list[Any] = [json.loads(content)]
    for _ in range(chance.choice((1, 1, 2))):
        holder: Any = root
        while True:
            key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if not (isinstance(holder[key], dict | list) and holder[key]) or chance.random() < 0.2:
                break
            holder = holder[key]
        if chance.random() < 0.15 and holder is not root:
            del holder[key]
            if not holder:
                break
        else:
            holder[key] = copy.deepcopy(chance.choice([*ODD_VALUES, [holder[key]] * 3]))
    return json.dumps(root[0]).replace(f'"{DEEP}"', "[" * 50_000 + "]" * 50_000).encode()
