"""The orders of lists of keys: the value of a record that each order compares."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.records import KeyRecord

_FOREVER: Final = 1 << 62

ORDERS: Final[Mapping[str, Callable[[KeyRecord], Any]]] = {
    "create_time": lambda record: (record.created_at, record.kid),
    "expire_time": lambda record: record.expires_at or _FOREVER,
    "display_name": lambda record: record.name,
    "client_id": lambda record: record.client_id,
    "plan": lambda record: record.plan,
    "status": lambda record: record.status.value,
    "version": lambda record: record.version,
}
"""By the names of the admin API. A key without an end comes after those with one."""


class KeyOrder(NamedTuple):
    """An order. is_reversed: the largest value first."""

    name: str = "create_time"
    is_reversed: bool = False

    @property
    def is_by_creation(self) -> bool:
        """True if the store has the keys in this order, or the other way round."""
        return self.name == "create_time"


def parse_order(field: str, text: str) -> KeyOrder:
    """Return the order of `name` or `name desc` (AIP-132); by creation for an empty text.

    Raises BadInput about `field` for another text.
    """
    words = text.split()
    if not words:
        return KeyOrder()
    if words[0] not in ORDERS or words[1:] not in ([], ["asc"], ["desc"]):
        known = ", ".join(ORDERS)
        raise BadInput(field, f"{shown(text)} is no order; one of {known}, and perhaps ` desc`")
    return KeyOrder(words[0], words[1:] == ["desc"])
