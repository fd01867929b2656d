"""`authz keys show`."""

from collections.abc import Awaitable
from typing import NamedTuple, TypeVar

import click

from authz.cli import show
from authz.cli.administration import read_record, with_bulk
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.options import kid_argument
from authz.core.errors import NoSuchMethod, Unavailable
from authz.core.records import KeyRecord
from authz.core.usage.question import LatestUse
from authz.flows.limits.credit_report import Credits
from authz.flows.waiting_deliveries import WaitingDelivery
from authz.process.clock import SystemClock
from authz.wiring.session import BulkSession

_T = TypeVar("_T")


class _Shown(NamedTuple):
    """The parts of the answer. A text says why a part cannot be read: the record is the answer."""

    record: KeyRecord
    revision: int | None
    credits_left: list[Credits | None] | str
    delivery: WaitingDelivery | str | None
    use: LatestUse | str


@click.command("show")
@kid_argument
@common
@click.pass_obj
def show_(invocation: Invocation, kid: str) -> None:
    """Print the record of a key, without its secret.

    `version` is the number of the change in the store that wrote the record, over all keys.
    `revision` counts the changes of this key alone. `credits` says how many units are left, if the
    key or its plan has credits. `delivery` names a new secret that has not arrived at its target.
    If `authz meter` counts usage, the last lines say when and from where the key was used last, and
    during an overlap each of its secrets.

    \b
    Examples:
      authz keys show 7Hk2mQ9xT4bVzR1c
      authz keys show 7Hk2mQ9xT4bVzR1c --json | jq .expires_at
    """

    async def work(session: BulkSession) -> _Shown:
        record = await read_record(session, kid)
        revision = await session.history.revision(record)
        credits_left = await _or_cause(session.credits.of([record]))
        delivery = await _or_cause(_delivery(session, kid))
        use = await _or_cause(session.usage.latest_use(kid))
        return _Shown(record, revision, credits_left, delivery, use)

    found = with_bulk(invocation, work)
    record, now = found.record, SystemClock().wall_ms()
    document = show.document(record) | show.state(record, now) | {"revision": found.revision}
    text = [show.table(record, now, found.revision)]
    credits_left = _known("credits", found.credits_left)
    document["credits"] = show.credits_document(credits_left[0] if credits_left else None)
    if credits_left and credits_left[0] is not None:
        text.append(show.credits_line(credits_left[0]))
    delivery = _known("deliveries", found.delivery)
    document["delivery"] = None if delivery is None else show.delivery_document(delivery)
    if delivery is not None:
        text.append(show.delivery_lines(delivery, now))
    use = _known("usage", found.use)
    document["usage"] = None if use is None else show.usage_document(use)
    if use is not None and use.latest:
        text.append(show.usage_lines(record, use, now))
    invocation.answer(document, "\n".join(text))


async def _delivery(session: BulkSession, kid: str) -> WaitingDelivery | None:
    try:
        found = await session.deliveries.find(kid)
    except NoSuchMethod:  # an older server
        return None
    return found[0] if found else None


async def _or_cause(reading: Awaitable[_T]) -> _T | str:
    """Return what is read, or why it cannot be read."""
    try:
        return await reading
    except Unavailable as cause:
        return str(cause)


def _known(what: str, part: _T | str) -> _T | None:
    """Return a part of the answer. None: it cannot be read, and stderr says why."""
    if not isinstance(part, str):
        return part
    write_stderr(f"{what} cannot be read: {part}")
    return None
