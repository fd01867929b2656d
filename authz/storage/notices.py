"""How the store tells of a change: in a notice on the channel, in an entry of the log."""

from collections.abc import Mapping
from typing import NamedTuple

from authz.core import fields
from authz.core.keys.text import KID_PATTERN
from authz.core.records import Status
from authz.storage import schema


class Notice(NamedTuple):
    """One change, as the channel and the log tell of it.

    at: the store's wall clock in milliseconds, if it says so. mark: tells this change from any
    other of the same number; "" when the notice has none.
    """

    seq: int
    kid: str
    revoked: bool
    at: int | None = None
    mark: str = ""


def decode_notice(text: str) -> Notice:
    """`seq kid status at change_id`. Words after these are for later versions, the last two newer.

    Raises ValueError when it is something else.
    """
    seq, kid, status, *more = text.split(" ")
    change = Notice(schema.number("seq", seq), _kid(kid), status == Status.REVOKED)
    if len(more) < 2 or not (more[0].isascii() and more[0].isdecimal()):  # noqa: PLR2004  a pair
        return change
    return change._replace(at=schema.number("at", more[0]), mark=f"{more[0]} {more[1]}")


def decode_entry(entry_id: str, found: Mapping[str, str]) -> Notice:
    """An entry of the log. Raises ValueError, KeyError."""
    seq, dash, part = entry_id.partition("-")
    if dash + part != "-0":
        raise ValueError(f"{fields.shown(entry_id)} is not the id of a change")
    at = schema.number("at", found["at"])
    revoked = schema.member(Status, "status", found["status"]) is Status.REVOKED
    mark = f"{at} {found['change_id']}"
    return Notice(schema.number("seq", seq), _kid(found["kid"]), revoked, at, mark)


def tells_of_import(notice: str) -> bool:
    """Is it the notice of a key's import?"""
    return notice.split(" ")[3:][-1:] == ["imported"]


def _kid(text: str) -> str:
    if not KID_PATTERN.fullmatch(text):
        raise ValueError(f"{fields.shown(text)} is not a kid")
    return text
