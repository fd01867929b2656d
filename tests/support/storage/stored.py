"""The names in a store without a namespace, records there, and the commands that need rights."""

from contextlib import suppress
from typing import Any, Final

from authz.storage import compact
from authz.storage.compact_entries import unpacked
from authz.storage.field_codec import as_bytes
from authz.storage.index_members import kid_of
from authz.storage.permissions import permissions
from authz.storage.schema import DEFAULT

META: Final = DEFAULT.meta
SEQ: Final = DEFAULT.seq
LOG: Final = DEFAULT.log
CHANGES: Final = DEFAULT.changes
AUDIT: Final = DEFAULT.audit
KEYS: Final = DEFAULT.keys
SIDECARS: Final = DEFAULT.sidecars
HEARTBEAT: Final = DEFAULT.heartbeat
RESTORING: Final = DEFAULT.restoring
IMPORTED: Final = DEFAULT.imported
key: Final = DEFAULT.key
limit: Final = DEFAULT.limit
alias: Final = DEFAULT.alias
client: Final = DEFAULT.client
sidecar: Final = DEFAULT.sidecar

SERVING, COUNTING, BEATING, REGISTERING, INDEXING, CHANGING = permissions(DEFAULT)


def fields(admin: Any, kid: str) -> dict[str, str]:
    """Return the fields of a record in either form, empty if there is none. admin: redis-py."""
    name = key(kid)
    if admin.type(name) != "string":
        found: dict[str, str] = admin.hgetall(name)
        return found
    return compact.unpack(kid, as_bytes(admin.get(name)))


def alter(admin: Any, kid: str, **changed: str | None) -> None:
    """Change fields of a record in its form, as somebody without the pepper. None removes one."""
    name, found = key(kid), fields(admin, kid) | changed
    left = {field: text for field, text in found.items() if text is not None}
    if admin.type(name) == "string":
        with suppress(ValueError):  # a damaged record has no compact form
            admin.set(name, compact.pack(left))
            return
    admin.delete(name)
    admin.hset(name, mapping=left)


def audit_rows(admin: Any) -> list[tuple[str, dict[str, str]]]:
    """Return id and fields of each row of the audit trail, in either form. admin: redis-py."""
    return [(row_id, dict(unpacked(found))) for row_id, found in admin.xrange(AUDIT)]


def kids(admin: Any) -> list[str]:
    """Return the kids of all keys by creation, from members in either form. admin: redis-py."""
    return list(map(kid_of, admin.zrange(KEYS, 0, -1)))
