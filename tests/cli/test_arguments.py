"""What the parsers of all commands share."""

from __future__ import annotations

import argparse

import pytest

from fastapi_events.cli.arguments import add_command, add_group, examples_of, number


def test_examples_are_a_line_each() -> None:
    assert examples_of("\n    one\n    two | three\n") == "Examples:\n  one\n  two | three"


def test_a_number_is_one_or_more() -> None:
    assert number("7") == 7
    for wrong in ("0", "-1", "many", "", "1.5", "²"):
        with pytest.raises(argparse.ArgumentTypeError, match="is no number of 1 or more"):
            number(wrong)


def test_a_command_takes_a_target_and_json_and_says_what_runs() -> None:
    whole = argparse.ArgumentParser()
    actions = add_group(whole.add_subparsers(), "fish", "look after fish", examples="fish count app.events")
    add_command(actions, "count", lambda arguments: 7, "count them", examples="fish count app.events")

    arguments = whole.parse_args(["fish", "count", "app.events", "--json"])

    assert (arguments.target, arguments.json, arguments.run(arguments)) == ("app.events", True, 7)
