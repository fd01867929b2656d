"""The columns and the sort orders of `authz keys list`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from authz.cli import show
from authz.cli.times import NEVER
from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.key_order import ORDERS
from authz.core.records import KeyRecord
from authz.core.times import rfc3339
from authz.flows.selection import Entry
from authz.wiring.session import BulkSession

DEFAULT: Final = ("kid", "status", "env", "client", "expires", "name")

# The text of each column.
_COLUMNS: Final[dict[str, Callable[[KeyRecord], str]]] = {
    "kid": lambda record: record.kid,
    "env": lambda record: record.env,
    "public": lambda record: "yes" if record.public else "no",
    "client": lambda record: record.client_id,
    "project": lambda record: record.project_id,
    "tenant": lambda record: record.tenant_id,
    "plan": lambda record: record.plan,
    "expires": lambda record: rfc3339(record.expires_at) if record.expires_at else NEVER,
    "created": lambda record: rfc3339(record.created_at),
    "revoked": lambda record: rfc3339(record.revoked_at) if record.revoked_at else "",
    "reason": lambda record: record.revocation_reason.value if record.revocation_reason else "",
    "name": lambda record: record.name,
    "scopes": lambda record: " ".join(sorted(record.scopes)),
    "limits": lambda record: " ".join(map(str, record.limits)),
    "metadata": lambda record: " ".join(f"{n}={v}" for n, v in sorted(record.metadata.items())),
    "version": lambda record: str(record.version),
}
LAST_USED: Final = "last-used"
REQUESTS: Final = "requests-30d"
USED: Final = (LAST_USED, REQUESTS)
CREDITS: Final = "credits"
CREDITS_LEFT: Final = "credits-left"
OF_CREDITS: Final = (CREDITS, CREDITS_LEFT)
NAMES: Final = ("kid", "status", *list(_COLUMNS)[1:], *USED, *OF_CREDITS)

_ABSENT: Final = dict.fromkeys(OF_CREDITS, "-")  # the cell for None
# The value of each sort order. A key without an end comes last.
SORT_KEYS: Final[dict[str, Callable[[KeyRecord], Any]]] = {
    "created": ORDERS["create_time"],
    "expires": ORDERS["expire_time"],
    "name": ORDERS["display_name"],
    "client": ORDERS["client_id"],
    "plan": ORDERS["plan"],
    "status": ORDERS["status"],
    "changed": ORDERS["version"],
}


def parse_columns(field: str, text: str) -> tuple[str, ...]:
    """Return comma-separated names of columns, in order. Blanks around them are dropped.

    Raises BadInput about `field` for a name that is not in NAMES.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in NAMES:
            raise BadInput(field, f"{shown(name)} is no column; there are {', '.join(NAMES)}")
    return names


def cells(
    entry: Entry, names: tuple[str, ...], now: int, used: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the cells of one key as text, in the order of `names`.

    now: ms since the epoch, for its status. used: values of more columns by name, from `usage_of`
    and `credits_of`; None becomes `never` or `-`. A key that cannot be read has its kid, the status
    `unreadable` and the reason in the last cell, unless that is one of these two.
    """
    record = entry.record
    if record is None:
        known = {"kid": entry.kid, "status": "unreadable"}
        found = [known.get(name, "") for name in names]
        if names[-1] not in known:
            found[-1] = entry.why
        return tuple(found)
    special = {"status": show.status_text(record, now)} | {
        name: _ABSENT.get(name, NEVER) if value is None else str(value)
        for name, value in used.items()
    }
    return tuple(special[name] if name in special else _COLUMNS[name](record) for name in names)


async def usage_of(
    session: BulkSession, kids: Sequence[str], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return for each kid, in order, the columns about usage that are among `names`, by name.

    The time of the latest use is RFC 3339, None if there is none. The requests are a number. Raises
    Unavailable.
    """
    found: list[dict[str, Any]] = [{} for _ in kids]
    if LAST_USED in names:
        times = await session.usage.latest_times(kids)
        for kid, row in zip(kids, found, strict=True):
            row[LAST_USED] = rfc3339(times[kid] * 1000) if kid in times else None
    if REQUESTS in names:
        requests = await session.usage.requests_of_30_days(kids)
        for kid, row in zip(kids, found, strict=True):
            row[REQUESTS] = requests[kid]
    return found


async def credits_of(
    session: BulkSession, entries: Sequence[Entry], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return for each entry, in order, the columns about credits that are among `names`, by name.

    They are numbers of units; None for a key without credits or without a record. Raises
    Unavailable.
    """
    wanted = [name for name in OF_CREDITS if name in names]
    if not wanted:
        return [{} for _ in entries]
    records = [entry.record for entry in entries if entry.record is not None]
    found = iter(await session.credits.of(records))
    every = [None if entry.record is None else next(found) for entry in entries]
    return [
        {name: one and (one.total if name == CREDITS else one.left) for name in wanted}
        for one in every
    ]
