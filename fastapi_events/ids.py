"""Identifiers: UUIDs, as text."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import count
from typing import Final

# The system's own random bytes take longer than all the rest of an event, which needs no secret. Nobody else
# seeds this generator, and no two processes share its state.
_random: Final = random.Random()  # noqa: S311 - no secret

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)

_NAMESPACE: Final = bytes.fromhex("5f0f7f0e3f4c5c0a9a636c1d7be4b1ad")

# The two bits that say which UUIDs these are, before the two that the digit keeps.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def random_id() -> str:
    """A random UUID, of version 4. It identifies, and is no secret: who sees many can guess others."""
    return _spelled(_random.getrandbits(128).to_bytes(16, "big").hex(), "4")


def named_id(*parts: str) -> str:
    """A name-based UUID, of version 5: the same parts always give the same id."""
    import hashlib  # here, since it loads OpenSSL, and few processes that dispatch name what they make

    name = "\n".join(parts).encode()
    return _spelled(hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).hexdigest(), "5")


class NamedIds:
    """Ids for what comes of one piece of work, the same whenever it is done again.

    Parameters:
        parts: Name the work.
    """

    def __init__(self, *parts: str) -> None:
        self._parts = parts
        self._counts: dict[str, Iterator[int]] = {}

    def next(self, name: str) -> str:
        """The id of the next thing of a name."""
        # setdefault is atomic, as is next(): threads of one function get different numbers.
        number = next(self._counts.setdefault(name, count()))
        return named_id(*self._parts, name, str(number))


def _spelled(digits: str, version: str) -> str:
    return (
        f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}"
        f"-{digits[20:32]}"
    )
