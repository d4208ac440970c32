"""What agents read is short, has the form they expect, and comes with the package."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SKILL = ROOT / "fastapi_events" / ".agents" / "skills" / "fastapi-events" / "SKILL.md"
LLMS = ROOT / "docs" / "llms.txt"


def test_the_skill_says_what_it_is_for() -> None:
    _, head, body = SKILL.read_text().split("---\n", 2)
    said = yaml.safe_load(head)

    assert said["name"] == SKILL.parent.name
    assert said.keys() == {"name", "description"}
    assert "Use when" in said["description"]
    assert len(said["description"]) <= 1_024
    assert len(body.splitlines()) < 150


def test_the_skill_names_settings_and_pages_that_there_are() -> None:
    for page in re.findall(r"`(docs/[\w/-]+\.md)`", SKILL.read_text()):
        assert (ROOT / page).exists()


def test_the_list_of_pages_has_the_form_of_llms_txt() -> None:
    lines = LLMS.read_text().splitlines()

    assert [line for line in lines if line.startswith("# ")] == ["# fastapi-events"]
    assert lines[2].startswith("> ")
    sections = [line for line in lines if line.startswith("## ")]
    assert sections == ["## Start", "## Write", "## Run", "## Look up"]
    assert len(lines) < 80
