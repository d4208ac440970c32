"""Run the Python blocks of a Markdown page, in order and in one namespace; for `test_docs`.

A block titled with a path is written to that file instead, and later blocks may import it.
"""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

BLOCK = re.compile(r"^( *)```python(?: title=\"([^\"]+)\")?[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """The page's blocks as (title, code, line)."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        indent = len(match[1])
        code = "".join(line[indent:] for line in match[3].splitlines(keepends=True))
        found.append((match[2] or "", code, text.count("\n", 0, match.start(3)) + 1))
    return found


def main(page: Path, broker_url: str) -> None:
    sys.path.insert(0, ".")
    module = types.ModuleType("__page__")
    sys.modules["__page__"] = module
    for title, code, line in blocks(page):
        code = code.replace("redis://localhost:6379/0", broker_url)
        if title:
            file = Path(title)
            for folder in [file.parent, *file.parent.parents][:-1]:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "__init__.py").touch()
            file.write_text(code)
        else:
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), module.__dict__)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
