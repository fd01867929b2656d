"""`authz keys show`."""

import click

from authz.cli import show
from authz.cli.administration import read_record, with_bulk
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.options import kid_argument
from authz.core.errors import Unavailable
from authz.core.records import KeyRecord
from authz.core.usage.question import LatestUse
from authz.flows.limits.credit_report import Credits
from authz.process.clock import SystemClock
from authz.wiring.session import BulkSession


@click.command("show")
@kid_argument
@common
@click.pass_obj
def show_(invocation: Invocation, kid: str) -> None:
    """Print the record of a key, without its secret.

    `version` is the number of the change in the store that wrote the record, over all keys.
    `revision` counts the changes of this key alone. `credits` says how many units are left, if the
    key or its plan has credits. If `authz meter` counts usage, the last lines say when and from
    where the key was used last, and during an overlap each of its secrets.

    \b
    Examples:
      authz keys show 7Hk2mQ9xT4bVzR1c
      authz keys show 7Hk2mQ9xT4bVzR1c --json | jq .expires_at
    """

    async def work(
        session: BulkSession,
    ) -> tuple[KeyRecord, int | None, LatestUse | str, Credits | str | None]:
        record = await read_record(session, kid)
        revision = await session.history.revision(record)
        credits_left: Credits | str | None
        try:
            [credits_left] = await session.credits.of([record])
        except Unavailable as cause:  # the record is known, and is the answer
            credits_left = str(cause)
        try:
            return record, revision, await session.usage.latest_use(kid), credits_left
        except Unavailable as cause:
            return record, revision, str(cause), credits_left

    record, revision, use, credits_left = with_bulk(invocation, work)
    now = SystemClock().wall_ms()
    document = show.document(record) | show.state(record, now) | {"revision": revision}
    text = show.table(record, now, revision)
    if isinstance(credits_left, str):
        write_stderr(f"credits cannot be read: {credits_left}")
        credits_left = None
    document["credits"] = show.credits_document(credits_left)
    if credits_left is not None:
        text = f"{text}\n{show.credits_line(credits_left)}"
    if isinstance(use, str):
        write_stderr(f"usage cannot be read: {use}")
        invocation.answer(document | {"usage": None}, text)
        return
    if use.latest:
        text = f"{text}\n{show.usage_lines(record, use, now)}"
    invocation.answer(document | {"usage": show.usage_document(use)}, text)
