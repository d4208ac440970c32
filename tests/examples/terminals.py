"""Do what a page says in its terminals, and compare what they show; for `test_tutorial`.

A block of Python titled with a path is written to that file. A block of the console titled `terminal N` runs
its commands there, in the page's order; what ran in that terminal before is stopped as Ctrl-C does. The lines
after a command are what its terminal shows from then on, in any order, where `…` stands for anything in one
line. So are those of a block of text with such a title. Other blocks are left out.

Programs of Python's that start again and again are forks of one that has imported what they need.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.fork_server import ForkedProcess, ForkServer

FORKED = {"fastapi-events": "fastapi_events", "uvicorn": "uvicorn"}
"""Programs, and the modules that they are."""

PATIENCE_SECONDS = 180
"""For what a terminal shows; on a busy machine a worker takes a minute to start."""

BLOCK = re.compile(r"^```(\w+) title=\"([^\"]+)\"\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A block of a page.

    Parameters:
        kind: `python`, `console` or `text`.
        title: A path, or a terminal.
        text: What stands in it.
    """

    kind: str
    title: str
    text: str


def steps(page: Path) -> list[Step]:
    """The titled blocks of a page."""
    return [Step(*match.groups()) for match in BLOCK.finditer(page.read_text())]


class Terminal:
    """A shell's window: one process at a time, and what all of them have printed."""

    def __init__(self, folder: Path, logs: Path, env: dict[str, str], fork_server: ForkServer) -> None:
        self._folder = folder
        self._logs = logs
        self._env = env
        self._fork_server = fork_server
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None
        self._started = 0
        self._seen = 0
        logs.mkdir()

    @property
    def shown(self) -> str:
        """What the processes have printed, in the order in which they were started."""
        logs = (self._logs / f"{number}.log" for number in range(1, self._started + 1))
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())

    def run(self, command: str) -> None:
        """Run a command, once what ran here before has been stopped."""
        self.stop()
        self._seen = len(self.shown)
        self._started += 1
        log = self._logs / f"{self._started}.log"
        program, *arguments = shlex.split(command)
        if program in FORKED:
            self._process = self._fork_server.start(
                ["-m", FORKED[program], *arguments], folder=self._folder, env=self._env, output=log
            )
            return
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"], cwd=self._folder, env=self._env,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def shows(self, lines: list[str]) -> None:
        """Wait until each line is shown, in any order, in what was not looked at before."""
        patterns = [
            re.compile(r"[^\n]*".join(re.escape(part.strip()) for part in line.split("…"))) for line in lines
        ]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while None in (found := [pattern.search(self.shown, self._seen) for pattern in patterns]):
            missing = lines[found.index(None)]
            assert time.monotonic() < deadline, f"{missing!r} is not shown, but\n{self.shown[self._seen :]}"
            time.sleep(0.02)
        self._seen = max(match.end() for match in found if match is not None)

    def wait(self) -> None:
        """Wait until the command has ended by itself."""
        if self._process is not None:
            self._process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """Press Ctrl-C, and wait for the end."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


class Terminals:
    """All terminals of a page.

    Parameters:
        folder: Where its files are.
        replaced: What the page has, and what to write and type instead: ports that are free.
        waiting: The terminals whose commands end by themselves before the page goes on.
    """

    def __init__(
        self,
        folder: Path,
        env: dict[str, str],
        replaced: dict[str, str],
        waiting: str,
        *,
        fork_server: ForkServer,
    ) -> None:
        self._folder = folder
        self._env = env
        self._fork_server = fork_server
        self._replaced = replaced
        self._waiting = waiting
        self._terminals: dict[str, Terminal] = {}

    def do(self, step: Step) -> None:
        """Do what a block says."""
        text = step.text
        for there, here in self._replaced.items():
            text = text.replace(there, here)
        if step.kind == "python":
            file = self._folder / step.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            return
        if not step.title.startswith("terminal "):
            return
        terminal = self._terminals.get(step.title)
        if terminal is None:
            logs = self._folder.parent / step.title.replace(" ", "-")
            terminal = Terminal(self._folder, logs, self._env, self._fork_server)
            self._terminals[step.title] = terminal
        expected: list[str] = []
        for line in [*text.splitlines(), ""]:
            is_command = step.kind == "console" and line.startswith("$ ")
            if expected and (is_command or not line):
                terminal.shows(expected)
                expected = []
            if is_command:
                terminal.run(line.removeprefix("$ "))
                if step.title == self._waiting:
                    terminal.wait()
            elif line:
                expected.append(line)

    def shown(self) -> str:
        """What all of them have shown."""
        return "\n".join(f"--- {name}\n{each.shown}" for name, each in self._terminals.items())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for each in reversed(self._terminals.values()):
            each.stop()
