"""The demonstration: each promise of authz, observed through a real Envoy."""

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from authz.cli.devconfig import own_environment
from authz.cli.devstack import DEMO_CLIENT, Stack
from authz.core.errors import Unavailable
from authz.core.records import RevocationReason
from authz.flows.lifecycle import Changed
from authz.settings import model
from authz.wiring import administration

JWT = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhLXVzZXIifQ."
OVERLAP_MS = 3_600_000
SETTLE_SECONDS = 5.0
ACTOR = "authz dev"


@dataclass(frozen=True, slots=True)
class Step:
    """One promise, the expected observation and the real one."""

    name: str
    expected: str
    seen: str

    @property
    def held(self) -> bool:
        """Return whether the observation begins with the expected text."""
        return self.seen.startswith(self.expected)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of Envoy. As text: the status and, if there is one, the code.

    body: its JSON object, or empty for any other body.
    """

    status: int
    body: dict[str, Any]

    def __str__(self) -> str:
        code = self.body.get("code")
        return f"{self.status} {code}" if code else str(self.status)

    @property
    def arrived(self) -> dict[str, str]:
        """The headers that the backend received; empty for a denial, which never arrived."""
        return dict(self.body.get("headers", {}))


class Client:
    """A client of Envoy with one persistent connection and a timeout of 10 s."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)

    def get(self, path: str = "/", **headers: str) -> Answer:
        """Send a GET with these headers and return the answer. `_` in a header name stands for `-`.

        Raises OSError or HTTPException if Envoy does not answer.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", path, headers=named)
        answer = self._connection.getresponse()
        body = answer.read()
        return Answer(answer.status, json.loads(body) if body.startswith(b"{") else {})

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def demonstrate(stack: Stack) -> Iterator[Step]:
    """Run the steps against a running stack, one by one, and yield the result of each.

    The demo key is rotated twice and then revoked. Raises Unavailable if a rotation fails.
    """
    settings = model.load(Path(stack.config), environ=own_environment())
    with closing(Client(stack.envoy)) as client:
        yield from _identities(client, stack.key)
        yield from _lifecycle(client, stack, settings)


def _identities(client: Client, key: str) -> Iterator[Step]:
    yield Step("no key", "401 missing_api_key", str(client.get()))

    arrived = client.get(x_api_key=key).arrived
    seen = f"200, client {arrived.get('x-auth-client-id')}, key {_presence(arrived, 'x-api-key')}"
    yield Step(
        "a key: the backend learns the client", f"200, client {DEMO_CLIENT}, key absent", seen
    )

    arrived = client.get(x_api_key=key, x_auth_client_id="admin", x_auth_plan="gold").arrived
    seen = f"client {arrived.get('x-auth-client-id')}, plan {_presence(arrived, 'x-auth-plan')}"
    yield Step("a spoofed identity is replaced", f"client {DEMO_CLIENT}, plan absent", seen)

    arrived = client.get(x_api_key=key, authorization=JWT).arrived
    untouched = arrived.get("authorization") == JWT
    seen = "untouched" if untouched else f"became {arrived.get('authorization')}"
    yield Step("a user's own bearer token beside the key", "untouched", seen)

    answer = client.get("/scoped", x_api_key=key)
    yield Step("a route that asks for a scope", "403 insufficient_scope", str(answer))


def _lifecycle(client: Client, stack: Stack, settings: model.Settings) -> Iterator[Step]:
    first = stack.key
    second = asyncio.run(_rotate(settings, stack.kid, OVERLAP_MS))
    expected = "200, 200"
    seen = _answers(client, expected, first, second)
    yield Step("rotated with an overlap: both secrets work", expected, seen)

    third = asyncio.run(_rotate(settings, stack.kid, 0))
    expected = "401 api_key_rotated, 401 api_key_rotated, 200"
    seen = _answers(client, expected, first, second, third)
    yield Step("rotated without one: only the newest works", expected, seen)

    seen = asyncio.run(_revoke(settings, stack.kid, client, third))
    yield Step("revoked", "401 api_key_revoked", seen)


def _answers(client: Client, expected: str, *keys: str) -> str:
    """Return the answers for these keys, joined by commas.

    Repeat until they are as expected, for at most SETTLE_SECONDS (5 s); then return the last ones.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        seen = ", ".join(str(client.get(x_api_key=key)) for key in keys)
        if seen == expected or time.monotonic() > deadline:
            return seen


async def _rotate(settings: model.Settings, kid: str, grace_ms: int) -> str:
    async with administration.administration(settings) as lifecycle:
        result = await lifecycle.rotate(kid, grace_ms, lifecycle.author(ACTOR))
        if not isinstance(result, Changed) or result.key_text is None:
            raise Unavailable(f"the demo key was not rotated: {result}")
        return result.key_text


async def _revoke(settings: model.Settings, kid: str, client: Client, key: str) -> str:
    """Revoke the key and ask until it is denied, for at most SETTLE_SECONDS (5 s).

    Return the last answer, the delay in ms and the number of allowed requests, in words.
    """
    async with administration.administration(settings) as lifecycle:
        await lifecycle.revoke(kid, RevocationReason.UNSPECIFIED, lifecycle.author(ACTOR))
        returned = time.monotonic()
        answer, allowed = client.get(x_api_key=key), 0
        while answer.status == HTTPStatus.OK and time.monotonic() < returned + SETTLE_SECONDS:
            answer, allowed = client.get(x_api_key=key), allowed + 1
        took = (time.monotonic() - returned) * 1000
        return f"{answer}, {took:.1f} ms after the command returned ({allowed} allowed between)"


def _presence(headers: dict[str, str], name: str) -> str:
    return "present" if name in headers else "absent"
