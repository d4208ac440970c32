"""Builds the wheel and the source distribution, and says what is wrong with them; `make dist` and a test."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path

from fastapi_events import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastapi_events"
METADATA = f"fastapi_events-{__version__}.dist-info"
LICENSES = ("licenses/LICENSE", "licenses/fastapi_events/console/assets/LICENSES.txt")
LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|\.[a-z_]+_cache|\.hypothesis|\.venv)(/|$)|\.(db|pyc|sqlite3?)(-\w+)?$"
)


def build(source: Path, folder: Path, *targets: str) -> dict[str, Path]:
    """Build from a folder of source, and return the files: `wheel`, `sdist`."""
    options = [each for target in targets for each in ("--target", target)]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), *options],
        cwd=source, check=True, capture_output=True,
    )  # fmt: skip
    kinds = {".whl": "wheel", ".gz": "sdist"}
    return {kinds[path.suffix]: path for path in folder.iterdir() if path.suffix in kinds}


def digest(path: Path) -> str:
    """What two files have in common that are the same byte for byte."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def faults_of_wheel(wheel: Path) -> list[str]:
    """What is wrong with a wheel, in sentences."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = Parser().parsestr(archive.read(f"{METADATA}/METADATA").decode())
        boms = [name for name in names if name.startswith(f"{METADATA}/sboms/")]
        bom = json.loads(archive.read(boms[0])) if boms else {}
    tops = {name.partition("/")[0] for name in names}
    there = {f"fastapi_events/{path}" for path in files_of(PACKAGE)}
    wanted = there | {f"{METADATA}/{each}" for each in ("entry_points.txt", *LICENSES)}
    faults = [f"it has {each} beside the package" for each in sorted(tops - {"fastapi_events", METADATA})]
    faults += [f"it lacks {each}" for each in sorted(wanted - names)]
    in_package = {name for name in names if name.startswith("fastapi_events/")}
    faults += [f"it has {each}, which is not in the source" for each in sorted(in_package - there)]
    if metadata["Version"] != __version__:
        faults.append(f"its version is {metadata['Version']}, and that of the package {__version__}")
    if metadata["License-Expression"] is None or not metadata.get_payload():
        faults.append("it has no licence or no description")
    if bom.get("metadata", {}).get("component", {}).get("version") != __version__:
        faults.append("it has no list of what it bundles, or one of another version")
    listed = {each["properties"][0]["value"] for each in bom.get("components", ())}
    bundled = {name for name in in_package if name.endswith((".min.js", ".min.css"))}
    faults += [f"{each} is bundled or listed, and not both" for each in sorted(listed ^ bundled)]
    return faults


def faults_of_sdist(sdist: Path) -> list[str]:
    """What is wrong with a source distribution, in sentences."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "pyproject.toml",
        "hatch_build.py",
        "README.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "LICENSE",
        "Makefile",
    }
    wanted |= {"mkdocs.yml", "tests/conftest.py", "workers/events.py", "examples/README.md", "docs/index.md"}
    wanted |= {f"fastapi_events/{path}" for path in files_of(PACKAGE)}
    faults = [f"it lacks {each}" for each in sorted(wanted - names)]
    faults += [f"it has {each}, which nobody wrote" for each in sorted(names) if LEFT_OUT.search(each)]
    return faults


def files_of(folder: Path) -> set[str]:
    """The files below a folder that somebody wrote."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {name for path in paths if not LEFT_OUT.search(name := path.relative_to(folder).as_posix())}


def unpacked(sdist: Path, folder: Path) -> Path:
    """A source distribution as its reader has it."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


def main() -> int:
    """Look at a folder that has been built: 0 if it may be released."""
    parser = argparse.ArgumentParser(description="Say what is wrong with a wheel and a source distribution.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tag", help="the tag of the release, which names the version", default="")
    arguments = parser.parse_args()
    built = {path.suffix: path for path in arguments.folder.iterdir()}
    faults = faults_of_wheel(built[".whl"]) + faults_of_sdist(built[".gz"])
    if arguments.tag and arguments.tag != f"v{__version__}":
        faults.append(f"the tag is {arguments.tag}, and the version {__version__}")
    with tempfile.TemporaryDirectory() as again:
        for path in build(ROOT, Path(again)).values():
            if digest(path) != digest(arguments.folder / path.name):
                faults.append(f"built once more, {path.name} has other bytes")
    for fault in faults:
        sys.stderr.write(f"dist: {fault}\n")
    for path in sorted(built.values()):
        sys.stdout.write(f"{digest(path)}  {path.name}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
