"""A broker of one's own for development, tests and the demo, and what keeps processes running."""

import sys

from fastapi_events.embedded.binary import BRING_YOUR_OWN, find_binary
from fastapi_events.errors import ConfigurationError

if sys.platform == "win32":
    raise ConfigurationError(f"There is no embedded server for Windows: {BRING_YOUR_OWN}")

from fastapi_events.embedded.server import EmbeddedServer
from fastapi_events.embedded.supervised import Backoff
from fastapi_events.embedded.supervisor import Supervisor

__all__ = ["Backoff", "EmbeddedServer", "Supervisor", "find_binary"]
