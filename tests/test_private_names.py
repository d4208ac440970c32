"""Nothing private of a library is read: names that begin with an underscore are of our own making."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fastapi_events"
FILES = sorted(PACKAGE.rglob("*.py"))

DOCUMENTED = {"_exit"}
"""Of the standard library, and documented there in spite of the underscore."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined_in(tree: ast.AST) -> Iterator[str]:
    """The private names that a file gives to something."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("self", "cls")
        ):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


def read_in(tree: ast.AST) -> Iterator[str]:
    """The private names that a file reads of an object, or imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("fastapi_events"):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr", "hasattr"):
            yield from (
                each.value
                for each in node.args
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            )


TREES = {path: ast.parse(path.read_text()) for path in FILES}
OURS = {name for tree in TREES.values() for name in defined_in(tree)} | DOCUMENTED


def of_others(path: Path) -> set[str]:
    return {name for name in read_in(TREES[path]) if is_private(name) and name not in OURS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_reads_what_is_private_of_a_library(path: Path) -> None:
    assert of_others(path) == set()
