"""SIGTERM and SIGINT as something to wait for among other things, instead of an exception anywhere."""

from __future__ import annotations

import signal
import socket
from types import TracebackType

_CAUGHT = (signal.SIGTERM, signal.SIGINT)


class SignalInbox:
    """Collects SIGTERM and SIGINT for the length of a `with` block, which has to be in the main thread."""

    def __enter__(self) -> SignalInbox:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self._handlers_before = {number: signal.signal(number, lambda *_: None) for number in _CAUGHT}
        self._fd_before = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._handlers_before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set from Python
        self._reading.close()
        self._writing.close()

    def fileno(self) -> int:
        """Readable once there is something to `take()`."""
        return self._reading.fileno()

    def take(self) -> list[int]:
        """The signals that have come since the last call."""
        try:
            received = self._reading.recv(4096)
        except BlockingIOError:
            return []
        return [number for number in received if number in _CAUGHT]
