from __future__ import annotations

import gc
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastapi_events.embedded import Backoff, Supervisor
from fastapi_events.errors import ConfigurationError
from tests.processes import until

from .conftest import Python, eventually, is_running

SLEEP = ["sleep", "1000"]
STUBBORN = ["sh", "-c", 'trap "" TERM INT; touch "$0"; while :; do sleep 1000; done']

RUNNER = """
import sys
from fastapi_events.embedded import Supervisor
supervisor = Supervisor(grace=float(sys.argv[1]), output=sys.stdout)
supervisor.add("child", ["sh", "-c", sys.argv[2], *sys.argv[3:]])
supervisor.run()
print("ended with", supervisor.children["child"].exit_code)
"""


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor(grace=10.0, backoff=Backoff(first=0.01))


def pid_of(supervisor: Supervisor, name: str) -> int:
    pid = supervisor.children[name].pid
    assert pid is not None
    return pid


def test_children_run_for_the_length_of_the_block(supervisor: Supervisor) -> None:
    supervisor.add("one", SLEEP)
    supervisor.add("two", SLEEP)

    with supervisor:
        pids = [pid_of(supervisor, name) for name in ("one", "two")]
        assert all(map(is_running, pids))

    assert not any(map(is_running, pids))
    assert [child.exit_code for child in supervisor.children.values()] == [-signal.SIGTERM] * 2
    assert not [thread for thread in threading.enumerate() if thread.name == "supervisor"]


def test_a_killed_child_is_started_again_and_its_sibling_left_alone(supervisor: Supervisor) -> None:
    supervisor.add("victim", SLEEP)
    supervisor.add("sibling", SLEEP)
    victim, sibling = supervisor.children["victim"], supervisor.children["sibling"]

    with supervisor:
        first, other = pid_of(supervisor, "victim"), pid_of(supervisor, "sibling")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: victim.restarts == 1 and victim.pid not in (None, first))

        assert victim.exit_code == -signal.SIGKILL
        assert is_running(pid_of(supervisor, "victim"))
        assert (sibling.pid, sibling.restarts) == (other, 0)


def test_a_child_that_ends_well_is_started_again_too(supervisor: Supervisor) -> None:
    supervisor.add("brief", ["true"])
    brief = supervisor.children["brief"]

    with supervisor:
        eventually(lambda: brief.restarts >= 3 and brief.exit_code == 0)


def test_a_command_that_vanishes_is_tried_again_until_it_is_back(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    command = tmp_path / "command"
    command.write_text("#!/bin/sh\nexec sleep 1000\n")
    command.chmod(0o755)
    supervisor.add("child", [str(command)])
    child = supervisor.children["child"]

    with supervisor:
        command.rename(tmp_path / "elsewhere")
        os.kill(pid_of(supervisor, "child"), signal.SIGKILL)
        eventually(lambda: child.restarts >= 2)
        assert child.pid is None

        (tmp_path / "elsewhere").rename(command)
        eventually(lambda: child.pid is not None)


def test_what_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    supervisor = Supervisor(grace=0.1)
    supervisor.add("stubborn", [*STUBBORN, str(tmp_path / "ready")])

    with supervisor:
        eventually((tmp_path / "ready").exists)

    assert supervisor.children["stubborn"].exit_code == -signal.SIGKILL


def test_a_child_gets_its_variables_on_top_of_ours(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "ours")
    result = tmp_path / "result"
    script = 'echo "$OURS $ITS" > "$0.tmp"; mv "$0.tmp" "$0"; sleep 1000'
    supervisor.add("child", ["sh", "-c", script, str(result)], {"ITS": "its own"})

    with supervisor:
        eventually(result.exists)

    assert result.read_text() == "ours its own\n"


def test_output_lines_carry_the_name_of_their_child() -> None:
    output = io.StringIO()
    supervisor = Supervisor(output=output, backoff=Backoff(first=60.0))
    supervisor.add("cat", ["sh", "-c", "echo meow; echo hiss >&2; printf '\\377no end'"])
    supervisor.add("dog", ["sh", "-c", "echo woof; sleep 1000"])

    with supervisor:
        eventually(lambda: output.getvalue().count("\n") == 4)

    lines = output.getvalue().splitlines()
    assert [line for line in lines if line.startswith("cat")] == [
        "cat | meow",
        "cat | hiss",
        "cat | \N{REPLACEMENT CHARACTER}no end",
    ]
    assert "dog | woof" in lines


def test_an_output_that_is_closed_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    output = io.StringIO()
    output.close()
    supervisor = Supervisor(output=output, backoff=Backoff(first=0.01))
    supervisor.add("chatty", ["sh", "-c", "echo hello; exit 1"])

    with supervisor:
        eventually(lambda: supervisor.children["chatty"].restarts >= 2)

    assert caplog.text.count("can no longer be written") == 1


def test_it_can_be_used_again(supervisor: Supervisor) -> None:
    supervisor.add("child", SLEEP)

    for _ in range(2):
        with supervisor:
            os.kill(pid_of(supervisor, "child"), signal.SIGKILL)
            eventually(lambda: supervisor.children["child"].restarts == 1)
        supervisor.shutdown()


def test_no_file_descriptor_is_left_open() -> None:
    def use() -> None:
        supervisor = Supervisor(output=io.StringIO(), backoff=Backoff(first=0.01))
        supervisor.add("brief", ["true"])
        with supervisor:
            eventually(lambda: supervisor.children["brief"].restarts >= 2)

    use()
    gc.collect()  # what others have left open
    before = os.listdir("/dev/fd")
    use()
    assert os.listdir("/dev/fd") == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_hands_the_signal_on_and_returns(python: Callable[..., Python], number: int) -> None:
    # Given a child that tells which signal it got
    script = """trap 'echo got TERM; exit 3' TERM; trap 'echo got INT; exit 2' INT
                echo ready; while :; do sleep 0.02; done"""
    runner = python(RUNNER, 10, script)
    assert runner.read_line() == "child | ready"

    runner.process.send_signal(number)

    out, _, code = runner.finish()
    name = signal.Signals(number).name.removeprefix("SIG")
    assert out.splitlines() == [f"child | got {name}", f"ended with {3 if name == 'TERM' else 2}"]
    assert code == 0


def test_a_second_signal_does_not_wait_for_the_grace_time(python: Callable[..., Python]) -> None:
    runner = python(RUNNER, 1000, 'trap "echo no" TERM; echo ready; while :; do sleep 0.02; done')
    assert runner.read_line() == "child | ready"

    runner.process.terminate()
    assert runner.read_line() == "child | no"
    runner.process.terminate()

    out, _, code = runner.finish()
    assert out.splitlines()[-1] == f"ended with {-signal.SIGKILL}"
    assert code == 0


def test_children_die_with_a_killed_supervisor(python: Callable[..., Python]) -> None:
    runner = python(RUNNER, 10, "sleep 1000 & echo $$ $!; wait")
    pids = [int(each) for each in runner.read_line().removeprefix("child | ").split()]

    runner.process.kill()

    eventually(lambda: not any(map(is_running, pids)))


def test_a_command_that_cannot_be_run_fails_at_the_start_and_ends_its_siblings(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    supervisor.add("good", ["sh", "-c", 'echo $$ > "$0.tmp"; mv "$0.tmp" "$0"; sleep 1000', str(pid_file)])
    supervisor.add("slow", ["sh", "-c", "sleep 1000"])
    supervisor.add("bad", ["no-such-command"])

    with pytest.raises(ConfigurationError, match=r"'bad' cannot be run: .*no-such-command"):
        supervisor.startup()

    assert supervisor.children["good"].pid is None
    assert supervisor.children["good"].exit_code == -signal.SIGTERM
    if pid_file.exists():
        assert not is_running(int(pid_file.read_text()))


def test_wrong_use_says_what_is_wrong(supervisor: Supervisor) -> None:
    supervisor.add("child", SLEEP)

    with pytest.raises(ConfigurationError, match="called 'child' already"):
        supervisor.add("child", SLEEP)
    with pytest.raises(ConfigurationError, match="pass a list"):
        supervisor.add("words", "sleep 1000")
    with pytest.raises(ConfigurationError, match="pass a list"):
        supervisor.add("nothing", [])
    with supervisor:
        with pytest.raises(ConfigurationError, match="runs already"):
            supervisor.add("late", SLEEP)
        with pytest.raises(ConfigurationError, match="runs already"):
            supervisor.startup()


def test_shutdown_is_not_held_up_by_a_child_that_waits_for_its_restart() -> None:
    supervisor = Supervisor(backoff=Backoff(first=1000.0, longest=1000.0))
    supervisor.add("brief", ["true"])
    supervisor.startup()
    eventually(lambda: supervisor.children["brief"].pid is None)

    before = time.monotonic()
    supervisor.shutdown()

    assert time.monotonic() - before < 500.0  # not the 1000 s until the next start


def test_run_outside_the_main_thread_is_refused(supervisor: Supervisor) -> None:
    refused: list[ConfigurationError] = []

    def run() -> None:
        try:
            supervisor.run()
        except ConfigurationError as error:
            refused.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert "use startup() and shutdown()" in str(refused)


# What says that its command is wrong

SAID_ONCE = """
import sys
from fastapi_events.embedded import Backoff, Supervisor
supervisor = Supervisor(backoff=Backoff(first=0.01, steady_after=1000.0), usage_error=2, output=sys.stdout)
supervisor.add("wrong", ["sh", "-c", "exit 2"])
supervisor.add("good", ["sleep", "1000"])
supervisor.run()
for each in supervisor.children.values():
    print(each.name, each.exit_code, each.restarts)
"""


def test_a_command_that_says_it_is_wrong_ends_the_run_with_its_siblings(
    python: Callable[..., Python],
) -> None:
    out, err, code = python(SAID_ONCE).finish()

    assert (code, out.splitlines()) == (0, ["wrong 2 0", f"good {-signal.SIGTERM} 0"])
    assert "The child 'wrong' ended at once with 2: its command is wrong." in err


@pytest.mark.parametrize(
    ("usage_error", "steady_after", "command"),
    [
        (None, 1000.0, "exit 2"),
        (2, 1000.0, "exit 3"),
        (2, 0.0, "exit 2"),
        (2, 1000.0, '[ -e "$0" ] && exit 2; touch "$0"; exit 1'),
    ],
    ids=["no such code", "another code", "after a steady while", "at a later start"],
)
def test_whatever_else_ends_is_started_again(
    usage_error: int | None, steady_after: float, command: str, tmp_path: Path
) -> None:
    backoff = Backoff(first=0.01, longest=0.01, steady_after=steady_after)
    supervisor = Supervisor(backoff=backoff, usage_error=usage_error)
    supervisor.add("child", ["sh", "-c", command, str(tmp_path / "started")])

    with supervisor:
        eventually(lambda: supervisor.children["child"].restarts > 2)


def test_a_child_that_is_to_start_again_and_does_not_end_is_killed(tmp_path: Path) -> None:
    deaf = f"import pathlib, signal, time; signal.signal({int(signal.SIGTERM)}, signal.SIG_IGN);"
    deaf += f"pathlib.Path({str(tmp_path / 'deaf')!r}).touch(); time.sleep(100)"
    supervisor = Supervisor(grace=0.1, backoff=Backoff(first=0.01))
    supervisor.add("worker", [sys.executable, "-c", deaf])
    supervisor.restart("worker")  # which has not started: nothing happens

    with supervisor:
        worker = supervisor.children["worker"]
        until(lambda: (tmp_path / "deaf").exists(), "that it hears no SIGTERM")
        supervisor.restart("worker")
        until(lambda: worker.restarts == 1, "that it is started again")
        assert worker.exit_code == -signal.SIGKILL
