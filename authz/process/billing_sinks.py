"""Sinks of billing records: files of lines, CloudEvents over HTTP, and a dry run."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from authz.core.errors import Unavailable
from authz.core.usage.billing.ports import Delivery
from authz.core.usage.billing.record import BillingRecord
from authz.process.appended_file import append_lines
from authz.process.web_client import WebClient, WebResponse

REDIRECTS: Final = range(300, 400)
LATER: Final = frozenset({408, 409, 425, 429, *range(500, 600)})  # statuses that may pass
TOO_LARGE: Final = 413
PAUSES: Final = (1.0, 2.0, 4.0, 8.0)  # seconds before each further try
MAX_PAUSE: Final = 60.0

Wait = Callable[[float], Awaitable[None]]
Encode = Callable[[Sequence[BillingRecord]], bytes]


class LineFile:
    """Appends records to a file. Each delivery is on the disk when it returns.

    heading: the first line of a new file.
    """

    batch = 5000

    def __init__(self, path: Path, encode: Encode, heading: bytes = b"") -> None:
        self._path = path
        self._encode = encode
        self._heading = heading

    async def deliver(self, records: Sequence[BillingRecord]) -> Delivery:
        """Implement BillingSink.deliver."""
        try:
            content = self._encode(records)
            await asyncio.to_thread(append_lines, self._path, content, self._heading)
        except OSError as cause:
            raise Unavailable(f"{self._path}: {cause.strerror}") from None
        return Delivery()

    async def finish(self) -> None:
        """Implement BillingSink.finish."""


class EventReceiver:
    """Sends records by POST as batches of CloudEvents. A status from 200 to 299 confirms them."""

    batch = 500

    def __init__(self, post: "RepeatedPost", url: str, encode: Encode, token: str = "") -> None:
        self._post = post
        self._url = url
        self._encode = encode
        kind = {"Content-Type": "application/cloudevents-batch+json"}
        self._headers = kind | ({"Authorization": f"Bearer {token}"} if token else {})

    async def deliver(self, records: Sequence[BillingRecord]) -> Delivery:
        """Implement BillingSink.deliver. A batch that is too large is sent in halves."""
        response = await self._post.send(self._url, self._encode(records), self._headers)
        if response.status == TOO_LARGE and len(records) > 1:
            half = len(records) // 2
            await self.deliver(records[:half])
            return await self.deliver(records[half:])
        if not response.is_ok:
            raise Unavailable(refusal("the receiver", response.status))
        return Delivery()

    async def finish(self) -> None:
        """Implement BillingSink.finish."""


class DiscardingSink:
    """A BillingSink that drops all records, for a dry run."""

    batch = 5000

    async def deliver(self, _records: Sequence[BillingRecord]) -> Delivery:
        """Implement BillingSink.deliver."""
        return Delivery()

    async def finish(self) -> None:
        """Implement BillingSink.finish."""


class RepeatedPost:
    """Sends a request again while the failure may pass: no response, 408, 409, 425, 429, 5xx."""

    def __init__(self, client: WebClient, wait: Wait = asyncio.sleep) -> None:
        self._client = client
        self._wait = wait

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> WebResponse:
        """Return the response, also one with an error status.

        The last try's status may be one that may pass. Raises Unavailable if the last try had no
        response.
        """
        for pause in PAUSES:
            asked = 0
            try:
                response = await self._client.send("POST", url, body=body, headers=headers)
                if response.status not in LATER:
                    return response
                asked = response.retry_after
            except Unavailable:  # the last try reports it
                pass
            await self._wait(min(max(pause, asked), MAX_PAUSE))
        return await self._client.send("POST", url, body=body, headers=headers)


def refusal(who: str, status: int) -> str:
    """Return the message about a status. The body is the server's, and not in it."""
    if status in REDIRECTS:
        return f"{who} answered {status}: redirects are not followed; give its present URL"
    return f"{who} answered {status}"
