"""Objects of task_queue/ are given objects: what is injected as a function, no type checker follows."""

from __future__ import annotations

import ast
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "fastapi_events" / "handlers" / "task_queue"

SETTINGS = FOLDER / "settings.py"
"""What is a function there is the user's, who writes functions rather than objects."""

MOST = 2
"""A clock, for tests, and the application's own `context_from`, on its way to the worker."""


def injected(code: str) -> list[str]:
    """The parameters of constructors, and the fields of dataclasses, that are functions."""
    tree = ast.parse(code)
    aliases = {"Callable"} | {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.value is not None
        and "Callable" in ast.unparse(node.value)
    }
    found = []
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for node in kind.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                given = [(each.arg, each.annotation) for each in [*node.args.args, *node.args.kwonlyargs]]
            elif isinstance(node, ast.AnnAssign):
                given = [(ast.unparse(node.target), node.annotation)]
            else:
                continue
            found += [
                f"{kind.name}({name})"
                for name, annotation in given
                if annotation is not None and ast.unparse(annotation).startswith(tuple(aliases))
            ]
    return found


def test_few_functions_are_injected() -> None:
    found = [
        f"{path.relative_to(FOLDER)}: {each}"
        for path in sorted(FOLDER.rglob("*.py"))
        if path != SETTINGS
        for each in injected(path.read_text())
    ]

    assert len(found) <= MOST, found


def test_those_of_each_kind_are_found() -> None:
    code = """
Clock: TypeAlias = Callable[[], float]

class A:
    def __init__(self, name: str, made: Callable[[], str] | None, *, clock: Clock) -> None: ...

@dataclass
class B:
    name: str
    look: Callable[[], object]
"""
    assert injected(code) == ["A(made)", "A(clock)", "B(look)"]


def test_a_flush_and_a_failed_attempt_can_be_followed_without_meeting_a_lambda() -> None:
    lambdas = [
        f"{path.relative_to(FOLDER)}:{node.lineno}"
        for path in sorted(FOLDER.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Lambda)
    ]

    assert lambdas == []
