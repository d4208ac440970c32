"""Checks of a Redis server that hold for every engine: would it keep what it has confirmed?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi_events.handlers.task_queue.diagnosis import Finding


def diagnose_server(client: Any, *, confirms_handled: bool) -> Iterator[Finding]:
    """Say whether a Redis server keeps messages when it restarts, and when its memory is full.

    Parameters:
        client: One that does not wait for ever.
        confirms_handled: Whether an outbox keeps events until their functions have run.

    Raises:
        Exception: What the client raises, when the server cannot be reached.
    """
    client.ping()
    yield Finding("ok", "broker", "reachable")
    try:
        settings: dict[str, str] = {
            name: str(_setting(client, name))
            for name in ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")
        }
    except Exception as error:  # managed servers often refuse the command
        yield Finding(
            "advice",
            "settings",
            f"cannot tell whether it keeps messages over a restart: it refuses CONFIG GET ({error}); let "
            "whoever runs it confirm appendonly yes and maxmemory-policy noeviction.",
        )
        return
    yield _persistence(settings, confirms_handled=confirms_handled)
    yield _eviction(settings)


def _setting(client: Any, name: str) -> str:
    found = client.config_get(name)
    if name not in found:
        raise LookupError(f"it has no {name}")
    return str(found[name])


def _persistence(settings: dict[str, str], *, confirms_handled: bool) -> Finding:
    if settings["appendonly"] == "yes":
        if settings["appendfsync"] == "no":
            return Finding(
                "advice",
                "persistence",
                "appendonly is on, but appendfsync no leaves it to the system when to write: a power cut may "
                "cost half a minute; everysec costs little.",
            )
        return Finding("ok", "persistence", f"appendonly, fsync {settings['appendfsync']}")
    kept = (
        f"only snapshots ({settings['save']}): what came since the last one is gone after a crash"
        if settings["save"]
        else "none: a restart empties the queues"
    )
    if confirms_handled:
        return Finding(
            "ok", "persistence", f"{kept}, and comes again from the outbox, with confirm='handled'"
        )
    return Finding(
        "danger", "persistence", f"{kept}; set appendonly yes, or give the handler confirm='handled'."
    )


def _eviction(settings: dict[str, str]) -> Finding:
    policy, limit = settings["maxmemory-policy"], settings["maxmemory"]
    if policy == "noeviction":
        return Finding("ok", "memory", "noeviction: a full server refuses events, which an outbox keeps")
    if policy.startswith("allkeys") and limit != "0":
        return Finding(
            "danger",
            "memory",
            f"maxmemory-policy {policy}: a full server throws away queues; set noeviction.",
        )
    return Finding(
        "advice",
        "memory",
        f"maxmemory-policy {policy}: once there is a maxmemory and it is reached, the server throws away "
        "what it believes to be a cache, such as the marks of once=True; set noeviction.",
    )
