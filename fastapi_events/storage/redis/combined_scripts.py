"""Scripts that several threads have Redis run at the same moment go there and back together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import redis

from fastapi_events.combined_calls import CombinedCalls


class _Run(NamedTuple):
    """What one thread has run."""

    script: Any
    keys: Sequence[Any]
    arguments: Sequence[Any]
    client: Any


class CombinedScripts:
    """Runs scripts that redis-py has registered; each thread gets the answer, or the error, of its own."""

    def __init__(self) -> None:
        self._run: CombinedCalls[_Run, Any] = CombinedCalls(_run_together)

    def run(self, script: Any, keys: Sequence[Any], arguments: Sequence[Any], client: Any) -> Any:
        """Run a script.

        Parameters:
            client: Of the server; one for all threads, unless they are green.

        Raises:
            redis.RedisError: Whatever the client raises.
        """
        answer = self._run(_Run(script, keys, arguments, client))
        if isinstance(answer, Exception):
            raise answer
        return answer


def _run_together(runs: Sequence[_Run]) -> Sequence[Any]:
    if len(runs) == 1:
        return [_alone(runs[0])]
    with runs[0].client.pipeline(transaction=False) as pipeline:
        for each in runs:
            pipeline.evalsha(each.script.sha, len(each.keys), *each.keys, *each.arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
    return [
        _answered_alone(each) if isinstance(answer, redis.exceptions.NoScriptError) else answer
        for each, answer in zip(runs, answers, strict=True)
    ]


def _alone(run: _Run) -> Any:
    return run.script(keys=run.keys, args=run.arguments, client=run.client)


def _answered_alone(run: _Run) -> Any:
    """Run a script that the server has forgotten; its error is for its own thread."""
    try:
        return _alone(run)
    except (redis.RedisError, OSError) as error:
        return error
