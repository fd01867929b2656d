"""Billing records as text: JSON Lines, CSV (RFC 4180) and CloudEvents 1.0.

A spreadsheet runs a cell that begins with one of `=+-@` as a formula. Only the name of a route can
hold one: an id has no characters to call a function with. In CSV such a name gets an apostrophe.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from authz.core.csv_cell import csv_cell
from authz.core.usage.billing.record import BillingRecord

COLUMNS: Final = (
    *("id", "kid", "client", "project", "tenant", "plan", "hour", "route", "unit"),
    *("quantity", "revision"),
)
CSV_HEADING: Final = ",".join(COLUMNS) + "\n"
EVENT_TYPE: Final = "authz.usage"
"""The beginning of the type of an event; the unit follows, as in `authz.usage.ok`."""
_COMPACT: Final = json.JSONEncoder(separators=(",", ":"))


def document(record: BillingRecord) -> dict[str, Any]:
    """Return a record as a JSON object. Members without a value are null."""
    whose = record.owner
    return {
        "id": record.id,
        "kid": record.kid,
        "client": whose.client or None,
        "project": whose.project or None,
        "tenant": whose.tenant or None,
        "plan": whose.plan or None,
        "hour": record.begins,
        "route": record.route or None,
        "unit": record.unit,
        "quantity": record.quantity,
        "revision": record.revision,
    }


def json_lines(records: Iterable[BillingRecord]) -> bytes:
    """Return records as JSON Lines."""
    return _lines(map(document, records))


def csv_rows(records: Iterable[BillingRecord]) -> bytes:
    """Return records as rows of CSV, without CSV_HEADING."""
    return "".join(f"{','.join(_cells(each))}\n" for each in records).encode()


def event(record: BillingRecord, source: str) -> dict[str, Any]:
    """Return a record as a CloudEvent.

    source: with the id it names the event. The subject is the client, or the kid if it is unknown.
    Members without a value are left out of the data: OpenMeter would group null as text.
    """
    data = {name: value for name, value in document(record).items() if value is not None}
    return {
        "specversion": "1.0",
        "id": record.id,
        "source": source,
        "type": f"{EVENT_TYPE}.{record.unit}",
        "subject": record.owner.client or record.kid,
        "time": record.begins,
        "datacontenttype": "application/json",
        "data": data,
    }


def event_lines(records: Iterable[BillingRecord], source: str) -> bytes:
    """Return records as JSON Lines of CloudEvents."""
    return _lines(event(each, source) for each in records)


def event_batch(records: Iterable[BillingRecord], source: str) -> bytes:
    """Return records in the batch format of CloudEvents: one JSON array."""
    return _COMPACT.encode([event(each, source) for each in records]).encode()


def _lines(documents: Iterable[dict[str, Any]]) -> bytes:
    return "".join(f"{_COMPACT.encode(each)}\n" for each in documents).encode()


def _cells(record: BillingRecord) -> Iterable[str]:
    for name, value in document(record).items():
        text = csv_cell(value) if name == "route" else "" if value is None else str(value)
        yield '"' + text.replace('"', '""') + '"' if '"' in text or "," in text else text
