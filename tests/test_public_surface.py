"""The public surface changes only where somebody meant it to."""

from __future__ import annotations

import difflib

from tests import public_surface


def test_the_public_surface_is_the_frozen_one() -> None:
    frozen = public_surface.FROZEN.read_text().splitlines()
    now = public_surface.text().splitlines()
    difference = difflib.unified_diff(frozen, now, "frozen", "now", n=0, lineterm="")
    told = "\n".join(difference)
    assert not told, f"If users are to see this change, freeze it with `make surface`:\n{told}"


def test_making_it_twice_gives_the_same_text() -> None:
    assert public_surface.text() == public_surface.text()
