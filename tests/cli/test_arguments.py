"""What the parsers of all commands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from fastapi_events import cli
from fastapi_events.cli.arguments import add_command, add_group, examples_of, number


def test_examples_are_a_line_each() -> None:
    assert examples_of("\n    one\n    two | three\n") == "Examples:\n  one\n  two | three"


def test_a_number_is_one_or_more() -> None:
    assert number("7") == 7
    for wrong in ("0", "-1", "many", "", "1.5", "²"):
        with pytest.raises(argparse.ArgumentTypeError, match="is no number of 1 or more"):
            number(wrong)


@pytest.mark.parametrize("wrong", ["", " "])
@pytest.mark.parametrize(
    "command",
    [
        "dead list app.events --subscription", "dead discard app.events --all --error",
        "dead replay app.events --event", "dead groups app.events --key", "dead list app.events --group",
        "event list app.events --name", "event tail app.events --key", "emit app.events order-paid --key",
        "worker app.handlers --probe", "worker app.handlers --reload --watch", "console app.events --host",
        "console app.events --auth",
    ],
)  # fmt: skip
def test_an_option_refuses_what_a_variable_leaves_that_is_not_set(
    command: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parser().parse_args([*command.split(), wrong])

    assert ended.value.code == 2
    assert f"{wrong!r} is empty; is a variable not set?" in capsys.readouterr().err


def test_a_command_takes_a_target_and_json_and_says_what_runs() -> None:
    whole = argparse.ArgumentParser()
    actions = add_group(whole.add_subparsers(), "fish", "look after fish", examples="fish count app.events")
    add_command(actions, "count", lambda arguments: 7, "count them", examples="fish count app.events")

    arguments = whole.parse_args(["fish", "count", "app.events", "--json"])

    assert (arguments.target, arguments.json, arguments.run(arguments)) == ("app.events", True, 7)


def every_parser(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from every_parser(each)


def test_no_command_takes_half_of_an_option_for_it() -> None:
    taken = [each.prog for each in every_parser(cli.parser()) if each.allow_abbrev]

    assert taken == []
