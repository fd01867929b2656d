"""Marks: the keys with which a client marks its entries of the audit trail."""

from collections.abc import Callable, Mapping

from authz.core.trail.rows import MARK, TrailKeys

Marks = Callable[[], TrailKeys]  # asked at the first change, so that reading needs no pepper


def marks_of(client: object) -> Marks | None:
    """Return the `marks` that Endpoint.client set on a client; None: entries get no mark."""
    return getattr(client, "marks", None)


def with_mark(marks: Marks | None, kid: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of an entry's fields, with a mark over them and the kid. The kid is not added.

    marks: None for no mark. Raises BadInput if the keys of the marks cannot be read.
    """
    if marks is None:
        return dict(fields)
    marked = marks().marked({"kid": kid, **fields})
    return {**fields, MARK: marked[MARK]}
