"""The handler: publishes to a Dramatiq broker, and makes each subscription an actor."""

from __future__ import annotations

from typing import Any, Unpack

import dramatiq
import dramatiq.broker

from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.dramatiq.engine import DramatiqEngine
from fastapi_events.handlers.task_queue import TaskQueueHandler, TaskQueueOptions


class DramatiqHandler(TaskQueueHandler):
    """Publishes events to a Dramatiq broker, and runs subscriptions as actors of its workers.

    Parameters:
        broker: Dramatiq's global broker if not given.
        settings: See `TaskQueueSettings`; `queue_type="quorum"` needs a `QuorumBroker`.

    Raises:
        InvalidSetting: When there is no setting of a name, or it cannot have its value.
        ConfigurationError: When there is no broker, it cannot do what is asked, or another handler has the
            queue.
    """

    def __init__(self, broker: dramatiq.Broker | None = None, **settings: Unpack[TaskQueueOptions]) -> None:
        self.broker: Any = _checked_broker(broker)
        super().__init__(DramatiqEngine(self.broker), **settings)


def _checked_broker(broker: Any) -> dramatiq.Broker:
    if broker is None:
        # dramatiq.get_broker() would make a default broker, which no worker serves.
        broker = dramatiq.broker.global_broker
        if broker is None:
            raise ConfigurationError(
                "Dramatiq has no broker yet: pass one to DramatiqHandler, or call dramatiq.set_broker first."
            )
    if not isinstance(broker, dramatiq.Broker):
        raise ConfigurationError(f"DramatiqHandler({broker!r}): expected a dramatiq.Broker.")
    return broker
