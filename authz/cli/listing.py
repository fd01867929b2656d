"""`authz keys list`."""

import re
from typing import Any, Final

import click

from authz.cli import color, show
from authz.cli.administration import with_bulk
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.key_columns import (
    DEFAULT,
    NAMES,
    SORT_KEYS,
    cells,
    credits_of,
    parse_columns,
    usage_of,
)
from authz.cli.over_api import is_over_api
from authz.cli.selecting import selector_options
from authz.cli.terminal import escaped
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.selector import Selector
from authz.flows.selection import Cost, Entry, Page, first, split_cursor
from authz.process.clock import SystemClock
from authz.wiring.session import BulkSession

_LIMIT: Final = re.compile(r"[1-9]\d{0,2}|1000", re.ASCII)
WORTH_TELLING: Final = 10_000  # keys looked at, from which on the cost of a list is told


def _limit(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    if not _LIMIT.fullmatch(value):
        raise BadInput("--limit", f"{fields.shown(value)}: a number from 1 to 1000, such as 100")
    return int(value)


def _columns(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[str, ...]:
    return DEFAULT if value is None else parse_columns("--columns", value)


@click.command("list")
@selector_options
@click.option(
    "--limit",
    metavar="N",
    default="100",
    callback=_limit,
    show_default=True,
    help="Keys on one page, at most 1000.",
)
@click.option("--cursor", metavar="CURSOR", default="", help="Continue after this page.")
@click.option("--all", "every", is_flag=True, help="All keys, not one page.")
@click.option(
    "--sort",
    metavar="FIELD",
    type=click.Choice([*SORT_KEYS, *(f"-{name}" for name in SORT_KEYS)]),
    help=f"Sort by {', '.join(SORT_KEYS)}; with - before it, the other way round.",
)
@click.option(
    "--columns",
    "chosen",
    metavar="NAMES",
    callback=_columns,
    help=f"Such as kid,name,plan. Of: {', '.join(NAMES)}.",
)
@common
@click.pass_obj
def list_(
    invocation: Invocation,
    /,
    *,
    selector: Selector,
    limit: int,
    cursor: str,
    every: bool,
    sort: str | None,
    chosen: tuple[str, ...],
) -> None:
    """List keys, oldest first, one page at a time.

    A page ends with the cursor of the next one. The cursor stays good when keys are changed or
    deleted. With conditions a page may have fewer keys than --limit although another page follows.
    An expired key is not active.

    The columns last-used and requests-30d show usage, if `authz meter` counts it. The columns
    credits and credits-left show the credits of a key or of its plan.

    --sort looks at all keys that fit, shows the first --limit of them, and has no next page.

    \b
    Examples:
      authz keys list
      authz keys list --client acme-web --status active
      authz keys list --name 'shop-*' --sort -expires --columns kid,name,expires
      authz keys list --plan trial --columns kid,client,credits,credits-left
      authz keys list --all --json | jq -r '.keys[] | select(.expired) | .kid'
      authz keys list --limit 1000 --cursor 7Hk2mQ9xT4bVzR1c-1764547200000
    """
    if cursor and not is_over_api(invocation):  # the server reads its own cursors
        split_cursor("--cursor", cursor)
    if cursor and (every or sort):
        raise BadInput("--cursor", "is for pages; --all and --sort have none")

    async def find(session: BulkSession) -> Page:
        if sort is not None:
            cost = Cost()
            order = SORT_KEYS[sort.removeprefix("-")]
            most = None if every else limit
            found = session.finder.each(selector, cost)
            entries = await first(found, most, order, is_reversed=sort.startswith("-"))
            return Page(entries, None, cost)
        if every:
            cost = Cost()
            all_found = [entry async for entry in session.finder.each(selector, cost)]
            return Page(tuple(all_found), None, cost)
        return await session.finder.page(selector, limit, cursor)

    async def work(session: BulkSession) -> tuple[Page, list[dict[str, Any]]]:
        page = await find(session)
        kids = [entry.kid for entry in page.entries]
        used = await usage_of(session, kids, chosen)
        credits_left = await credits_of(session, page.entries, chosen)
        return page, [one | other for one, other in zip(used, credits_left, strict=True)]

    (page, used), now = with_bulk(invocation, work), SystemClock().wall_ms()
    cost = {"keys_looked_at": page.cost.scanned, "records_read": page.cost.read}
    document = {
        "keys": [
            _document(entry, now) | {name.replace("-", "_"): value for name, value in row.items()}
            for entry, row in zip(page.entries, used, strict=True)
        ],
        "next": page.next,
        "cost": cost,
    }
    table = columns(
        [tuple(name.upper() for name in chosen)]
        + [cells(entry, chosen, now, row) for entry, row in zip(page.entries, used, strict=True)],
        {at: color.status for at, name in enumerate(chosen) if name == "status"},
    )
    invocation.answer(document, table if page.entries else "no keys")
    if invocation.as_json:
        return
    if page.cost.scanned >= WORTH_TELLING:
        counts = f"{page.cost.scanned} keys, {page.cost.read} records read"
        write_stderr(f"looked at {counts}; --client looks at the keys of one client alone")
    if page.next:
        write_stderr(f"there may be more: continue with --cursor {escaped(page.next)}")


def _document(entry: Entry, now: int) -> dict[str, Any]:
    if entry.record is None:
        return {"kid": entry.kid, "unreadable": entry.why}
    return show.document(entry.record) | show.state(entry.record, now)
