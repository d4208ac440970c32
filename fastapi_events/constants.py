"""Names that more than one place must spell the same way."""

from typing import Final

FASTAPI_EVENTS_DISABLE_DISPATCH_ENV_VAR: Final = "FASTAPI_EVENTS_DISABLE_DISPATCH"
"""Set it to a truthy value and `dispatch()` does nothing; read at each call."""

FASTAPI_EVENTS_USE_SPAN_LINKING_ENV_VAR: Final = "FASTAPI_EVENTS_USE_SPAN_LINKING"
"""Whether a handler's span links to the dispatching one (the default) or is its child."""

BROKER_URL_ENV_VAR: Final = "FASTAPI_EVENTS_BROKER_URL"
"""Where workers and the demo find the broker: `redis://…` or `amqp://…`."""

FAN_OUT: Final = "fastapi_events.fan_out"
"""The actor or task that finds who listens to an event, on the queue `events`."""

DEFAULT_QUEUE: Final = "events"
DEFAULT_SOURCE: Final = "fastapi-events"

MAX_PAYLOAD_BYTES: Final = 262_144
"""The largest payload that may travel, as encoded JSON; the limit of SQS, too."""
