"""BillingRecord: the usage of one key, hour, route and unit, for an invoice."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from authz.core.usage.counts import Counts, Field

HOUR_SECONDS: Final = 3600
LONG_ROUTE: Final = 36
"""Characters of a route that stand in an id; a longer one is replaced by its digest.

So an id has at most 100 characters, which is the limit of Stripe: kid 16, hour 20, route 36,
unit 12 and four colons leave 12 for the revision.
"""
_DIGEST_BYTES: Final = 16


class Unit(StrEnum):
    """The numbers of a key that can be billed. They have the names of `authz usage --json`."""

    REQUESTS = "requests"
    OK = "ok"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    DENIED = "denied"
    ABORTED = "aborted"
    UNITS = "units"
    BYTES_IN = "bytes_in"
    BYTES_OUT = "bytes_out"
    DURATION_MS = "duration_ms"


NUMBERS: Final[Mapping[Unit, Callable[[Counts], int]]] = {
    Unit.REQUESTS: lambda counts: counts.requests,
    Unit.OK: lambda counts: counts[Field.OK],
    Unit.CLIENT_ERROR: lambda counts: counts[Field.CLIENT_ERROR],
    Unit.SERVER_ERROR: lambda counts: counts[Field.SERVER_ERROR],
    Unit.DENIED: lambda counts: counts[Field.DENIED],
    Unit.ABORTED: lambda counts: counts[Field.ABORTED],
    Unit.UNITS: lambda counts: counts.units,
    Unit.BYTES_IN: lambda counts: counts[Field.BYTES_IN],
    Unit.BYTES_OUT: lambda counts: counts[Field.BYTES_OUT],
    Unit.DURATION_MS: lambda counts: counts[Field.MILLISECONDS],
}
DEFAULT_UNITS: Final = (Unit.OK, Unit.UNITS)


@dataclass(frozen=True, slots=True)
class Owner:
    """The client, project, tenant and plan of a key; "" for none."""

    client: str = ""
    project: str = ""
    tenant: str = ""
    plan: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingRecord:
    """The usage of one key, hour, route and unit, or a later difference to it.

    hour: since the epoch. route: "" for requests without a label. revision: 1 for the first record,
    then one more for each difference. quantity: negative if the count became smaller. customer: the
    id of the receiver for the owner; "" if the receiver needs none.
    """

    kid: str
    hour: int
    route: str
    unit: str
    quantity: int
    revision: int
    owner: Owner = Owner()
    customer: str = ""

    @property
    def id(self) -> str:
        """The id, by which a receiver finds repeats: kid, hour, route, unit and revision.

        It has at most 100 characters and no blank.
        """
        return f"{self.kid}:{self.begins}:{_short(self.route)}:{self.unit}:{self.revision}"

    @property
    def series(self) -> tuple[str, int, str, str]:
        """The kid, hour, route and unit. Revisions of one series add up to its count."""
        return self.kid, self.hour, self.route, self.unit

    @property
    def begins(self) -> str:
        """The start of the hour in RFC 3339, such as `2026-11-29T14:00:00Z`."""
        return hour_text(self.hour)


@lru_cache(4096)
def hour_text(hour: int) -> str:
    """Return the start of an hour since the epoch in RFC 3339."""
    at = datetime.fromtimestamp(hour * HOUR_SECONDS, UTC)
    return at.isoformat().replace("+00:00", "Z")


def encoded(record: BillingRecord) -> str:
    """Return a record as text that `decoded` reads back."""
    whose = record.owner
    return json.dumps(
        [
            *(record.kid, record.hour, record.route, record.unit, record.quantity),
            *(record.revision, whose.client, whose.project, whose.tenant, whose.plan),
            record.customer,
        ]
    )


def decoded(text: str) -> BillingRecord:
    """Return the record of a text that `encoded` made. Raises ValueError for other text."""
    try:
        kid, hour, route, unit, quantity, revision, *owner, customer = json.loads(text)
        return BillingRecord(
            kid=kid,
            hour=hour,
            route=route,
            unit=unit,
            quantity=quantity,
            revision=revision,
            owner=Owner(*owner),
            customer=customer,
        )
    except (ValueError, TypeError, RecursionError):
        raise ValueError("not a record of usage") from None


def _short(route: str) -> str:
    """Return a route of at most LONG_ROUTE characters without blanks, or its digest after `~`."""
    if len(route) <= LONG_ROUTE and " " not in route:
        return route
    return f"~{hashlib.blake2b(route.encode(), digest_size=_DIGEST_BYTES).hexdigest()}"
