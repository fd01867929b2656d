"""Rows of the trail as documents, for copies outside the store."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from authz.core.trail.labels import split_label
from authz.core.trail.rows import Row, position

SCOPE: Final = "authz.audit"
INFO: Final = 9  # SeverityNumber of OTLP logs
NS_PER_MS: Final = 1_000_000


def line(row: Row) -> str:
    """Return a row as one line of JSON, without the line break. `parse` reads it back."""
    return json.dumps({"id": row.id, "row": dict(row.fields)}, separators=(",", ":"))


def lines(rows: Iterable[Row]) -> bytes:
    """Return rows as JSON Lines in UTF-8, each with a line break; empty for no rows."""
    return "".join(f"{line(row)}\n" for row in rows).encode()


def parse(text: str) -> Row:
    """Return the row of a line. Raises ValueError if the text is not a row as `line` writes it."""
    try:
        found = json.loads(text)
        fields = found["row"]
        row = Row(found["id"], {name: fields[name] for name in fields})
        split_label(row.id)
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("not a row of the audit trail") from None
    if not all(isinstance(value, str) for value in row.fields.values()):
        raise ValueError("not a row of the audit trail")
    return row


def in_order(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows of a copy in the order of their ids, each once. It first reads all of them.

    A row may be delivered twice, so a copy can hold it several times. Rows with the same id and
    different fields are all yielded. Raises ValueError if an id is not that of a row.
    """
    seen: dict[str, list[Row]] = {}
    for row in rows:
        known = seen.setdefault(row.id, [])
        if row not in known:
            known.append(row)
    for row_id in sorted(seen, key=position):
        yield from seen[row_id]


def otlp(rows: Sequence[Row]) -> bytes:
    """Return rows as one ExportLogsServiceRequest of OTLP in JSON, one log record for each row.

    The time of a record is that of its row, 0 if the row has none.
    """
    records = [
        {
            "timeUnixNano": str(_time(row.fields) * NS_PER_MS),
            "severityNumber": INFO,
            "severityText": "INFO",
            "body": {"stringValue": line(row)},
            "attributes": [
                _attribute("authz.audit.id", row.id),
                *(
                    _attribute(f"authz.audit.{name}", row.fields[name])
                    for name in ("kid", "action", "actor", "source", "request_id")
                    if row.fields.get(name)
                ),
            ],
        }
        for row in rows
    ]
    resource = {"attributes": [_attribute("service.name", "authz")]}
    scoped = {"scope": {"name": SCOPE}, "logRecords": records}
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [scoped]}]}).encode()


def _attribute(name: str, text: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": text}}


def _time(fields: Mapping[str, str]) -> int:
    text = fields.get("at", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0  # noqa: PLR2004
