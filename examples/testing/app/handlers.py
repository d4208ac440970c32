"""What the workers run."""

from typing import Annotated

from fastapi import Depends

from .events import events
from .schemas import OrderForgotten, OrderPlaced


class Oven:
    """Some machine that no test should touch."""

    def bake(self, number: int) -> None:
        raise RuntimeError("this is the real oven")


@events.register(OrderPlaced, once=True)
def cook(order: OrderPlaced, oven: Annotated[Oven, Depends(Oven)]) -> None:
    oven.bake(order.number)


@events.register(OrderForgotten)
def remind(order: OrderForgotten) -> None: ...
