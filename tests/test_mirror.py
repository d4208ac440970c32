"""Each module has a test file of its name, in the same place."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]

TESTED_ELSEWHERE: dict[str, str] = {}
"""Modules without a test file of their own, and why."""


def tested_in(module: Path) -> Path:
    """Where the tests of a module are: those of `storage/sql.py` in `tests/storage/test_sql.py`."""
    return ROOT / "tests" / module.parent / f"test_{module.stem.strip('_')}.py"


def test_each_module_has_a_test_file_of_its_own() -> None:
    package = ROOT / "fastapi_events"
    modules = [path.relative_to(package) for path in package.rglob("*.py") if path.name != "__init__.py"]
    without = {str(module) for module in modules if not tested_in(module).exists()}

    assert sorted(without - set(TESTED_ELSEWHERE)) == []
    assert sorted(set(TESTED_ELSEWHERE) - without) == [], "these have one by now"
