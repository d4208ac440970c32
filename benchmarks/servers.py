"""Servers of our own: a Valkey, the same some milliseconds away, RabbitMQ and PostgreSQL where installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from benchmarks.postgres import postgres_server
from benchmarks.words import POSTGRES, RABBITMQ, VALKEY, Services
from fastapi_events.embedded import EmbeddedServer
from fastapi_events.embedded.probe import free_port
from fastapi_events.errors import ConfigurationError

_START_SECONDS = 60.0
_AMQP_VARIABLE = "FASTAPI_EVENTS_TEST_AMQP_URL"
_DEBIAN = "/usr/lib/rabbitmq/bin"
"""Where Debian keeps the node's own script; the one in the PATH would change to another user."""


@contextlib.contextmanager
def services(
    *, valkey: bool, rabbitmq: bool, postgres: bool = False
) -> Iterator[tuple[Services, dict[str, str]]]:
    """Start what is asked for, and stop it afterwards.

    Returns:
        The services, and for each that there is none of the reason.
    """
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        near = at_1_ms = at_5_ms = amqp = sql = ""
        if valkey:
            try:
                near = stack.enter_context(EmbeddedServer(folder / "valkey")).url
            except ConfigurationError as error:
                missing[VALKEY] = str(error)
            else:
                _keep_no_file(near)
                at_1_ms = stack.enter_context(delayed(near, 1.0))
                at_5_ms = stack.enter_context(delayed(near, 5.0))
        if rabbitmq:
            try:
                amqp = os.environ.get(_AMQP_VARIABLE) or stack.enter_context(
                    rabbitmq_node(folder / "rabbitmq")
                )
            except RuntimeError as error:
                missing[RABBITMQ] = str(error)
        if postgres:
            try:
                sql = stack.enter_context(postgres_server(folder / "postgres"))
            except RuntimeError as error:
                missing[POSTGRES] = str(error)
        yield Services(near, at_1_ms, at_5_ms, amqp, sql), missing


def _keep_no_file(url: str) -> None:
    # What is measured is the way there. Appending to a file costs every variant the same, and now and then
    # it costs one of them the rewriting of that file.
    with redis.Redis.from_url(url) as client:
        client.config_set("appendonly", "no")


@contextlib.contextmanager
def delayed(url: str, milliseconds: float) -> Iterator[str]:
    """The URL of a server, behind a proxy that adds so much to each round trip."""
    port = url.rpartition(":")[2].partition("/")[0]
    script = Path(__file__).parent / "variants" / "proxy.py"
    process = subprocess.Popen(
        [sys.executable, str(script), port, str(milliseconds)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield url.replace(f":{port}/", f":{int(process.stdout.readline())}/")
    finally:
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextlib.contextmanager
def rabbitmq_node(folder: Path) -> Iterator[str]:
    """A RabbitMQ node on the loopback interface, with name, cookie, files and port mapper of its own.

    Raises:
        RuntimeError: When it is not installed, or does not start.
    """
    if shutil.which("rabbitmq-server", path=_rabbitmq_path()) is None:
        raise RuntimeError(f"RabbitMQ is not installed, and {_AMQP_VARIABLE} not set")
    folder.mkdir()
    port = free_port()
    for name, text in {"enabled_plugins": "[].", "rabbitmq.conf": "", "rabbitmq-env.conf": ""}.items():
        (folder / name).write_text(text)
    environ = {
        **os.environ,
        "PATH": _rabbitmq_path(), "HOME": str(folder), "LC_ALL": "C.UTF-8",
        "RABBITMQ_NODENAME": "fastapi-events-bench@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port), "RABBITMQ_DIST_PORT": str(free_port()),
        "ERL_EPMD_PORT": str(free_port()), "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"), "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"), "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
        "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
    }  # fmt: skip
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            ["rabbitmq-server"], env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _await_rabbitmq(process, port, folder)
        yield f"amqp://guest:guest@127.0.0.1:{port}/"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        epmd = ["epmd", "-port", environ["ERL_EPMD_PORT"], "-kill"]
        subprocess.run(epmd, env=environ, capture_output=True, check=False)


def _await_rabbitmq(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as probe:
            probe.settimeout(5)
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            if probe.recv(1):
                return
        time.sleep(0.2)
    tail = (folder / "output").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"RabbitMQ did not start within {_START_SECONDS:.0f} s:\n{tail}")


def _rabbitmq_path() -> str:
    return f"{_DEBIAN}{os.pathsep}{os.environ.get('PATH', '')}"
