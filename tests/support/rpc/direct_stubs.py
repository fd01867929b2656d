"""The methods of the admin API, called in the process of the test, and what each asks the store.

A call runs in the task of its caller, so the commands of other tasks of the process do not count.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import pytest
from google.protobuf.message import Message
from redis.asyncio.connection import AbstractConnection

from authz.core.access import Credentials
from authz.rpc.admin.api_error import ApiError, Code
from authz.rpc.admin.calls import Arrival
from tests.support.rpc.admin import AdminRig

_SERVICES: Final = (
    *("keys", "policy", "limits", "usage", "tokens", "audit", "events", "fleet", "me", "admin"),
)
_COMMAND: Final = re.compile(rb"\*\d+\r\n\$\d+\r\n([A-Za-z]+)\r\n")
_sent: ContextVar[list[tuple[bytes, ...]] | None] = ContextVar("sent", default=None)


class DirectStubs:
    """One caller. A call such as `stubs.keys.GetKey(request)` returns its code and its response."""

    def __init__(self, rig: AdminRig, key: str) -> None:
        self._calls = rig.process.calls
        self._arrival = Arrival(Credentials((f"Bearer {key}",)), "direct")
        for service in _SERVICES:
            setattr(self, service, _Service(self, service.title()))

    async def call(self, name: str, request: Message) -> tuple[Code, Message | None]:
        """Return code and response of a unary method."""
        method = next(one for one in self._calls.methods.values() if one.name == name)
        try:
            return Code.OK, await self._calls.unary(method, request, self._arrival)
        except ApiError as error:
            return error.code, None


class _Service:
    def __init__(self, stubs: DirectStubs, name: str) -> None:
        self._stubs = stubs
        self._name = name

    def __getattr__(self, method: str) -> Any:
        return lambda request: self._stubs.call(f"{self._name}.{method}", request)


def record_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `commands_sent` see the commands of each client of the store."""
    send = AbstractConnection.send_packed_command

    async def recording(self: Any, command: Any, check_health: bool = True) -> None:
        found = _sent.get()
        if found is not None:
            parts = [command] if isinstance(command, str | bytes) else list(command)
            raw = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
            found.append(tuple(_COMMAND.findall(raw)))
        await send(self, command, check_health)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", recording)


@contextmanager
def commands_sent() -> Iterator[list[tuple[bytes, ...]]]:
    """Yield the round trips to the store in this task: the names of the commands of each."""
    found: list[tuple[bytes, ...]] = []
    token = _sent.set(found)
    try:
        yield found
    finally:
        _sent.reset(token)
