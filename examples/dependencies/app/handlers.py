"""What the workers run."""

from typing import Annotated

from fastapi import Depends

from .dependencies import Mailer, get_mailer, get_number
from .events import events


@events.register(event_name="order-placed")
async def confirm(
    number: Annotated[int, Depends(get_number)], mailer: Annotated[Mailer, Depends(get_mailer)]
) -> None:
    await mailer.send(f"order {number} has arrived")
