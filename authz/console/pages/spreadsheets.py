"""CSV for spreadsheets: no cell can be read as a formula."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

from authz.console.pages.formats import word
from authz.core.csv_cell import csv_cell

COLUMNS: Final = (
    *("kid", "status", "environment", "client", "name", "tenant", "project", "plan", "scopes"),
    *("limits", "networks", "hosts", "origins", "created", "expires", "revoked", "reason"),
    *("metadata", "version"),
)


def line(cells: Iterable[str]) -> bytes:
    """Return one line of CSV (RFC 4180). A cell that could be a formula gets `'` before it."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow([csv_cell(cell) for cell in cells])
    return buffer.getvalue().encode()


async def keys_as_csv(messages: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    """Yield the lines of a table of keys. messages: of ExportKeys. An error is a last line."""
    yield line(COLUMNS)
    async for message in messages:
        if "key" in message:
            yield line(_cells(message["key"]))
        elif "unreadable" in message:
            found = message["unreadable"]
            yield line([found["name"].removeprefix("keys/"), "unreadable", found["reason"]])
        else:
            yield line(["error", str(message.get("error", {}).get("detail", ""))])


def _cells(key: Mapping[str, Any]) -> list[str]:
    return [
        key["name"].removeprefix("keys/"),
        word(key["status"], "STATUS"),
        word(key["env"], "ENVIRONMENT"),
        key.get("clientId", ""),
        key.get("displayName", ""),
        key.get("tenantId", ""),
        key.get("projectId", ""),
        key.get("plan", ""),
        " ".join(key.get("scopes", ())),
        " ".join(limit["spec"] for limit in key.get("limits", ())),
        " ".join(key.get("allowedCidrs", ())),
        " ".join(key.get("allowedHosts", ())),
        " ".join(key.get("allowedOrigins", ())),
        key.get("createTime", ""),
        key.get("expireTime", "never"),
        key.get("revokeTime", ""),
        word(key.get("revocationReason"), "REVOCATION_REASON"),
        " ".join(f"{name}={value}" for name, value in sorted(key.get("metadata", {}).items())),
        str(key["version"]),
    ]
