"""What commands print. Names and reasons come from outside, and must not steer the terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TextIO

_COLOURS = {"red": 31, "green": 32, "yellow": 33}


def say(text: str, *, to: TextIO | None = None, end: str = "\n") -> bool:
    """Print; where the reader has gone, as `head` does, the rest is printed for nobody.

    The command goes on to its end, and its exit code says what it did.

    Parameters:
        to: Standard output if not given.

    Returns:
        Whether somebody still reads.
    """
    stream = sys.stdout if to is None else to
    try:
        print(text, end=end, file=stream, flush=True)
    except BrokenPipeError:
        hush(stream)
        return False
    return True


def say_json(value: Any) -> bool:
    """Print a value as one line of JSON; times have an offset. Whether somebody still reads."""
    return say(json.dumps(value, default=_plain))


def hush(stream: TextIO) -> None:
    """Let what else is written to a stream go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def flush() -> None:
    """Write what argparse has printed, so that the interpreter finds no broken pipe at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            hush(stream)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def shown(value: object, width: int | None = None) -> str:
    """A value as one harmless line.

    Parameters:
        width: The most characters; longer ones are cut.
    """
    text = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(value)
    )
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"


def local(time: datetime) -> str:
    """A time as the clock on the wall shows it, with its distance from UTC."""
    return time.astimezone().isoformat(sep=" ", timespec="seconds")


def painted(text: str, colour: str) -> str:
    """A text in a colour where a terminal shows it, and plain elsewhere or with `NO_COLOR`.

    Parameters:
        colour: `"red"`, `"yellow"` or `"green"`.
    """
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


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
