"""The two announcements of a change: the notice on the channel and the entry of the log."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from authz.core import fields
from authz.core.keys.text import KID_PATTERN
from authz.core.records import Status
from authz.storage import encoding

_ENTRY: Final = re.compile(r" (\d{1,12}):([0-9a-f]{12}) imported\Z", re.ASCII)


class Notice(NamedTuple):
    """One change, as announced by the channel or the log. seq: its number. kid: the key's id.

    at: the store's wall clock in ms since the epoch, or None if the notice has no time. mark: tells
    this change from another one of the same number; "" if the notice has none.
    """

    seq: int
    kid: str
    revoked: bool
    at: int | None = None
    mark: str = ""


def decode_notice(text: str) -> Notice:
    """Decode `seq kid status at change_id`. Raises ValueError for any other text.

    Notices of the first version end after `status`: then `at` is None and `mark` is "", as if `at`
    is no number. Words after `change_id` are ignored. Any status but `revoked` is accepted as not
    revoked.
    """
    seq, kid, status, *more = text.split(" ")
    change = Notice(encoding.number("seq", seq), _kid(kid), status == Status.REVOKED)
    if len(more) < 2 or not (more[0].isascii() and more[0].isdecimal()):  # noqa: PLR2004  a pair
        return change
    return change._replace(at=encoding.number("at", more[0]), mark=f"{more[0]} {more[1]}")


def decode_entry(entry_id: str, found: Mapping[str, str]) -> Notice:
    """Decode an entry of the log, whose id must be `SEQ-0`.

    Raises KeyError if a field is missing, ValueError if the id or a field is garbled.
    """
    seq, dash, part = entry_id.partition("-")
    if dash + part != "-0":
        raise ValueError(f"{fields.shown(entry_id)} is not the id of a change")
    at = encoding.number("at", found["at"])
    revoked = encoding.member(Status, "status", found["status"]) is Status.REVOKED
    mark = f"{at} {found['change_id']}"
    return Notice(encoding.number("seq", seq), _kid(found["kid"]), revoked, at, mark)


class ImportedEntry(NamedTuple):
    """A new entry of the store's index of imported digests. number: 1 for the first one."""

    number: int
    entry: str


def announces_import(notice: str) -> bool:
    """Return whether the last word of the notice, after the status, is `imported`."""
    return notice.split(" ")[3:][-1:] == ["imported"]


def imported_entry(notice: str) -> ImportedEntry | None:
    """Return the index entry that the notice of an import carries, or None if it carries none."""
    found = _ENTRY.search(notice)
    return found and ImportedEntry(int(found[1]), found[2])


def _kid(text: str) -> str:
    if not KID_PATTERN.fullmatch(text):
        raise ValueError(f"{fields.shown(text)} is not a kid")
    return text
