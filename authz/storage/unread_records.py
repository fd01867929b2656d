"""Records of a backup that could not be read: bytes, or nothing, in place of fields."""

from collections.abc import Mapping
from typing import Any, Final

from authz.core.errors import Unreadable
from authz.storage import stored_records
from authz.storage.field_codec import as_bytes

_UNREAD: Final = {"schema": "0", "client_id": "", "created_at": "0"}
_BYTES: Final = "damaged"
LOST: Final = {**_UNREAD, _BYTES: ""}  # a record of which nothing could be read


def read_fields(kid: str, stored: Any) -> Mapping[str, str]:
    """Return the fields of a stored record, empty if there is none.

    Of a compact record that is damaged, or of a newer version, they are its bytes, with what a
    restore by any version needs. `kept_bytes` returns them.
    """
    try:
        return stored_records.fields_of(kid, stored)
    except Unreadable:
        return {**_UNREAD, _BYTES: as_bytes(stored).hex()}


def kept_bytes(fields: Mapping[str, str]) -> bytes | None:
    """Return the bytes of a compact record that the backup could not read; None of any other."""
    if fields.keys() != {*_UNREAD, _BYTES} or not _UNREAD.items() <= fields.items():
        return None
    try:
        return bytes.fromhex(fields[_BYTES])
    except ValueError:
        return None
