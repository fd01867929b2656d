"""Receivers of events: signed webhooks, Slack, Alertmanager and the log."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from authz.core.errors import BadInput, Unavailable
from authz.core.notifications import bodies
from authz.core.notifications.catalogue import CONTENT_TYPE
from authz.core.notifications.notification import Notification
from authz.core.notifications.ports import Answer
from authz.core.ports import Clock
from authz.process.web_client import WebClient

DELIVERED: Final = Answer(200)

log = logging.getLogger("authz.events")


class Webhook:
    """Posts events as CloudEvents, signed by Standard Webhooks.

    secret_file: read at each delivery, so that it may be replaced. One secret a line; each signs.
    """

    def __init__(
        self, client: WebClient, url: str, secret_file: Path, source: str, clock: Clock
    ) -> None:
        self._client = client
        self._url = url
        self._secret_file = secret_file
        self._source = source
        self._clock = clock

    async def send(self, event: Notification) -> Answer:
        """Post an event. Raises Unavailable without a response, or if no secret can be read."""
        body = bodies.cloud_event(event, self._source)
        seconds = self._clock.wall_ms() // 1000
        try:
            secrets = read_secrets(self._secret_file)
        except BadInput as cause:
            raise Unavailable(str(cause)) from None
        headers = bodies.webhook_headers(event.id, body, secrets, seconds)
        return await _posted(
            self._client, self._url, body, {"content-type": CONTENT_TYPE, **headers}
        )


class Messages:
    """Posts events in the form that another system expects, such as Slack or Alertmanager."""

    def __init__(
        self, client: WebClient, url: str, encode: Callable[[Notification], bytes]
    ) -> None:
        self._client = client
        self._url = url
        self._encode = encode

    async def send(self, event: Notification) -> Answer:
        """Post an event. Raises Unavailable without a response."""
        headers = {"content-type": "application/json"}
        return await _posted(self._client, self._url, self._encode(event), headers)


class Log:
    """Writes events into the log of this process, as JSON."""

    def __init__(self, source: str) -> None:
        self._source = source

    async def send(self, event: Notification) -> Answer:
        """Write a line."""
        log.info("%s", json.dumps(event.cloud_event(self._source), separators=(",", ":")))
        return DELIVERED


def read_secrets(file: Path) -> Sequence[bytes]:
    """Return the secrets of a file, one a line.

    Raises BadInput if it has none, a wrong one, or cannot be read.
    """
    try:
        lines = file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        raise BadInput("secret_file", f"{file} cannot be read") from None
    if not lines:
        raise BadInput("secret_file", f"{file} is empty")
    return [bodies.signing_secret(line) for line in lines]


async def _posted(client: WebClient, url: str, body: bytes, headers: dict[str, str]) -> Answer:
    response = await client.send("POST", url, body=body, headers=headers)
    return Answer(response.status, response.retry_after)
