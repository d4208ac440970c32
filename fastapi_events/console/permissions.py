"""Who looks at the console, and what they may do."""

from __future__ import annotations

import inspect
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from fastapi_events import checks
from fastapi_events.console import csrf
from fastapi_events.console.rendering import render
from fastapi_events.environment import runs_in_production
from fastapi_events.errors import ConfigurationError
from fastapi_events.subscriptions.signature import is_depends

ASGIApp: TypeAlias = Callable[..., Awaitable[None]]

PERMISSIONS: Final = frozenset(("replay", "discard", "pause", "edit", "see_payloads"))
"""What may be granted. Dispatching an event again needs `replay`, cancelling one `discard`."""

LOCAL_NAMES: Final = frozenset(("localhost", "127.0.0.1", "::1"))
"""The hosts under which only this machine is reached."""

LOCAL: Final = "somebody on this machine"
"""The name of a visitor where there is no `auth`."""

_OF_PROXIES: Final = ("forwarded", "via", "x-real-ip", "x-forwarded", "cf-", "true-client-ip")
"""How the names of headers begin that a proxy adds."""


def permission_set(name: str, value: Iterable[str]) -> frozenset[str]:
    """The permissions that an argument grants.

    Raises:
        ConfigurationError: When it is a word rather than a set of words, or there is no such permission.
    """
    if isinstance(value, str):
        raise ConfigurationError(f"{name}={value!r}: expected a set, such as {{'replay'}}.")
    found = frozenset(value)
    for each in sorted(found - PERMISSIONS):
        hint = checks.guess(each, PERMISSIONS) or f"there are {', '.join(sorted(PERMISSIONS))}."
        raise ConfigurationError(f"{each!r} is no permission of the console; {hint}")
    return found


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may look at the console.

    Parameters:
        name: Who it is, for the audit trail.
        permissions: What they may do beside: of `replay`, `discard`, `pause`, `edit` and `see_payloads`.

    Raises:
        ConfigurationError: When there is no such permission.
    """

    name: str
    permissions: AbstractSet[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "permissions", permission_set("permissions", self.permissions))

    def may(self, permission: str) -> bool:
        """Whether they may do something."""
        return permission in self.permissions


Auth: TypeAlias = Callable[..., "Visitor | Iterable[str] | Awaitable[Visitor | Iterable[str] | None] | None"]
"""Gets the request, and says who asks; None lets nobody in. It may be async, ask for `Depends(…)`, and raise
`HTTPException`."""


class Gate:
    """Lets in who may look, notes who it is in `request.state.visitor`, and gives each browser its token.

    Parameters:
        app: The console.
        auth: Says who asks, and has been checked. Without it only this machine may look.
        local: Who somebody on this machine is then.
    """

    def __init__(self, app: ASGIApp, auth: Auth | None, local: Visitor) -> None:
        self._app = app
        self._auth = auth
        self._local = local

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        token = csrf.token_in(request) or secrets.token_urlsafe(32)
        request.state.token = token
        request.state.visitor = None
        try:
            request.state.visitor = await self._visitor(request)
        except HTTPException as refused:
            response = _refusal(request, refused)
            await response(scope, receive, send)
            return

        async def with_token(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and csrf.token_in(request) is None:
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):  # an asset may be cached
                    headers.append("set-cookie", csrf.cookie(request, token))
            await send(message)

        await self._app(scope, receive, with_token)

    async def _visitor(self, request: Request) -> Visitor:
        if self._auth is None:
            _check_local(request)
            return self._local
        said = await _call(self._auth, request)
        if said is None:
            raise HTTPException(403, "You may not look at this console.")
        if isinstance(said, Visitor):
            return said
        if isinstance(said, (str, bool, Mapping)) or not isinstance(said, Iterable):
            raise ConfigurationError(
                f"auth returned {said!r}; expected a Visitor, the permissions that are granted, or None."
            )
        return Visitor(_name_of(request), frozenset(said))


def check(auth: Auth | None) -> None:
    """Refuse what no request could be let in by.

    Raises:
        ConfigurationError: When there is no `auth` in production, or it cannot be called with a request.
    """
    if auth is None:
        if runs_in_production():
            raise ConfigurationError(
                "console(…) has no auth=, and FASTAPI_EVENTS_PRODUCTION says that this is production: "
                "whoever reaches it would see all events. Pass auth=…, which gets the request and returns a "
                "Visitor."
            )
        return
    if not callable(auth):
        raise ConfigurationError(f"auth={auth!r}: expected a function that gets the request.")
    _check_parameters(auth)


def _check_parameters(call: Callable[..., Any]) -> None:
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise ConfigurationError(f"auth: {call!r} yields; let it return who asks.")
    for name, kind, depends in _parameters(call):
        if depends is not None:
            _check_parameters(depends)
        elif kind == "unknown":
            raise ConfigurationError(
                f"auth: the parameter {name!r} of {call!r} has no default and is no Request; it gets the "
                "request, and what Depends(…) of it gives."
            )


def _parameters(call: Callable[..., Any]) -> list[tuple[str, str, Callable[..., Any] | None]]:
    """Each parameter: its name, what it is given, and the dependency that gives it."""
    found: list[tuple[str, str, Callable[..., Any] | None]] = []
    for parameter in inspect.signature(call, eval_str=True).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        marks = (parameter.default, *getattr(parameter.annotation, "__metadata__", ()))
        depends = next((each.dependency for each in marks if is_depends(each)), None)
        kind = parameter.annotation
        named = kind in (parameter.empty, Any) and (not found or parameter.name == "request")
        takes_request = named or (isinstance(kind, type) and issubclass(kind, HTTPConnection))
        if depends is not None:
            found.append((parameter.name, "depends", depends))
        elif takes_request:
            found.append((parameter.name, "request", None))
        elif parameter.default is not parameter.empty:
            found.append((parameter.name, "default", None))
        else:
            found.append((parameter.name, "unknown", None))
    return found


async def _call(call: Callable[..., Any], request: Request) -> Any:
    given: list[Any] = []
    named: dict[str, Any] = {}
    for name, kind, depends in _parameters(call):
        if kind == "request":
            given.append(request)
        elif depends is not None:
            named[name] = await _call(depends, request)
    own = call if inspect.isroutine(call) else type(call).__call__  # of an object, such as `HTTPBasic()`
    if inspect.iscoroutinefunction(own):
        return await call(*given, **named)
    answer = await run_in_threadpool(call, *given, **named)
    return await answer if inspect.isawaitable(answer) else answer


def _check_local(request: Request) -> None:
    """Refuse who is not on this machine, and who is led here by another site's name."""
    host = request.client.host if request.client is not None else ""
    if not _is_loopback(host) or any(each.startswith(_OF_PROXIES) for each in request.headers):
        raise HTTPException(
            403, "This console has no auth=, so that only this machine may look at it, and no proxy."
        )
    if request.url.hostname not in LOCAL_NAMES:
        raise HTTPException(
            403, "This console has no auth=: open it as http://localhost, with no other name."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name_of(request: Request) -> str:
    user = request.scope.get("user")
    name = getattr(user, "display_name", "") if getattr(user, "is_authenticated", False) else ""
    return (
        name or f"somebody at {request.client.host if request.client is not None else 'an unknown address'}"
    )


def _refusal(request: Request, refused: HTTPException) -> Response:
    """A page without anything of the handlers on it."""
    response = render(request, "refused.html", {"said": refused.detail}, status=refused.status_code)
    response.headers.update(refused.headers or {})
    return response
