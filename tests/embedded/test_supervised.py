"""One child of a supervisor: started, ended, started again; its output by lines."""

from __future__ import annotations

import logging
import select
import time

import pytest

from fastapi_events.embedded.supervised import Backoff, SupervisedChild
from fastapi_events.errors import ConfigurationError

from .conftest import eventually


def child(*argv: str, written: list[str] | None = None, backoff: Backoff | None = None) -> SupervisedChild:
    write = None if written is None else written.append
    backoff = backoff or Backoff(first=1.0, longest=4.0)
    return SupervisedChild("it", argv, env={"GREETING": "hello"}, grace=10.0, backoff=backoff, write=write)


def end(it: SupervisedChild, *, expected: bool = False) -> None:
    assert it.process is not None
    exit_code = it.process.wait(30)
    assert exit_code is not None
    it.ended(exit_code, expected=expected)


def test_the_wait_doubles_up_to_a_bound_and_begins_anew_after_a_steady_while() -> None:
    backoff = Backoff(first=1.0, longest=5.0, steady_after=10.0)

    waits = [backoff.after(None, ran=0.0)]
    for _ in range(4):
        waits.append(backoff.after(waits[-1], ran=9.9))

    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.after(5.0, ran=10.0) == 1.0


def test_the_first_wait_is_no_longer_than_the_longest() -> None:
    assert Backoff(first=9.0, longest=5.0).after(None, ran=0.0) == 5.0


def test_it_knows_its_pid_while_it_runs_and_its_exit_code_afterwards() -> None:
    it = child("sh", "-c", "exit 3")
    assert (it.pid, it.exit_code) == (None, None)

    it.start()
    assert it.pid
    end(it)

    assert (it.pid, it.exit_code) == (None, 3)


def test_an_unexpected_end_is_followed_by_a_start_that_waits_longer_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it, waits = child("true"), []
    it.start()
    for _ in range(4):
        end(it)
        assert it.due is not None
        waits.append(round(it.due - time.monotonic()))
        it.start_again()
    end(it, expected=True)

    assert waits == [1, 2, 4, 4]
    assert it.restarts == 4
    assert "it is started again in 4.0 s" in caplog.text


def test_an_expected_end_is_the_last() -> None:
    it = child("true")
    it.start()

    end(it, expected=True)

    assert (it.due, it.restarts) == (None, 0)


def test_a_command_that_cannot_be_run_is_an_error_at_the_first_start_and_a_wait_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it = child("no-such-command", written=[])

    with pytest.raises(ConfigurationError, match="'it' cannot be run"):
        it.start()
    assert it.pipe is None
    with caplog.at_level(logging.ERROR):
        it.start_again()

    assert it.due is not None
    assert "The next attempt follows in 1.0 s" in caplog.text


def read(it: SupervisedChild) -> None:
    """Hand its output on until it ends."""
    while it.pipe is not None:
        assert select.select([it.pipe], [], [], 30)[0]
        it.forward_output()


def test_its_lines_carry_its_name_and_its_variables_reach_it() -> None:
    written: list[str] = []
    it = child("sh", "-c", 'echo "$GREETING"; printf "no end"', written=written)
    it.start()

    read(it)
    end(it, expected=True)

    assert written == ["it | hello\n", "it | no end\n"]


def test_a_line_without_an_end_is_cut() -> None:
    written: list[str] = []
    it = child("sh", "-c", "head -c 150000 /dev/zero | tr '\\0' x", written=written)
    it.start()

    read(it)
    end(it, expected=True)

    assert len(written) >= 2
    assert "".join(line.removeprefix("it | ").rstrip("\n") for line in written) == "x" * 150_000


def test_nothing_to_read_is_no_end() -> None:
    it = child("sleep", "1000", written=[])
    it.start()

    it.forward_output()

    assert it.pipe is not None
    assert it.process is not None
    it.process.shutdown()
    end(it, expected=True)
    eventually(lambda: it.pipe is None)


def test_output_that_nobody_takes_is_left_alone() -> None:
    it = child("true")
    it.start()
    assert it.pipe is None
    it.forward_output()
    end(it, expected=True)
