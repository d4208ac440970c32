"""The names of our span attributes."""

from typing import Final


class SpanAttributes:
    """Attributes beyond OpenTelemetry's own conventions."""

    HANDLER: Final = "fastapi_events.handler"
    """The class that handles the event, with its module."""
