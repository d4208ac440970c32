"""What all commands have in common: targets, exit codes, `--help`, and readers who have gone."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastapi_events.cli import main, parser
from fastapi_events.errors import NotPublished
from fastapi_events.storage.memory import MemoryDeadLetters
from tests.cli.conftest import Ran, letter

ROOT = Path(__file__).parents[2]

Run = Callable[..., Ran]


# Asked in a wrong way: 2


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such_module", "There is no module 'no_such_module' here"),
        ("shop_event", "did you mean 'shop_events'?"),
        ("shop_events.py", "is a file; name the module: shop_events"),
        ("shop_events:nothing", "shop_events has no 'nothing'"),
        ("shop_events:event", "did you mean 'events'?"),
        ("shop_events:ListHandler", "is the class ListHandler; name what was made of it"),
        ("shop_events:__name__", "is a str; expected a DramatiqHandler, a CeleryHandler"),
        ("empty_module", "empty_module holds no DramatiqHandler or CeleryHandler"),
    ],
)
@pytest.mark.parametrize(
    "command", [("doctor",), ("dead", "list"), ("outbox", "status"), ("relay",), ("worker",)]
)
def test_a_wrong_target_is_named(run: Run, command: tuple[str, ...], target: str, said: str) -> None:
    ran = run(*command, target)

    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_without_a_command_the_usage_is_shown(run: Run) -> None:
    ran = run()

    assert ran.code == 2
    assert "usage: fastapi-events" in ran.err


def test_only_the_worker_passes_on_what_follows_two_dashes(run: Run) -> None:
    ran = run("doctor", "shop_events", "--", "--pool", "solo")

    assert ran.code == 2
    assert "only `worker` passes on what follows --" in ran.err


# Not done: 1


def test_a_broker_that_takes_nothing_is_not_done(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1))
    app.events.refusing = ConnectionError("away")

    ran = run("dead", "replay", "shop_events:events", "letter-1")

    assert ran.code == 1
    assert "away" in ran.err
    assert NotPublished.__name__ not in ran.err


def test_ctrl_c_ends_a_command(run: Run, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(MemoryDeadLetters, "list", interrupted)

    assert run("dead", "list", "shop_events:events").code == 130


# A reader who has gone


def _closed_at_once(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Run a command whose standard output nobody reads, and tell its exit code and what it complains of."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "fastapi_events", *arguments],
            stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, cwd=cwd,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{cwd}"},
        )  # fmt: skip
    finally:
        os.close(writing)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("doctor", "shop_events:bare"), 1),
        (("doctor", "shop_events:bare", "--json"), 1),
        (("dead", "list", "shop_events:events"), 0),
        (("outbox", "setup", "shop_events:events"), 0),
        (("outbox", "status", "shop_events:events"), 0),
        (("--help",), 0),
        (("dead", "list", "--help"), 0),
        (("--print-completion", "bash"), 0),
    ],
    ids=str,
)
def test_a_closed_pipe_changes_nothing(app: Any, arguments: tuple[str, ...], code: int) -> None:
    assert _closed_at_once(*arguments, cwd=Path(app.__file__).parent) == (code, "")


# --help


def _parsers(whole: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield whole
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _parsers(each)


PARSERS = list(_parsers(parser()))


@pytest.mark.parametrize("each", PARSERS, ids=lambda each: each.prog)
def test_every_help_ends_with_an_example_that_can_be_typed(each: argparse.ArgumentParser) -> None:
    assert each.epilog is not None
    shown = each.format_help()
    examples = shown[shown.index("Examples:") :].splitlines()[1:]
    assert examples
    for line in examples:
        typed = shlex.split(re.split(r" (?:\||<|--) ", line)[0])
        assert typed[0] == "fastapi-events"
        parser().parse_args(typed[1:])
        assert line.strip().startswith(each.prog)


LEAVES = [each for each in PARSERS if each.get_default("run") is not None]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda each: each.prog)
def test_every_command_that_answers_can_answer_programs(leaf: argparse.ArgumentParser) -> None:
    options = {option for action in leaf._actions for option in action.option_strings}

    shows_what_others_do = leaf.prog in ("fastapi-events worker", "fastapi-events console")
    assert ("--json" in options) is not shows_what_others_do


def test_a_script_for_the_shell_completes_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", "bash"])

    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert "doctor" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_without_shtab_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    monkeypatch.delitem(sys.modules, "fastapi_events.cli.completion", raising=False)

    assert main(["--print-completion", "bash"]) == 2
    assert "pip install 'fastapi-events[completion]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "usage", "says"),
    [
        (
            "dead list app.events --evnt x",
            "usage: fastapi-events dead list",
            "unrecognized arguments: --evnt x",
        ),
        (
            "worker app.handlers --processes 1",
            "usage: fastapi-events worker MODULE",
            "is to get follows --: fastapi-events worker app.handlers -- --processes 1",
        ),
    ],
)
def test_what_no_command_knows_is_refused_with_the_usage_of_the_one_that_was_meant(
    typed: str, usage: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(typed.split())

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(usage)
    assert says in said
