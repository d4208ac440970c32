"""Keeps a handful of commands running: the worker processes of the demo, or of a small deployment."""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TextIO

from fastapi_events import checks
from fastapi_events.embedded.signals import SignalInbox
from fastapi_events.embedded.supervised import Backoff, SupervisedChild
from fastapi_events.errors import ConfigurationError

logger: logging.Logger = logging.getLogger(__name__)


@checks.names_parameters
class Supervisor:
    """Runs commands, and starts again whichever ends: with the exit code 0, too, since none of them should.

        supervisor = Supervisor()
        supervisor.add("worker", ["dramatiq", "app.handlers"])
        supervisor.run()

    The children end with this process, even by SIGKILL, and take their own children along. Use `run()` to
    do nothing else until SIGTERM or SIGINT; or a `with` block (`startup()`, `shutdown()`) to have it work
    beside you, in one thread that ends with the block.

    Parameters:
        grace: Seconds that the children have to end, from the signal to stop until SIGKILL.
        backoff: How long to wait before a child is started again.
        output: Where to write the children's lines, each with its child's name before it. By default the
            children have this process's stdout and stderr.
        usage_error: The exit code by which a command says that it was written wrongly; none by default.
            Where a child's first process ends with it before it counts as steady, all of them are stopped,
            since another start would end the same way.
    """

    def __init__(
        self,
        *,
        grace: float = 10.0,
        backoff: Backoff | None = None,
        output: TextIO | None = None,
        usage_error: int | None = None,
    ) -> None:
        self._grace = checks.seconds("grace", grace)
        self._usage_error = None if usage_error is None else checks.whole("usage_error", usage_error, least=0)
        if backoff is not None:
            checks.instance("backoff", backoff, Backoff, such_as="Backoff(first=1.0)")
        self._backoff = backoff or Backoff()
        self._output = output
        self._children: dict[str, SupervisedChild] = {}
        self._thread: threading.Thread | None = None
        self._running = False
        self._requested_stop: int | None = None
        self._to_restart: deque[str] = deque()
        self._deadline: float | None = None
        self._killed = False

    def add(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Have one more command run, from the start on.

        Parameters:
            name: What it is called here, in logs and before its lines of output.
            argv: The command; no shell looks at it.
            env: Variables on top of this process's own.

        Raises:
            ConfigurationError: The name is taken, the command is no list of words, or it is too late.
        """
        if self._running:
            raise ConfigurationError(f"The supervisor runs already: add {name!r} before startup() or run().")
        if name in self._children:
            raise ConfigurationError(f"There is a child called {name!r} already: choose another name.")
        if isinstance(argv, str) or not argv:
            raise ConfigurationError(f"argv={argv!r} is no command: pass a list such as ['dramatiq', 'app'].")
        self._children[name] = SupervisedChild(
            name,
            argv,
            env=env,
            grace=self._grace,
            backoff=self._backoff,
            write=self._write if self._output is not None else None,
        )

    @property
    def children(self) -> Mapping[str, SupervisedChild]:
        """The children by name, each with its `pid`, `restarts` and last `exit_code`."""
        return MappingProxyType(self._children)

    @property
    def is_stopping(self) -> bool:
        """Whether the children have been told to end, and none is started again."""
        return self._deadline is not None

    def run(self) -> None:
        """Run the children until SIGTERM or SIGINT, which they get too; at a second one they are killed.

        Returns too once a child has ended with the `usage_error`.

        Raises:
            ConfigurationError: A command cannot be run; or this is not the main thread, the only one that
                gets signals.
        """
        if threading.current_thread() is not threading.main_thread():
            raise ConfigurationError("run() needs the main thread: elsewhere use startup() and shutdown().")
        with SignalInbox() as inbox:
            self._start_children()
            try:
                self._supervise(inbox)
            finally:
                self._end()

    def startup(self) -> None:
        """Start the children, and watch over them in a thread until `shutdown()`.

        Raises:
            ConfigurationError: A command cannot be run.
        """
        self._start_children()
        # A daemon, lest a forgotten shutdown() keep the interpreter; the children end with the process.
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        """Stop the children with SIGTERM, after the grace time with SIGKILL; return once they have ended."""
        if self._thread is not None:
            self._requested_stop = signal.SIGTERM
            self._waker.send(b"!")
            self._thread.join()
            self._thread = None
            self._end()

    def restart(self, name: str) -> None:
        """Have a child end, by SIGTERM and after the grace time by SIGKILL, and start again; from any thread.

        Nothing happens where it does not run.
        """
        self._to_restart.append(name)
        with contextlib.suppress(OSError, AttributeError):  # it does not run yet, or no longer
            self._waker.send(b"!")

    def __enter__(self) -> Supervisor:
        self.startup()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    def _start_children(self) -> None:
        if self._running:
            raise ConfigurationError("The supervisor runs already.")
        self._running = True
        self._requested_stop, self._deadline, self._killed = None, None, False
        self._to_restart.clear()
        self._waker, self._wake_up = socket.socketpair()
        try:
            for child in self._children.values():
                child.start()
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        for child in self._children.values():
            if child.process is not None:  # only where not all could be started, or the loop has failed
                child.ended(child.process.shutdown(), expected=True)
        self._waker.close()
        self._wake_up.close()
        self._running = False

    # The loop

    def _supervise(self, inbox: SignalInbox | None = None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_up, selectors.EVENT_READ, self._on_wake_up)
            if inbox is not None:
                selector.register(inbox, selectors.EVENT_READ, partial(self._on_signal, inbox))
            for child in self._children.values():
                self._watch(child, selector)
            while self._deadline is None or any(child.process for child in self._children.values()):
                for key, _ in selector.select(self._until_next_deed()):
                    if key.fileobj in selector.get_map():  # else an earlier key of the batch has ended it
                        react: Callable[[], None] = key.data
                        react()
                self._do_what_is_due(selector)

    def _watch(self, child: SupervisedChild, selector: selectors.BaseSelector) -> None:
        if child.process is not None:
            selector.register(child.process, selectors.EVENT_READ, partial(self._on_end, child, selector))
        if child.pipe is not None:
            selector.register(child.pipe, selectors.EVENT_READ, partial(self._on_output, child, selector))

    def _on_wake_up(self) -> None:
        self._wake_up.recv(16)
        if self._requested_stop is not None:
            self._stop(self._requested_stop)
        while self._to_restart:
            child = self._children[self._to_restart.popleft()]
            if child.process is not None and child.kill_at is None and self._deadline is None:
                child.kill_at = time.monotonic() + self._grace
                child.process.send_signal(signal.SIGTERM)

    def _on_signal(self, inbox: SignalInbox) -> None:
        for number in inbox.take():
            self._stop(number)

    def _on_end(self, child: SupervisedChild, selector: selectors.BaseSelector) -> None:
        process = child.process
        if process is None or (exit_code := process.exit_code) is None:
            return
        selector.unregister(process)
        if child.pipe is not None:
            selector.unregister(child.pipe)
        if self._deadline is None and exit_code == self._usage_error and child.ends_at_once:
            logger.error(
                "The child %r ended at once with %s: its command is wrong. Nothing is started again.",
                child.name, exit_code,
            )  # fmt: skip
            self._stop(signal.SIGTERM)
        child.ended(exit_code, expected=self._deadline is not None)

    def _on_output(self, child: SupervisedChild, selector: selectors.BaseSelector) -> None:
        pipe = child.pipe
        child.forward_output()
        if pipe is not None and child.pipe is None:
            selector.unregister(pipe)

    def _stop(self, number: int) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace
            for child in self._children.values():
                child.due = None
                if child.process is not None:
                    child.process.send_signal(number)
        else:
            self._deadline = time.monotonic()

    def _until_next_deed(self) -> float | None:
        times = [child.due for child in self._children.values() if child.due is not None]
        times += [child.kill_at for child in self._children.values() if child.kill_at is not None]
        if self._deadline is not None and not self._killed:
            times.append(self._deadline)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _do_what_is_due(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.due is not None and child.due <= now:
                child.start_again()
                self._watch(child, selector)
            if child.kill_at is not None and child.kill_at <= now:
                child.kill_at = None
                if child.process is not None:
                    logger.warning("The child %r (pid %s) does not end: SIGKILL.", child.name, child.pid)
                    child.process.send_signal(signal.SIGKILL)
        if self._deadline is not None and not self._killed and self._deadline <= now:
            self._killed = True
            for child in self._children.values():
                if child.process is not None:
                    logger.warning("The child %r (pid %s) does not end: SIGKILL.", child.name, child.pid)
                    child.process.send_signal(signal.SIGKILL)

    def _write(self, line: str) -> None:
        try:
            if self._output is not None:
                self._output.write(line)
                self._output.flush()
        except (OSError, ValueError) as error:  # closed, or a pipe without a reader
            self._output = None
            logger.warning("The children's output can no longer be written, and is dropped: %s", error)
