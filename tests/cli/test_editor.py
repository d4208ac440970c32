"""A dead letter whose payload somebody changes before it is replayed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, letter

Run = Callable[..., Ran]
Edit = Callable[[str], None]

APP = "shop_events:events"
ARGUMENT = json.dumps(
    {
        "specversion": "1.0", "id": "event-1", "type": "order", "sensitive": "pin",
        "data": {"cat": 1, "pin": "4242"},
    }
)  # fmt: skip


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """Let the editor be a Python script that gets the file's text as `text`."""

    def use(script: str) -> None:
        file = tmp_path / "editor.py"
        file.write_text(
            "import sys, pathlib\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n"
            f"{script}\nfile.write_text(text)\n"
        )
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", shlex.join([sys.executable, str(file)]))

    return use


@pytest.fixture
def kept(app: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    letters = app.events.dead_letters
    monkeypatch.setattr(letters, "allows_editing", True)
    letters.add(letter(1, argument=ARGUMENT))
    return letters


def replay(run: Run) -> Ran:
    return run("dead", "replay", APP, "letter-1", "--edit")


def test_what_was_written_is_replayed_and_masked_values_stay(
    run: Run, app: Any, kept: Any, editor: Edit
) -> None:
    editor("assert '\"***\"' in text and '4242' not in text\ntext = text.replace('\"cat\": 1', '\"cat\": 2')")

    ran = replay(run)

    assert (ran.code, ran.out) == (0, "letter-1 replayed\n")
    [message] = app.events.sent
    assert message.id == "letter-1"
    assert json.loads(message.argument)["data"] == {"cat": 2, "pin": "4242"}
    assert kept.count() == 0


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("pass", 1, "Nothing was changed, and nothing replayed."),
        ("text = '{'", 2, "What was written is no JSON"),
        ("sys.exit(3)", 2, "The editor has ended with 3"),
    ],
)
def test_otherwise_nothing_is_replayed(
    run: Run, app: Any, kept: Any, editor: Edit, script: str, code: int, said: str
) -> None:
    editor(script)

    ran = replay(run)

    assert ran.code == code
    assert said in ran.err
    assert (app.events.sent, kept.count()) == ([], 1)


def test_an_editor_that_is_not_there_is_named(run: Run, kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "/no/such/editor")

    ran = replay(run)

    assert ran.code == 2
    assert "The editor '/no/such/editor' cannot be started" in ran.err


def test_a_store_has_to_allow_it(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1, argument=ARGUMENT))

    ran = replay(run)

    assert ran.code == 2
    assert "make it with edit_letters=True" in ran.err
