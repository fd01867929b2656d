"""`authz audit ship`."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import click

from authz.cli.administration import stored_settings
from authz.cli.bounded_file import read_ascii
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.options import path_such_as
from authz.cli.session_loop import run_interruptible
from authz.core import fields
from authz.core.errors import BadInput, Unavailable
from authz.flows.partitioned.trail import LabellingSink
from authz.flows.trail.shipping import Shipper, TrailSink
from authz.process.trail_sinks import FileCursor
from authz.settings.model import Settings
from authz.wiring import audit

MAX_HEADERS: Final = 1 << 20  # bytes of a file
PAUSE: Final = 5.0  # seconds between two rounds
MAX_PAUSE: Final = 60.0
_HEADER: Final = re.compile(r"([A-Za-z0-9-]{1,64}): ?([!-~][ -~]{0,4095})", re.ASCII)

Wait = Callable[[float], Awaitable[None]]


@click.command()
@click.option(
    "--to",
    metavar="WHERE",
    required=True,
    help="`file:PATH`, `https://...`, or `otlp`: the receiver of telemetry.otlp.",
)
@click.option(
    "--cursor",
    metavar="FILE",
    callback=path_such_as("audit.cursor"),
    help="Remembers the last row that was delivered. Default for a file: PATH.cursor.",
)
@click.option(
    "--header-file",
    metavar="FILE",
    callback=path_such_as("header.txt"),
    help="Lines such as `Authorization: Bearer ...`, sent with each request.",
)
@click.option("--ca", metavar="FILE", callback=path_such_as("ca.pem"), help="CA of the receiver.")
@click.option("--follow", is_flag=True, help="Go on, and deliver new rows within 5 s.")
@common
@click.pass_obj
def ship(
    invocation: Invocation,
    *,
    to: str,
    cursor: str | None,
    header_file: str | None,
    ca: str | None,
    follow: bool,
) -> None:
    """Copy the audit trail to a place outside the store.

    Choose one that administrators of the store cannot change. Rows arrive in order and at least
    once. The cursor moves after the receiver has confirmed them: by a status from 200 to 299, or
    when the file is on the disk. A row has an id, by which a receiver finds repeats. Marks and
    checkpoints are copied too, so `authz audit verify --file` can verify the copy. With several
    partitions there is a cursor for each, and ids begin with the partition: 3.17-0.

    \b
    Examples:
      authz audit ship --to file:/var/lib/worm/audit.jsonl
      authz audit ship --to https://siem.example.com/in --cursor /var/lib/authz/siem --follow
    """
    settings = stored_settings(invocation)
    headers = _headers(header_file) if header_file else {}
    sink = _sink(settings, to, headers, Path(ca) if ca else None)
    if cursor is None and not to.startswith("file:"):
        raise BadInput("--cursor", "is needed here: a file that remembers what was delivered")
    place = Path(cursor or f"{to.removeprefix('file:')}.cursor")
    shipped = run_interruptible(_ship(settings, sink, place, follow=follow))
    invocation.answer({"rows": shipped}, f"{shipped} rows were delivered")


def _sink(settings: Settings, to: str, headers: dict[str, str], ca: Path | None) -> TrailSink:
    if to.startswith("file:") and len(to) > len("file:") and to.isprintable():
        return audit.file_sink(Path(to.removeprefix("file:")))
    if to.startswith(("https://", "http://")):
        return audit.web_sink(to, headers, ca)
    if to == "otlp":
        if settings.telemetry.otlp is None:
            raise BadInput("--to", "otlp needs the setting telemetry.otlp.endpoint")
        return audit.otlp_sink(settings.telemetry.otlp.endpoint, headers, ca)
    raise BadInput("--to", f"{fields.shown(to)}: file:PATH, https://HOST/PATH or otlp")


def _headers(file: str) -> dict[str, str]:
    """Return the headers of a file by name. Their values are secrets and in no error.

    Raises BadInput as `read_ascii`, and if a line that is not empty is no `Name: value`.
    """
    texts = read_ascii("--header-file", file, MAX_HEADERS).splitlines()
    found = [_HEADER.fullmatch(text) for text in texts if text]
    if not all(found):
        raise BadInput("--header-file", f"{file} has a line that is not `Name: value`")
    return {one[1]: one[2] for one in found if one}


def _shipper(trail: audit.Trail, sink: TrailSink, path: Path) -> Shipper:
    """Return the shipper of a partition. path: of the cursor; of several it gets their number."""
    if trail.partition is None:
        return Shipper(trail.rows, sink, FileCursor(path))
    own = FileCursor(path.with_name(f"{path.name}.{trail.partition}"))
    return Shipper(trail.rows, LabellingSink(sink, trail.partition), own)


async def _ship(
    settings: Settings,
    sink: TrailSink,
    path: Path,
    *,
    follow: bool,
    wait: Wait = asyncio.sleep,
) -> int:
    """Deliver all rows after the cursor once, and return their number.

    With `follow` it never returns: it repeats this every PAUSE (5 s), and tries again if the store
    or the receiver fails. Without `follow` it raises Unavailable then.
    """
    pause = PAUSE
    while True:
        try:
            async with audit.audit_session(settings) as session:
                shippers = [_shipper(trail, sink, path) for trail in session.trails]
                while True:
                    shipped = sum([await shipper.ship() for shipper in shippers])
                    if not follow:
                        return shipped
                    pause = PAUSE
                    await wait(pause)
        except Unavailable as cause:
            if not follow:
                raise
            write_stderr(f"audit ship: {cause}; trying again in {pause:g} s")
            await wait(pause)
            pause = min(pause * 2, MAX_PAUSE)
