"""StripeMeter: sends billing records to Stripe as meter events.

https://docs.stripe.com/api/billing/meter-event/create. Its rules:

1. An event has an identifier of at most 100 characters. A second one with the same identifier is
   refused with 400 for at least 24 hours, and counted later. That refusal confirms the first one.
2. The time of an event is at most 35 days ago. A value may be negative, as text.
3. At most one call for a customer and meter at a time, and 1,000 calls a second, else 429.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

from authz.core.errors import Unavailable
from authz.core.usage.billing.ports import Delivery
from authz.core.usage.billing.record import HOUR_SECONDS, BillingRecord
from authz.process.billing_sinks import LATER, RepeatedPost, refusal
from authz.process.web_client import WebResponse

API: Final = "https://api.stripe.com"
PATH: Final = "/v1/billing/meter_events"
AT_ONCE: Final = 6  # calls, each for another customer
MAX_AGE_HOURS: Final = 35 * 24 - 1  # an hour of it is for the export itself
FORGETS_MS: Final = 23 * 3_600_000  # Stripe remembers identifiers for 24 h
REFUSED: Final = frozenset({400, 404, 422})  # this event, and not the caller
_KNOWN: Final = "An event already exists with identifier"
_WORD: Final = re.compile(r"[a-z_]{1,64}", re.ASCII)


class StripeMeter:
    """A BillingSink. event: the event_name of a meter. key: the secret key of the API."""

    batch = 24  # at most so many records are in doubt after a failure

    def __init__(self, post: RepeatedPost, event: str, key: str, api: str = API) -> None:
        self._post = post
        self._event = event
        self._url = api.rstrip("/") + PATH
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/x-www-form-urlencoded",
        }

    async def deliver(self, records: Sequence[BillingRecord]) -> Delivery:
        """Implement BillingSink.deliver."""
        of_customer: dict[str, list[BillingRecord]] = {}
        for record in records:
            of_customer.setdefault(record.customer, []).append(record)
        free = asyncio.Semaphore(AT_ONCE)
        found = await asyncio.gather(
            *(self._in_turn(each, free) for each in of_customer.values()), return_exceptions=True
        )
        refused: list[tuple[BillingRecord, str]] = []
        for result in found:
            if isinstance(result, BaseException):
                raise result
            refused += result
        return Delivery(refused=refused)

    async def finish(self) -> None:
        """Implement BillingSink.finish."""

    async def _in_turn(
        self, records: Sequence[BillingRecord], free: asyncio.Semaphore
    ) -> list[tuple[BillingRecord, str]]:
        """Send the records of one customer. Return the refused ones with their reasons."""
        refused = []
        for record in records:
            async with free:
                reason = await self._send(record)
            if reason:
                refused.append((record, reason))
        return refused

    async def _send(self, record: BillingRecord) -> str:
        """Send one record. Return the reason if Stripe refuses it, else "". Raises Unavailable."""
        form = {
            "event_name": self._event,
            "identifier": record.id,
            "timestamp": str(record.hour * HOUR_SECONDS),
            "payload[stripe_customer_id]": record.customer,
            "payload[value]": str(record.quantity),
        }
        response = await self._post.send(self._url, urlencode(form).encode(), self._headers)
        content = _content(response)
        if response.is_ok:
            if content.get("identifier") != record.id:
                raise Unavailable(f"Stripe answered {response.status}, but not with the event")
            return ""
        error = content.get("error")
        error = error if isinstance(error, dict) else {}
        if response.status in REFUSED and response.status not in LATER:
            if str(error.get("message", "")).startswith(_KNOWN):
                return ""
            return " ".join(filter(None, ("Stripe answered", str(response.status), _why(error))))
        raise Unavailable(" ".join(filter(None, (refusal("Stripe", response.status), _why(error)))))


def _content(response: WebResponse) -> dict[str, Any]:
    try:
        found = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _why(error: dict[str, Any]) -> str:
    """Return the code of an error and the name of the parameter, as far as they are plain words."""
    words = [str(error.get(name) or "") for name in ("code", "type")]
    return next((word for word in words if _WORD.fullmatch(word)), "")
