"""Run the Python blocks of a Markdown page, in order and in one namespace; for `test_docs`.

A block titled with a path is written to that file instead, and later blocks may import it.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
import warnings
from pathlib import Path

BLOCK = re.compile(r"^( *)```python(?: title=\"([^\"]+)\")?[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)

NOT_IMPORTED = ("tests", "migrations")
"""Folders of files that another program loads, and that may do more than define something."""


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """The page's blocks as (title, code, line)."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        indent = len(match[1])
        code = "".join(line[indent:] for line in match[3].splitlines(keepends=True))
        found.append((match[2] or "", code, text.count("\n", 0, match.start(3)) + 1))
    return found


def main(page: Path, replaced: dict[str, str], *, import_files: bool = False) -> None:
    """Run a page.

    Parameters:
        replaced: What the page has, and what to run instead: the URLs of servers.
        import_files: Whether the files that it shows are imported in the end, used or not.
    """
    warnings.simplefilter("error")
    module = types.ModuleType("__page__")
    sys.modules["__page__"] = module
    files = []
    for title, code, line in blocks(page):
        for there, here in replaced.items():
            code = code.replace(there, here)
        if title:
            file = Path(title)
            for folder in [file.parent, *file.parent.parents][:-1]:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "__init__.py").touch()
            file.write_text(code)
            files.append(file)
        else:
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), module.__dict__)
    for file in dict.fromkeys(files) if import_files else ():
        if file.parts[0] not in NOT_IMPORTED:
            importlib.import_module(".".join(file.with_suffix("").parts))
