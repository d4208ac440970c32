"""The embedded server: a Valkey of one's own that keeps its data."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from types import TracebackType

from fastapi_events import checks
from fastapi_events.embedded import probe
from fastapi_events.embedded.binary import find_binary
from fastapi_events.embedded.child import ChildProcess
from fastapi_events.embedded.lock import DirectoryLock
from fastapi_events.errors import ConfigurationError

_GRACE = 10.0
_KILL_PATIENCE = 5.0
_PORT_ATTEMPTS = 5
_ASK_AGAIN_AFTER = 0.01
_LOG_TAIL_BYTES = 4096


@checks.names_parameters
class EmbeddedServer:
    """A Valkey (or Redis) server on 127.0.0.1 that ends with this process and keeps its data in a directory.

        with EmbeddedServer(".valkey") as server:
            broker = SafeRedisBroker(url=server.url)

    Every write is appended to a file: what a client was told to be stored survives the end of the server,
    by SIGKILL too; at a power cut up to a second of it is lost. A full memory refuses writes, and evicts
    nothing. In the directory are also `url`, while the server runs, `lock` and `server.log`.

    The same object can be started again after its server has ended, and keeps its port.

    Parameters:
        data_dir: The directory, made if need be. One server at a time uses it.
        port: 0 takes a free one.
        start_timeout: Seconds until the server must answer; a long file takes a while to load.
    """

    def __init__(
        self, data_dir: str | os.PathLike[str], *, port: int = 0, start_timeout: float = 30.0
    ) -> None:
        if checks.whole("port", port, least=0) > 65535:
            raise ConfigurationError(
                f"port={port!r} is no port: choose one up to 65535, or 0 for a free one."
            )
        self.data_dir: Path = Path(data_dir).absolute()
        self._port = port
        self._start_timeout = checks.seconds("start_timeout", start_timeout, positive=True)
        self._lock = DirectoryLock(self.data_dir, patience=_GRACE + _KILL_PATIENCE)
        self._child: ChildProcess | None = None
        self._log_begins = 0

    def startup(self) -> None:
        """Start the server and return once it answers.

        Raises:
            ConfigurationError: There is no binary, the directory cannot be used or is in use, the port is
                taken, or the server does not start, in which case the end of its log is shown.
        """
        if self._child is not None:
            if self._child.exit_code is None:
                raise ConfigurationError(f"The server on {self.data_dir} is running already.")
            self.shutdown()
        binary = find_binary()
        self._prepare_directory()
        self._lock.claim()
        try:
            self._url_file.unlink(missing_ok=True)
            self._start(binary)
            self._write_url()
        except BaseException:
            self.shutdown()
            raise

    def shutdown(self) -> None:
        """Stop the server, by force if it takes too long, and give the directory back."""
        try:
            if self._child is not None:
                self._child.shutdown()
                self._child = None
        finally:
            if self._lock.fileno() >= 0:
                self._url_file.unlink(missing_ok=True)
                self._lock.release()

    def __enter__(self) -> EmbeddedServer:
        self.startup()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:PORT/0`, as the file `url` has it.

        Raises:
            ConfigurationError: The server has not been started.
        """
        if self._child is None:
            raise ConfigurationError("The embedded server has no URL before startup().")
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process; None while there is none."""
        return self._child.pid if self._child is not None else None

    def wait(self, timeout: float) -> int | None:
        """The server's exit code; None if it still runs after `timeout` seconds."""
        return self._child.wait(timeout) if self._child is not None else None

    def fileno(self) -> int:
        """Readable once the server has ended."""
        if self._child is None:
            raise ConfigurationError("The embedded server has not been started.")
        return self._child.fileno()

    def log_tail(self) -> str:
        """The end of what the server has logged since it was started."""
        with contextlib.suppress(OSError), self._log_file.open("rb") as log:
            log.seek(max(self._log_begins, self._log_file.stat().st_size - _LOG_TAIL_BYTES))
            return log.read().decode("utf-8", "replace").strip()
        return ""

    @property
    def _url_file(self) -> Path:
        return self.data_dir / "url"

    @property
    def _log_file(self) -> Path:
        return self.data_dir / "server.log"

    def _prepare_directory(self) -> None:
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ConfigurationError(f"{self.data_dir} is not a directory: the server needs one.") from None
        except OSError as error:
            raise ConfigurationError(f"The directory {self.data_dir} cannot be made: {error}") from error
        if not os.access(self.data_dir, os.W_OK | os.X_OK):
            raise ConfigurationError(f"The directory {self.data_dir} is not writable.")

    def _start(self, binary: Path) -> None:
        if self._port and probe.is_listening(self._port):
            raise ConfigurationError(f"Port {self._port} of 127.0.0.1 is in use: choose another one, or 0.")
        for attempts_left in reversed(range(_PORT_ATTEMPTS)):
            port = self._port or probe.free_port()
            failure = self._try_port(binary, port)
            if failure is None:
                self._port = port
                return
            # Between looking for a port and listening to it, someone else may have been quicker.
            if self._port or not attempts_left or "Address already in use" not in failure:
                raise ConfigurationError(failure)

    def _try_port(self, binary: Path, port: int) -> str | None:
        with self._log_file.open("ab") as log:
            self._log_begins = log.tell()
            child = ChildProcess(
                [str(binary), *self._options(port)],
                # A locale that this machine does not have would keep the server from starting.
                env={"LC_ALL": "C"},
                grace=_GRACE,
                output=log.fileno(),
                pass_fds=[self._lock.fileno()],
            )
            try:
                child.startup()
            except OSError as error:
                return f"The server cannot be run: {error}"
        self._child = child
        deadline = time.monotonic() + self._start_timeout
        while probe.ready_pid(port) != child.pid:
            exit_code = child.wait(_ASK_AGAIN_AFTER)
            if exit_code is not None or time.monotonic() >= deadline:
                what = (
                    f"does not answer after {self._start_timeout} s"
                    if exit_code is None
                    else f"ended with the exit code {exit_code} instead of starting"
                )
                child.send_signal(signal.SIGKILL)
                child.shutdown()
                tail = self.log_tail() or "(nothing)"
                return f"{binary} {what} in {self.data_dir}. The end of its log:\n{tail}"
        return None

    def _options(self, port: int) -> list[str]:
        return [
            "--bind", "127.0.0.1", "--port", str(port), "--dir", str(self.data_dir), "--loglevel", "warning",
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
            "--maxmemory-policy", "noeviction",
        ]  # fmt: skip

    def _write_url(self) -> None:
        unfinished = self._url_file.with_name("url.unfinished")
        unfinished.write_text(self.url + "\n")
        unfinished.replace(self._url_file)  # a reader sees the whole of it or nothing
