"""Marks: the keys with which a client marks its entries of the audit trail."""

from collections.abc import Callable, Mapping

from authz.core.trail.rows import MARK, TrailKeys

Marks = Callable[[], TrailKeys]  # asked at the first change, so that reading needs no pepper


def marks_of(client: object) -> Marks | None:
    """Return the `marks` that Endpoint.client set on a client; None: entries get no mark."""
    return getattr(client, "marks", None)


def with_mark(marks: Marks | None, kid: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of an entry about a key with the mark of this client, if it has one.

    Raises BadInput if the keys cannot be read.
    """
    if marks is None:
        return dict(fields)
    marked = marks().marked({"kid": kid, **fields})
    return {**fields, MARK: marked[MARK]}
