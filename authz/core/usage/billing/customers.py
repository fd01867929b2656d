"""Customers: the ids by which a receiver of billing records knows the owners of keys."""

import re
from collections.abc import Mapping
from typing import Final

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.records import KeyRecord
from authz.core.usage.billing.record import BillingRecord

NOT_BILLED: Final = "-"
_KINDS: Final = ("key", "client", "project", "tenant")  # the nearest first
_CUSTOMER: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,255}", re.ASCII)
_WORDS: Final = 3

CustomerTable = Mapping[tuple[str, str], str]
"""Customers by kind (key, client, project or tenant) and id."""


class Customers:
    """Finds the customer of a record.

    metadata: the name in the metadata of keys that holds the customer; "" for none. table: wins
    over it.
    """

    def __init__(self, metadata: str = "", table: CustomerTable | None = None) -> None:
        self._metadata = metadata
        self._table = table or {}

    @property
    def need_metadata(self) -> bool:
        """Whether the record of the key is needed."""
        return bool(self._metadata)

    def of(self, record: BillingRecord, key: KeyRecord | None) -> str:
        """Return the customer of a record: "" if there is none, NOT_BILLED if none is wanted.

        key: the record of the key; None if it was deleted.
        """
        whose = record.owner
        names = (record.kid, whose.client, whose.project, whose.tenant)
        for place in zip(_KINDS, names, strict=True):
            if place in self._table:
                return self._table[place]
        found = key.metadata.get(self._metadata, "") if key is not None else ""
        return found if found == NOT_BILLED or _CUSTOMER.fullmatch(found) else ""


def read_table(field: str, text: str) -> CustomerTable:
    """Return the customers of a file: lines such as `client acme-web cus_123`.

    Empty lines and lines that begin with `#` are skipped. Raises BadInput about `field`.
    """
    found: dict[tuple[str, str], str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != _WORDS or words[0] not in _KINDS or not _CUSTOMER.fullmatch(words[2]):
            problem = f"line {number}: {shown(line)} is not like `client acme-web cus_123`"
            raise BadInput(field, problem)
        place = (words[0], words[1])
        if found.get(place, words[2]) != words[2]:
            raise BadInput(
                field, f"line {number}: {words[0]} {words[1]} has another customer above"
            )
        found[place] = words[2]
    return found
