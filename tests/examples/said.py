"""What the package says: texts of its errors, and of its log from WARNING on; for `test_troubleshooting`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "fastapi_events"

BUILTIN = {"LookupError", "RuntimeError", "TypeError"}
"""Errors that are not ours by their class, and that a user of ours may see all the same."""

LOUD = {"warning", "error", "exception", "critical", "log"}
"""Methods of a logger that say what a person may look for; `log` has its level from somewhere else."""

_FORMAT = re.compile(r"%[-.\d]*[sdrf]")


@dataclass(frozen=True, order=True)
class Said:
    """A text, with `…` for what is filled in.

    Parameters:
        path: The file, from the package's folder.
        line: Where in it.
        text: The text; None where another function makes it.
    """

    path: str
    line: int
    text: str


@cache
def errors_and_warnings() -> tuple[Said, ...]:
    """All of them, in the order of files and lines."""
    ours = _error_classes()
    return tuple(
        sorted(
            Said(str(path.relative_to(PACKAGE)), node.lineno, found)
            for path, tree in _trees()
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and (found := _spoken(node, ours)) is not None
        )
    )


def _spoken(call: ast.Call, errors: set[str]) -> str | None:
    """The text of a call that makes an error of ours or writes a loud line."""
    function, arguments = call.func, call.args
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if isinstance(function, ast.Attribute) and name in LOUD and "logger" in ast.unparse(function.value):
        return text_of(arguments[1 if name == "log" else 0])
    is_super = (
        isinstance(function, ast.Attribute) and name == "__init__" and "super()" in ast.unparse(function)
    )
    if (name in errors or is_super) and arguments:
        found = text_of(arguments[0])
        return found if found and " " in found else None  # a word alone is an argument of its __init__
    return None


def text_of(node: ast.expr) -> str | None:
    """What a literal says, with `…` for what is filled in; None where it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _FORMAT.sub("…", node.value).replace("\n", " ")
    if isinstance(node, ast.JoinedStr):
        return "".join(
            text_of(each) or "…" if isinstance(each, ast.Constant) else "…" for each in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or "…") + (text_of(node.right) or "…")
    return None


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def _error_classes() -> set[str]:
    """The names of our errors, and of what the package derives from them."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for _, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    ours = {"FastapiEventError", *BUILTIN}
    while more := {name for name, of in bases.items() if of & ours} - ours:
        ours |= more
    return ours
