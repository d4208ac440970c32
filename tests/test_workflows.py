"""What GitHub runs is what people run, on what the project supports, by actions that cannot be exchanged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CI: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
RELEASE: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_action_is_pinned_to_a_commit_and_says_which_version_that_is(file: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", file.read_text())

    assert used
    for action, comment in used:
        if not action.startswith("./"):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_the_matrix_is_that_of_nox() -> None:
    pythons = re.search(r"^PYTHONS = \[(.+)\]$", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    matrix = CI["jobs"]["test"]["strategy"]["matrix"]

    assert pythons is not None
    assert matrix["python"] == re.findall(r'"(.+?)"', pythons[1])
    assert matrix["dependencies"] == ["oldest", "newest"]


@pytest.mark.parametrize("workflow", [CI, RELEASE], ids=["ci", "release"])
def test_jobs_call_targets_that_there_are(workflow: dict[str, Any]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {
        target
        for job in workflow["jobs"].values()
        for step in job.get("steps", ())
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))
    }

    assert called
    assert called <= targets


def test_only_who_publishes_may_prove_who_it_is() -> None:
    jobs = RELEASE["jobs"]

    assert {name for name, job in jobs.items() if job["permissions"].get("id-token") == "write"} == {
        "publish"
    }
    assert jobs["publish"]["steps"][-1]["with"]["attestations"] is True
    assert jobs["build"]["needs"] == "ci"
    assert CI["permissions"] == RELEASE["permissions"] == {}
