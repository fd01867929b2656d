"""A client of the REST form: plain requests to a running admin API."""

import asyncio
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authz.core.listen_address import Address


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. body: of JSON as its value, of lines as a list of values, else the text."""

    status: int
    headers: Mapping[str, str]
    body: Any


class RestClient:
    """Sends requests with the credential of one caller."""

    def __init__(self, address: Address, key: str = "") -> None:
        self._address = address
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
        text = response.read().decode()
        connection.close()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, _value(found.get("content-type", ""), text))


def _value(kind: str, text: str) -> Any:
    if kind.endswith("json") and not kind.endswith("ndjson"):
        return json.loads(text)
    if kind.endswith("ndjson"):
        return [json.loads(line) for line in text.splitlines()]
    return text
