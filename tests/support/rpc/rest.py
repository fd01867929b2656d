"""A client of the REST form: plain requests to a running admin API."""

import asyncio
import contextlib
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from authz.core.listen_address import Address

QUIET: Final = 0.3  # seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. body: of JSON as its value, of lines as a list of values, else the text."""

    status: int
    headers: Mapping[str, str]
    body: Any


class RestClient:
    """Sends requests with the credential of one caller.

    waits: for the end of each response; else a stream is read for QUIET (0.3 s) at a time.
    """

    def __init__(self, address: Address, key: str = "", *, waits: bool = True) -> None:
        self._address = address
        self._waits = waits
        self._credential = {"authorization": f"Bearer {key}"} if key else {}

    async def send(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request on a connection of its own. body: JSON value, or bytes as they are."""
        return await asyncio.to_thread(self._send, method, target, body, dict(headers or {}))

    def _send(self, method: str, target: str, body: Any, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self._address.host, self._address.port, timeout=30)
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if raw is not None and "content-type" not in headers:
            headers["content-type"] = "application/json"
        connection.request(method, target, raw, self._credential | headers)
        response = connection.getresponse()
        text = response.read().decode() if self._waits else _beginning(connection, response)
        connection.close()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, _value(found.get("content-type", ""), text))


def _beginning(connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> str:
    """Return the text that came until nothing more came for QUIET (0.3 s)."""
    connection.sock.settimeout(QUIET)
    text = b""
    with contextlib.suppress(TimeoutError):
        while part := response.read1(65536):
            text += part
    return text.decode()


def _value(kind: str, text: str) -> Any:
    if kind.endswith("json") and not kind.endswith("ndjson"):
        return json.loads(text)
    if kind.endswith("ndjson"):
        return [json.loads(line) for line in text.splitlines()]
    return text
