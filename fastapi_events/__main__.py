"""`python -m fastapi_events`: the command `fastapi-events`."""

import sys

from fastapi_events.cli import main

if __name__ == "__main__":
    sys.exit(main())
