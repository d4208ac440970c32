"""The names of our span attributes."""

from typing import Final


class SpanAttributes:
    """Attributes beyond OpenTelemetry's own conventions."""

    HANDLER: Final = "fastapi_events.handler"
    """The class that handles the event, with its module."""

    ATTEMPT: Final = "fastapi_events.attempt"
    """Which attempt of a function in a worker it is, counted from 1."""


class MessagingAttributes:
    """What OpenTelemetry's conventions for messaging call things, and what they are here."""

    SYSTEM: Final = "messaging.system"
    """The engine, such as `dramatiq`; `fastapi_events` where the event has not come to one."""

    OPERATION_NAME: Final = "messaging.operation.name"
    """`dispatch` or `handle`."""

    OPERATION_TYPE: Final = "messaging.operation.type"
    """`create` or `process`, of those that the conventions know."""

    DESTINATION: Final = "messaging.destination.name"
    """The event's name, to which functions listen."""

    SUBSCRIPTION: Final = "messaging.destination.subscription.name"
    """The name of the function's subscription, in a worker."""

    MESSAGE_ID: Final = "messaging.message.id"
    """The event's id."""

    CONVERSATION_ID: Final = "messaging.message.conversation_id"
    """The correlation id, which all events of a chain have in common."""

    BATCH_SIZE: Final = "messaging.batch.message_count"
    """How many events a function gets that takes many."""

    ERROR_TYPE: Final = "error.type"
    """The class of what a function has raised, with its module."""
