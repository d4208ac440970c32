"""What the processes of the shop write down: append-only files, a line for each thing that happened.

A line is one `write` to a file opened for appending, so that neither another process nor a kill mixes it up.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("SHOP_FOLDER", "."))
CONFIG: dict[str, Any] = json.loads(os.environ.get("SHOP_CONFIG", "{}"))


def note(book: str, **what: Any) -> None:
    """Write a line into a book."""
    line = json.dumps({**what, "pid": os.getpid()}) + "\n"
    file = os.open(FOLDER / f"{book}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
