"""What commands print. Names and reasons come from outside, and must not steer the terminal."""

from __future__ import annotations

from collections.abc import Sequence


def shown(value: object, width: int | None = None) -> str:
    """A value as one harmless line.

    Parameters:
        width: The most characters; longer ones are cut.
    """
    text = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(value)
    )
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"


def block(value: str) -> str:
    """A text of several lines, with everything but its line breaks made harmless."""
    return "\n".join(shown(line.replace("\t", "    ")) for line in value.split("\n"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    lines = [head, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
