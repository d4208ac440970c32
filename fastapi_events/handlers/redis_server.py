"""What is the Redis server's, whatever the engine: would it keep what it has confirmed?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi_events.handlers.task_queue.messages import Diagnosis


def diagnose_server(client: Any, *, confirms_handled: bool) -> Iterator[Diagnosis]:
    """Say whether a Redis server keeps messages when it restarts, and when its memory is full.

    Parameters:
        client: One that does not wait for ever.
        confirms_handled: Whether an outbox keeps events until their functions have run.

    Raises:
        Exception: What the client raises, when the server cannot be reached.
    """
    client.ping()
    yield Diagnosis("ok", "broker", "reachable")
    try:
        settings: dict[str, str] = {
            name: str(_setting(client, name))
            for name in ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")
        }
    except Exception as error:  # a server that somebody else manages often refuses the command
        yield Diagnosis(
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


def _persistence(settings: dict[str, str], *, confirms_handled: bool) -> Diagnosis:
    if settings["appendonly"] == "yes":
        if settings["appendfsync"] == "no":
            return Diagnosis(
                "advice",
                "persistence",
                "appendonly is on, but appendfsync no leaves it to the system when to write: a power cut may "
                "cost half a minute; everysec costs little.",
            )
        return Diagnosis("ok", "persistence", f"appendonly, fsync {settings['appendfsync']}")
    kept = (
        f"only snapshots ({settings['save']}): what came since the last one is gone after a crash"
        if settings["save"]
        else "none: a restart empties the queues"
    )
    if confirms_handled:
        return Diagnosis(
            "ok", "persistence", f"{kept}, and comes again from the outbox, with confirm='handled'"
        )
    return Diagnosis(
        "danger", "persistence", f"{kept}; set appendonly yes, or give the handler confirm='handled'."
    )


def _eviction(settings: dict[str, str]) -> Diagnosis:
    policy, limit = settings["maxmemory-policy"], settings["maxmemory"]
    if policy == "noeviction":
        return Diagnosis("ok", "memory", "noeviction: a full server refuses events, which the outbox keeps")
    if policy.startswith("allkeys") and limit != "0":
        return Diagnosis(
            "danger",
            "memory",
            f"maxmemory-policy {policy}: a full server throws away queues; set noeviction.",
        )
    return Diagnosis(
        "advice",
        "memory",
        f"maxmemory-policy {policy}: once there is a maxmemory and it is reached, the server throws away "
        "what it believes to be a cache, such as the marks of once=True; set noeviction.",
    )
