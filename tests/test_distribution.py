"""What would be released is what should be, and the same source makes the same bytes."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from fastapi_events import __version__
from tests.distribution import (
    METADATA,
    ROOT,
    build,
    digest,
    faults_of_sdist,
    faults_of_wheel,
    unpacked,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the source distribution of this source."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def test_the_wheel_has_the_package_and_nothing_else(built: dict[str, Path]) -> None:
    assert faults_of_wheel(built["wheel"]) == []


def test_the_source_distribution_has_what_its_reader_needs(built: dict[str, Path]) -> None:
    assert faults_of_sdist(built["sdist"]) == []


def test_the_source_distribution_makes_the_same_wheel(built: dict[str, Path], tmp_path: Path) -> None:
    source = unpacked(built["sdist"], tmp_path / "source")
    again = build(source, tmp_path / "dist", "wheel")

    assert digest(again["wheel"]) == digest(built["wheel"])


def test_an_index_would_take_both(built: dict[str, Path]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.values())],
        capture_output=True, text=True,
    )  # fmt: skip

    assert run.returncode == 0, run.stdout + run.stderr


def test_a_wheel_with_what_does_not_belong_there_is_found_out(built: dict[str, Path], tmp_path: Path) -> None:
    wheel = tmp_path / built["wheel"].name
    with zipfile.ZipFile(built["wheel"]) as good, zipfile.ZipFile(wheel, "w") as bad:
        for name in good.namelist():
            if name != "fastapi_events/py.typed" and "/sboms/" not in name:
                bad.writestr(name, good.read(name))
        bad.writestr("tests/test_it.py", "")

    assert faults_of_wheel(wheel)[:3] == [
        "it has tests beside the package",
        "it lacks fastapi_events/py.typed",
        "it has no list of what it bundles, or one of another version",
    ]


def test_the_version_stands_in_one_place() -> None:
    spelt = re.compile(rf'^(?:__version__|version) = "{re.escape(__version__)}"', re.MULTILINE)
    places = [path for path in [ROOT / "pyproject.toml", *(ROOT / "fastapi_events").rglob("*.py")]
              if spelt.search(path.read_text())]  # fmt: skip

    assert places == [ROOT / "fastapi_events" / "__init__.py"]
    assert f"fastapi_events-{__version__}.dist-info" == METADATA


def test_what_is_bundled_is_of_the_version_that_its_licence_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    bundled = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["bundled"]
    said = (ROOT / "fastapi_events" / "console" / "assets" / "LICENSES.txt").read_text()
    expression = project["project"]["license"].split(" AND ")

    assert bundled
    for each in bundled:
        name, version = Path(each["path"]).name, each["version"]
        assert re.search(
            rf"^{re.escape(name)}: .*{re.escape(version)} \(npm {re.escape(each['name'])}\)", said, re.M
        )
        assert each["license"] in expression
